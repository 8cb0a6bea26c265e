import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { fromBase64Url, toBase64 } from '#shared/bytes.ts'
import { PROOF_NAMESPACE, type ProofPurpose, proofMessage } from '#shared/login-challenge.ts'
import { type LoginKeyType, RSA_BITS } from '#shared/login-key-types.ts'
import {
  armorSshsig,
  decodeSessionKey,
  encodePrivateKeyFile,
  encodeSignature,
  encodeSshsig,
  formatPublicKey,
  type PrivateFields,
  privateFields,
  type SshPublicKey,
  sshsigSignedData,
} from '#shared/ssh/index.ts'

/** The two keys of one session, made on this machine: the SSH key, and the client certificate's own (invariant 7). */
export type LoginKeys = {
  readonly ssh: {
    readonly privateKey: KeyObject
    readonly fields: PrivateFields
    readonly publicKey: SshPublicKey
    readonly line: string
    readonly comment: string
  }
  readonly client: { readonly privateKey: KeyObject; readonly spki: Uint8Array; readonly pem: string }
}

/** For SSH a key of the type that is asked for, P-256 for TLS. `comment` marks the key as ours in an ssh-agent. */
export function makeLoginKeys(comment: string, type: LoginKeyType = 'ed25519'): LoginKeys {
  const { privateKey, publicKey } = makeSshKey(type)
  const fields = privateFields(privateKey, publicKey.export({ format: 'der', type: 'spki' }))
  return { ssh: sshKey({ privateKey, fields, comment }), client: makeClientKey() }
}

const sshKey = (key: Pick<LoginKeys['ssh'], 'privateKey' | 'fields' | 'comment'>): LoginKeys['ssh'] => ({
  ...key,
  publicKey: key.fields.publicKey,
  line: formatPublicKey(key.fields.publicKey, key.comment),
})

const clientKey = (privateKey: KeyObject): LoginKeys['client'] => ({
  privateKey,
  spki: createPublicKey(privateKey).export({ format: 'der', type: 'spki' }),
  pem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
})

export const makeClientKey = (): LoginKeys['client'] =>
  clientKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)

/** As it lies in a file. Throws where that is no key. */
export const readClientKey = (pem: string): LoginKeys['client'] => clientKey(createPrivateKey(pem))
/** The same of the SSH key: what `privateKeyFile` gave. */
export const readSshKey = (file: string): LoginKeys['ssh'] => sshKey(decodeSessionKey(file))

function makeSshKey(type: LoginKeyType) {
  switch (type) {
    case 'ed25519':
      return generateKeyPairSync('ed25519')
    case 'ecdsa-p256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' })
    case 'rsa-3072':
      return generateKeyPairSync('rsa', { modulusLength: RSA_BITS })
  }
}

/** What marks a key in an ssh-agent as ours, and whose. */
export const agentComment = (organisation: string): string => `keyman:${organisation}`

/** The SSH key as a file that `ssh` reads. */
export const privateKeyFile = (keys: LoginKeys): string => encodePrivateKeyFile(keys.ssh.fields, keys.ssh.comment)

const hashFor = ({ type }: SshPublicKey): string | null =>
  type === 'ssh-ed25519' ? null : type === 'ssh-rsa' ? 'sha512' : 'sha256'

/** Shows that this machine holds both keys, for one challenge (base64url) and one purpose. */
export function proveBoth(keys: LoginKeys, purpose: ProofPurpose, challenge: string) {
  const message = proofMessage({
    purpose,
    challenge: fromBase64Url(challenge),
    sshPublicKey: keys.ssh.publicKey.blob,
    clientSpki: keys.client.spki,
  })
  const signature = encodeSignature(
    keys.ssh.publicKey,
    sign(hashFor(keys.ssh.publicKey), sshsigSignedData(PROOF_NAMESPACE, message), {
      key: keys.ssh.privateKey,
      dsaEncoding: 'ieee-p1363',
    }),
  )
  return {
    challenge,
    sshSignature: armorSshsig(encodeSshsig({ publicKey: keys.ssh.publicKey, namespace: PROOF_NAMESPACE, signature })),
    clientSignature: toBase64(sign('sha256', message, { key: keys.client.privateKey, dsaEncoding: 'ieee-p1363' })),
  }
}
