import { execFileSync } from 'node:child_process'
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { concat, toBase64, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { TRUST_NAMESPACE } from '../namespaces.ts'
import {
  armorSshsig,
  decodePublicKey,
  encodeSignature,
  encodeSshsig,
  formatPublicKey,
  publicKeyFromSpki,
  type SshPublicKey,
  SshWriter,
  sshsigSignedData,
} from '../ssh/index.ts'
import { assembleCertificate, encodeTbsCertificate, keyIdentifier, toPem } from '../x509/index.ts'
import {
  encodeTrustDocument,
  logKeysOf,
  MAX_LOG_KEYS,
  parseTrustDocument,
  rootFingerprint,
  type SignedBundle,
  type TrustBundle,
  verifyTrustChain,
} from './index.ts'

type Root = { line: string; sign(document: string, namespace?: string): string }

const spkiOf = (key: KeyObject) => new Uint8Array(key.export({ format: 'der', type: 'spki' }))

function newRoot(): Root {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const ssh = publicKeyFromSpki(spkiOf(publicKey))
  return {
    line: formatPublicKey(ssh),
    sign: (document, namespace = TRUST_NAMESPACE) =>
      sshsig(ssh, namespace, new Uint8Array(sign(null, sshsigSignedData(namespace, utf8(document)), privateKey))),
  }
}
const sshsig = (publicKey: SshPublicKey, namespace: string, raw: Uint8Array) =>
  armorSshsig(encodeSshsig({ publicKey, namespace, signature: encodeSignature(publicKey, raw) }))

/** A hardware root key (PROTOCOL.u2f): signs application hash, flags, counter and message hash. */
function newSecurityKeyRoot(flags = 0x01): Root {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const point = spkiOf(publicKey).subarray(-32)
  const type = 'sk-ssh-ed25519@openssh.com'
  const key = decodePublicKey(new SshWriter().string(type).string(point).string('ssh:').bytes())
  const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash('sha256').update(bytes).digest())
  return {
    line: formatPublicKey(key),
    sign(document, namespace = TRUST_NAMESPACE) {
      const counter = new SshWriter().uint32(7).bytes()
      const message = concat(
        sha256(utf8('ssh:')),
        Uint8Array.of(flags),
        counter,
        sha256(sshsigSignedData(namespace, utf8(document))),
      )
      const raw = new Uint8Array(sign(null, message, privateKey))
      const signature = concat(new SshWriter().string(type).string(raw).bytes(), Uint8Array.of(flags), counter)
      return armorSshsig(encodeSshsig({ publicKey: key, namespace, signature }))
    },
  }
}

function newMachinesRoot(profile: 'root' | 'client' = 'root'): string {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const spki = spkiOf(publicKey)
  const name = { commonName: 'machines' }
  const tbs = encodeTbsCertificate({
    serial: 1n,
    issuer: name,
    subject: profile === 'root' ? name : {},
    notBefore: new Date('2026-01-01T00:00:00Z'),
    notAfter: new Date('2036-01-01T00:00:00Z'),
    spki,
    profile,
    subjectAltNames: profile === 'root' ? [] : [{ uri: 'keyman://acme/host/web1.example.com' }],
    authorityKeyId: keyIdentifier(spki),
    signatureAlgorithm: 'ecdsa-p256',
  })
  const raw = new Uint8Array(sign('sha256', tbs, { key: privateKey, dsaEncoding: 'ieee-p1363' }))
  return toPem(assembleCertificate(tbs, 'ecdsa-p256', raw), 'CERTIFICATE')
}

const machines = newMachinesRoot()
const userAuthority = newRoot().line
const hostAuthority = newRoot().line
const bundle = (roots: readonly Root[], version: number, other: Partial<TrustBundle> = {}): TrustBundle => ({
  format: 'keyman-trust-v1',
  organisation: 'acme',
  version,
  incarnation: 'a-history',
  publicUrl: 'https://keyman.example.com',
  machinesUrl: 'https://keyman.example.com:4443',
  hostSuffixes: ['prod.example.com'],
  roots: { threshold: roots.length, keys: roots.map(root => root.line) },
  ssh: {
    userAuthorities: [{ key: userAuthority, state: 'active' }],
    hostAuthorities: [{ key: hostAuthority, state: 'active' }],
  },
  x509: [{ purpose: 'machines', certificate: machines, state: 'active' }],
  logKey: { name: 'keyman.example.com/log', key: toBase64(new Uint8Array(32)) },
  ...other,
})
function signed(content: TrustBundle, by: readonly Root[]): SignedBundle {
  const document = encodeTrustDocument(content)
  return { document, signatures: by.map(root => root.sign(document)) }
}
const pin = (roots: readonly Root[]) => ({ fingerprint: rootFingerprint(bundle(roots, 1).roots) })
const refusal = (work: () => unknown) => {
  try {
    work()
  } catch (error) {
    if (error instanceof KeymanError) return error.message
    throw error
  }
  return 'accepted'
}

