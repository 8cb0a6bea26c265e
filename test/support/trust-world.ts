import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { hostStream } from '#shared/api/index.ts'
import { concat, toBase64, toHex, utf8 } from '#shared/bytes.ts'
import { consistencyProof, encodeCheckpoint, leafHash, noteKeyId, signedNote } from '#shared/merkle/index.ts'
import { type HostName, parseHostName, parseKeyId, parseUserPrincipal } from '#shared/names.ts'
import {
  armorSshsig,
  assembleCertificate,
  type Extension,
  encodeCertificateBody,
  encodeKrl,
  encodeOpensshPrivateKey,
  encodeSignature,
  encodeSshsig,
  formatCertificate,
  formatPublicKey,
  publicKeyFromSpki,
  type SshPublicKey,
  sshsigSignedData,
} from '#shared/ssh/index.ts'
import { encodeTrustDocument, type SignedBundle, type TrustBundle } from '#shared/trust/index.ts'
import { newMachineAuthority } from './machine-authority.ts'
import { newNonce } from './programs/ssh-keys.ts'
import { treeHead } from './tree-head.ts'

/** An Ed25519 key made at run time. */
export type TestKey = { readonly privateKey: KeyObject; readonly publicKey: SshPublicKey; readonly line: string }

export function newKey(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const key = publicKeyFromSpki(new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })))
  return { privateKey, publicKey: key, line: formatPublicKey(key) }
}
export const rawSign = (key: TestKey, bytes: Uint8Array): Uint8Array =>
  new Uint8Array(sign(null, bytes, key.privateKey))
export const sshSign = (key: TestKey, bytes: Uint8Array): Uint8Array =>
  encodeSignature(key.publicKey, rawSign(key, bytes))
export const sshsig = (key: TestKey, namespace: string, message: Uint8Array): string =>
  armorSshsig(
    encodeSshsig({
      publicKey: key.publicKey,
      namespace,
      signature: sshSign(key, sshsigSignedData(namespace, message)),
    }),
  )
/** As `ssh` reads it. */
export function privateKeyFile(key: TestKey): string {
  const { d } = key.privateKey.export({ format: 'jwk' })
  return encodeOpensshPrivateKey({ seed: Uint8Array.fromBase64(d ?? '', { alphabet: 'base64url' }), comment: 'test' })
}

const seconds = (date: Date): bigint => BigInt(Math.floor(date.getTime() / 1000))

/**
 * An organisation without a server: its root, authorities and log key, and everything that these sign, so that each
 * part of it can be made wrong on its own.
 */
export function newWorld(organisation = 'acme', log = newKey()) {
  const root = newKey()
  const userAuthority = newKey()
  const hostAuthority = newKey()
  const machines = newMachineAuthority()
  const logName = `${organisation}.example.com/log`
  const logPublic = log.publicKey.blob.slice(-32)
  const leaves: Uint8Array[] = []

  const bundle = (change: Partial<TrustBundle> = {}): TrustBundle => ({
    format: 'keyman-trust-v1',
    organisation,
    version: 1,
    incarnation: 'first',
    publicUrl: 'http://localhost:4480',
    machinesUrl: 'https://localhost:4443',
    hostSuffixes: ['example.com', 'keyman.localhost'],
    roots: { threshold: 1, keys: [root.line] },
    ssh: {
      userAuthorities: [{ key: userAuthority.line, state: 'active' }],
      hostAuthorities: [{ key: hostAuthority.line, state: 'active' }],
    },
    x509: [{ purpose: 'machines', certificate: machines.root, state: 'active' }],
    logKey: { name: logName, key: toBase64(logPublic) },
    ...change,
  })
  const signedBundle = (change: Partial<TrustBundle> = {}, by: readonly TestKey[] = [root]): SignedBundle => {
    const document = encodeTrustDocument(bundle(change))
    return { document, signatures: by.map(key => sshsig(key, 'keyman-trust', utf8(document))) }
  }

  /** Good from a minute ago for an hour, unless told otherwise. */
  const userCertificate = (
    key: SshPublicKey,
    principals: readonly string[],
    serial: bigint,
    options: { authority?: TestKey; extensions?: readonly Extension[]; minutes?: number } = {},
  ): string => {
    const authority = options.authority ?? userAuthority
    const body = encodeCertificateBody({
      kind: 'user',
      nonce: newNonce(),
      subjectKey: key,
      serial,
      keyId: parseKeyId(`test/${serial}`, 'keyId'),
      principals: principals.map(text => parseUserPrincipal(text, 'principal')),
      validAfter: seconds(new Date()) - 60n,
      validBefore: seconds(new Date()) + BigInt((options.minutes ?? 60) * 60),
      criticalOptions: {},
      extensions: options.extensions ?? ['permit-port-forwarding', 'permit-pty'],
      authorityKey: authority.publicKey,
    })
    return formatCertificate(assembleCertificate(body, sshSign(authority, body)))
  }
  const hostCertificate = (key: SshPublicKey, name: HostName, serial: bigint, authority = hostAuthority): string => {
    const body = encodeCertificateBody({
      kind: 'host',
      nonce: newNonce(),
      subjectKey: key,
      serial,
      keyId: parseKeyId(`host/${name}`, 'keyId'),
      principals: [name],
      validAfter: seconds(new Date()) - 60n,
      validBefore: seconds(new Date()) + 86_400n,
      authorityKey: authority.publicKey,
    })
    return formatCertificate(assembleCertificate(body, sshSign(authority, body)))
  }
  const canary = userCertificate(newKey().publicKey, ['canary:keyman'], 1n)

  const krl = (
    version: bigint,
    revoked: readonly bigint[] = [],
    { withCanary = true, ofHosts = [] }: { readonly withCanary?: boolean; readonly ofHosts?: readonly bigint[] } = {},
  ) =>
    encodeKrl({
      version,
      generatedAt: seconds(new Date()),
      comment: 'test',
      certificates: [
        { authority: userAuthority.publicKey, serials: withCanary ? [1n, ...revoked] : revoked },
        { authority: hostAuthority.publicKey, serials: ofHosts },
      ]
        .filter(({ serials }) => serials.length > 0)
        .map(({ authority, serials }) => ({
          authority,
          serials: serials.map(serial => ({ from: serial, to: serial })),
          keyIds: [],
        })),
      keys: [],
      fingerprints: [],
    })
  const signedKrl = (bytes: Uint8Array, version: bigint, by: TestKey = log): hostStream.DesiredState['krl'] => ({
    version: String(version),
    base64: toBase64(bytes),
    signature: sshsig(by, 'keyman-krl', bytes),
    canary: [canary],
  })
  /** KRL version as the revision unless given. */
  const state = (revision: number, change: Partial<hostStream.DesiredState> = {}): hostStream.DesiredState => {
    const signed = signedBundle()
    return {
      revision,
      incarnation: 'first',
      trust: { bundles: [{ document: signed.document, signatures: [...signed.signatures] }] },
      principals: {},
      krl: signedKrl(krl(BigInt(revision)), BigInt(revision)),
      ...change,
    }
  }

  /** A log of that many records; `other` makes one that parts from it at the last record. */
  const grow = (size: number, other = false): void => {
    while (leaves.length < size) leaves.push(leafHash(utf8(`record ${leaves.length}`)))
    if (other) leaves[size - 1] = leafHash(utf8('another record'))
  }
  // Below 256 records there is the one tile.
  const tiles = async () => concat(...leaves)
  const checkpoint = async (size: number, by: TestKey = log): Promise<string> => {
    const text = encodeCheckpoint({ origin: logName, size: BigInt(size), root: treeHead(leaves.slice(0, size)) })
    return signedNote(text, {
      name: logName,
      keyId: noteKeyId(logName, logPublic),
      sign: async bytes => rawSign(by, bytes),
    })
  }
  const logFrame = async (from: number, to: number, by: TestKey = log) => ({
    checkpoint: await checkpoint(to, by),
    proof: (await consistencyProof(BigInt(Math.min(from, to)), BigInt(Math.max(from, to)), tiles)).map(toHex),
  })

  return {
    organisation,
    root,
    userAuthority,
    hostAuthority,
    log,
    machines,
    bundle,
    signedBundle,
    userCertificate,
    hostCertificate,
    canary,
    krl,
    signedKrl,
    state,
    grow,
    checkpoint,
    logFrame,
    host: parseHostName('web1.example.com', 'host'),
  }
}
export type World = ReturnType<typeof newWorld>