const a = newRoot()
const b = newRoot()
const c = newRoot()

test('a bundle signed by the pinned root is believed', () => {
  expect(verifyTrustChain([signed(bundle([a], 1), [a])], pin([a])).organisation).toBe('acme')
})

test('a trust bundle not signed by the root is refused', () => {
  const forged = signed(bundle([a], 1), [b])
  expect(refusal(() => verifyTrustChain([forged], pin([a])))).toMatch(/not signed by its own root/)
  expect(refusal(() => verifyTrustChain([{ ...forged, signatures: [] }], pin([a])))).toMatch(/0 of the 1 signatures/)
})

test('a bundle with roots of its own is not believed for naming an organisation', () => {
  expect(refusal(() => verifyTrustChain([signed(bundle([b], 1), [b])], pin([a])))).toMatch(
    /no trust bundle has the root/,
  )
})

test('a signature in another namespace is none', () => {
  const document = encodeTrustDocument(bundle([a], 1))
  const other = { document, signatures: [a.sign(document, 'file')] }
  expect(refusal(() => verifyTrustChain([other], pin([a])))).toMatch(/not signed/)
})

test('one changed byte of the document is refused', () => {
  const good = signed(bundle([a], 1), [a])
  const changed = { ...good, document: good.document.replace('"prod.example.com"', '"evil.example.com"') }
  expect(refusal(() => verifyTrustChain([changed], pin([a])))).toMatch(/not signed/)
})

test('an older bundle than the one that is held is refused, and the same or a newer one is not', () => {
  const [one, two, three] = [1, 2, 3].map(version => signed(bundle([a], version), [a]))
  if (!one || !two || !three) throw new Error('three bundles')
  expect(refusal(() => verifyTrustChain([one], { held: two }))).toMatch(/older than version 2/)
  expect(verifyTrustChain([two], { held: two }).version).toBe(2)
  expect(verifyTrustChain([one, three], { held: two }).version).toBe(3)
  expect(refusal(() => verifyTrustChain([three, one], { held: two }))).toMatch(/does not go forward/)
})

test('a second document of one version is refused', () => {
  const held = signed(bundle([a], 2), [a])
  const other = signed(bundle([a], 2, { hostSuffixes: ['other.example.com'] }), [a])
  expect(refusal(() => verifyTrustChain([other], { held }))).toMatch(/two trust bundles of version 2/)
})

test('roots that were swapped need the signatures of the old and of the new ones', () => {
  const first = signed(bundle([a], 1), [a])
  const next = bundle([b], 2)
  expect(refusal(() => verifyTrustChain([first, signed(next, [b])], pin([a])))).toMatch(/root of trust before it/)
  expect(refusal(() => verifyTrustChain([first, signed(next, [a])], pin([a])))).toMatch(/the new root of trust/)
  expect(verifyTrustChain([first, signed(next, [a, b])], pin([a])).version).toBe(2)
})

test('after a change the old root can sign nothing any more', () => {
  const chain = [signed(bundle([a], 1), [a]), signed(bundle([b], 2), [a, b])]
  expect(refusal(() => verifyTrustChain([...chain, signed(bundle([a], 3), [a])], pin([a])))).toMatch(/not signed/)
  expect(verifyTrustChain([...chain, signed(bundle([b], 3), [b])], pin([a])).version).toBe(3)
})

test('who pinned a later root passes over the bundles before it', () => {
  const chain = [signed(bundle([a], 1), [a]), signed(bundle([b], 2), [a, b]), signed(bundle([b], 5), [b])]
  expect(verifyTrustChain(chain, pin([b])).version).toBe(5)
})

test('two of three roots have to sign, and one that signs twice is one', () => {
  const roots = { threshold: 2, keys: [a.line, b.line, c.line] }
  const content = bundle([a], 1, { roots })
  const pinned = { fingerprint: rootFingerprint(roots) }
  expect(verifyTrustChain([signed(content, [c, a])], pinned).version).toBe(1)
  expect(refusal(() => verifyTrustChain([signed(content, [a, a])], pinned))).toMatch(/1 of the 2/)
  expect(rootFingerprint({ ...roots, keys: [c.line, a.line, b.line] })).toBe(pinned.fingerprint)
  expect(rootFingerprint({ ...roots, threshold: 1 })).not.toBe(pinned.fingerprint)
})

test('a hardware key may be the root, if it was touched', () => {
  const touched = newSecurityKeyRoot()
  const untouched = newSecurityKeyRoot(0)
  expect(verifyTrustChain([signed(bundle([touched], 1), [touched])], pin([touched])).version).toBe(1)
  expect(refusal(() => verifyTrustChain([signed(bundle([untouched], 1), [untouched])], pin([untouched])))).toMatch(
    /not signed/,
  )
})

test('a bundle of another organisation does not go on from ours, whoever signed it', () => {
  const chain = [signed(bundle([a], 1), [a]), signed(bundle([a], 2, { organisation: 'other' }), [a])]
  expect(refusal(() => verifyTrustChain(chain, pin([a])))).toMatch(/another organisation/)
})

test('host names that are claimed are suffixes of at least two labels', () => {
  for (const suffix of ['*', 'com', '*.example.com', 'example.com\nx', 'Example.com', '.example.com', ''])
    expect(refusal(() => encodeTrustDocument(bundle([a], 1, { hostSuffixes: [suffix] })))).toMatch(/hostSuffixes/)
  expect(refusal(() => encodeTrustDocument(bundle([a], 1)))).toBe('accepted')
})

test('a trust anchor is a CA and only that', () => {
  const x509 = [{ purpose: 'machines' as const, certificate: newMachinesRoot('client'), state: 'active' as const }]
  expect(refusal(() => encodeTrustDocument(bundle([a], 1, { x509 })))).toMatch(/root certificate/)
})

test('a document has one spelling, and no field too many', () => {
  const document = encodeTrustDocument(bundle([a], 1))
  expect(encodeTrustDocument(parseTrustDocument(document))).toBe(document)
  const value = JSON.parse(document)
  for (const other of [
    `${document}\n`,
    JSON.stringify(value),
    JSON.stringify({ ...value, extra: 1 }, null, 2),
    document.replace('"version": 1', '"version": 1.0'),
    document.replace('"version": 1', '"version": 2, "version": 1'),
    '[]',
    'x',
  ])
    expect(refusal(() => parseTrustDocument(other))).not.toBe('accepted')
})

test('ssh-keygen -Y verify agrees, and a root signs with ssh-keygen -Y sign', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-trust-'))
  try {
    const at = (name: string) => join(folder, name)
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', at('root')])
    const line = readFileSync(at('root.pub'), 'utf8').trim()
    const document = encodeTrustDocument(bundle([], 1, { roots: { threshold: 1, keys: [line] } }))
    writeFileSync(at('document'), document)
    execFileSync('ssh-keygen', ['-q', '-Y', 'sign', '-n', 'keyman-trust', '-f', at('root'), at('document')])
    const signatures = [readFileSync(at('document.sig'), 'utf8')]
    const fingerprint = execFileSync('ssh-keygen', ['-lf', at('root.pub')], { encoding: 'utf8' }).split(' ')[1] ?? ''
    expect(verifyTrustChain([{ document, signatures }], { fingerprint }).version).toBe(1)

    writeFileSync(at('ours.sig'), a.sign(document))
    writeFileSync(at('allowed'), `root ${a.line}\n`)
    const verify = ['-Y', 'verify', '-n', 'keyman-trust', '-I', 'root', '-f', at('allowed'), '-s', at('ours.sig')]
    expect(execFileSync('ssh-keygen', verify, { input: document, encoding: 'utf8' })).toMatch(/Good "keyman-trust"/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

describe('log keys', () => {
  const key = (byte: number) => toBase64(new Uint8Array(32).fill(byte))
  const one = bundle([a], 1)
  const parsed = (text: string) => refusal(() => parseTrustDocument(text))

  test('a document of one log key is spelled as ever, to the byte', () => {
    const text = encodeTrustDocument(one)
    expect(text).toMatch(/"logKey": \{\n {4}"name": "keyman\.example\.com\/log",\n {4}"key": "A{43}="\n {2}\}\n\}\n$/)
    expect(text).not.toContain('otherLogKeys')
    expect(encodeTrustDocument({ ...one, otherLogKeys: undefined })).toBe(text)
    expect(parsed(text)).toBe('accepted')
    expect(parsed(text.replace('\n  }\n}\n', '\n  },\n  "otherLogKeys": []\n}\n'))).not.toBe('accepted')
  })

  test('others stand behind it, each once, all of them given as the log has them', () => {
    const two = { ...one, otherLogKeys: [key(1), key(2)] }
    const text = encodeTrustDocument(two)
    expect(parseTrustDocument(text)).toEqual(two)
    expect(logKeysOf(parseTrustDocument(text)).map(toBase64)).toEqual([key(0), key(1), key(2)])
    expect(parsed(text.replace(key(2), key(1)))).toMatch(/must not name one key twice/)
    expect(parsed(text.replace(key(1), key(0)))).toMatch(/must not name one key twice/)
    expect(parsed(text.replace(key(2), toBase64(new Uint8Array(31))))).toMatch(/32 bytes/)
    const many = Array.from({ length: MAX_LOG_KEYS }, (_, n) => key(n + 1))
    expect(refusal(() => encodeTrustDocument({ ...one, otherLogKeys: many }))).not.toBe('accepted')
    expect(refusal(() => encodeTrustDocument({ ...one, otherLogKeys: many.slice(1) }))).toBe('accepted')
  })
})
