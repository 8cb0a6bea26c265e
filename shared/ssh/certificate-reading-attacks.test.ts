import { afterAll, describe, expect, it } from 'vitest'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { keyOf, newKey, newNonce, type TestKey } from '#test/support/programs/ssh-keys.ts'
import { concat, equalBytes, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { parseHostName, parseKeyId, parseUserPrincipal } from '../names.ts'
import {
  assembleCertificate,
  decodeCertificate,
  encodeCertificateBody,
  formatCertificate,
  type HostCertificateBody,
  parseCertificate,
  SshReader,
  SshWriter,
  type UserCertificateBody,
  verifyCertificate,
} from './index.ts'

/** The attacks on whoever reads or verifies a certificate; those on the encoder stand in `certificate-attacks.test.ts`. */
const keygen = new SshKeygen()
afterAll(() => keygen.remove())

const authority = keyOf('ssh-ed25519')
const subject = keyOf('ecdsa-sha2-nistp256')
const good: UserCertificateBody = {
  kind: 'user',
  nonce: newNonce(),
  subjectKey: subject.publicKey,
  serial: 7n,
  keyId: parseKeyId('alice@example.com/passkey/s1', 'keyId'),
  principals: [parseUserPrincipal('alice@example.com', 'principals')],
  validAfter: 1_790_000_000n,
  validBefore: 1_790_028_800n,
  criticalOptions: {},
  extensions: ['permit-pty'],
  authorityKey: authority.publicKey,
}
const { criticalOptions: _, extensions: __, ...common } = good
const hostBody: HostCertificateBody = {
  ...common,
  kind: 'host',
  principals: [parseHostName('a.example.com', 'principals')],
}
const answerOf = (work: () => unknown): string => {
  try {
    work()
    return 'accepted'
  } catch (error) {
    if (error instanceof KeymanError && error.code === 'invalid-input') return error.message
    throw error
  }
}
const signed = (body: Uint8Array, by: TestKey = authority) => assembleCertificate(body, by.sign(body))
const verdict = (blob: Uint8Array) =>
  keygen.try(['-L', '-f', keygen.write('c-cert.pub', `${formatCertificate(blob)}\n`)]).ok

describe('the verifier', () => {
  const body = encodeCertificateBody(good)
  const holds = (blob: Uint8Array, authorities = [authority.publicKey]) =>
    verifyCertificate(decodeCertificate(blob), authorities)

  it('takes an authority that it was given, and no other, however well it signs', () => {
    const other = newKey('ssh-ed25519')
    const theirs = encodeCertificateBody({ ...good, authorityKey: other.publicKey })
    expect(holds(signed(theirs, other))).toBe(false)
    expect(holds(signed(theirs, other), [other.publicKey])).toBe(true)
    expect(holds(signed(body), [other.publicKey, authority.publicKey])).toBe(true)
    expect(holds(signed(body), [])).toBe(false)
  })

  it('refuses a body that names a known authority and is signed by another key', () => {
    expect(holds(signed(body, newKey('ssh-ed25519')))).toBe(false)
    expect(holds(signed(body, subject))).toBe(false)
  })

  it('refuses every certificate of which one bit was changed', () => {
    const blob = signed(body)
    for (let at = 0; at < blob.length; at++) {
      const changed = Uint8Array.from(blob)
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
      expect(answerOf(() => holds(changed) && expect.fail(`byte ${at}`))).toBeDefined()
    }
    expect(holds(blob)).toBe(true)
  })

  it('refuses a signature made for a user certificate under a host certificate, and the reverse', () => {
    const host = encodeCertificateBody(hostBody)
    expect(holds(assembleCertificate(host, authority.sign(body)))).toBe(false)
    expect(holds(assembleCertificate(body, authority.sign(host)))).toBe(false)
    expect(holds(assembleCertificate(host, authority.sign(host)))).toBe(true)
    expect(decodeCertificate(signed(host)).kind).toBe('host')
  })

  it('ssh-rsa (SHA-1) signature by an authority: refused', () => {
    const rsa = keyOf('ssh-rsa')
    const theirs = encodeCertificateBody({ ...good, authorityKey: rsa.publicKey })
    const reader = new SshReader(rsa.sign(theirs))
    expect(reader.text()).toBe('rsa-sha2-512')
    const sha1 = new SshWriter().string('ssh-rsa').string(reader.string()).bytes()
    expect(holds(assembleCertificate(theirs, sha1), [rsa.publicKey])).toBe(false)
    expect(holds(signed(theirs, rsa), [rsa.publicKey])).toBe(true)
  })
})

describe('the decoder', () => {
  const blob = signed(encodeCertificateBody(good))
  const read = (bytes: Uint8Array) => answerOf(() => decodeCertificate(bytes))

  it('refuses trailing bytes, and every truncation', () => {
    expect(read(concat(blob, Uint8Array.of(0)))).toContain('follow its end')
    for (let length = 0; length < blob.length; length++) expect(read(blob.subarray(0, length))).not.toBe('accepted')
    expect(read(blob)).toBe('accepted')
  })

  it('refuses nested lengths that lie: a list of principals whose last name goes past the list', () => {
    const name = utf8('alice@example.com')
    const list = new SshWriter().string(new SshWriter().string(name).bytes()).bytes()
    const at = blob.findIndex((_, i) => equalBytes(blob.subarray(i, i + list.length), list))
    expect(at).toBeGreaterThan(0)
    const lying = Uint8Array.from(blob)
    lying[at + 7] = name.length + 1
    expect(read(lying)).toContain('ends too early')
    lying[at + 7] = name.length - 1
    expect(read(lying)).toContain('ends too early')
  })

  /** A certificate by hand, signed, so that ssh-keygen looks at the fields alone. */
  function byHand(fields: { kind?: number; keyId?: string; principals?: string[]; options?: [string, string][] }) {
    const { kind = 1, keyId: id = 'id', principals = ['alice@example.com'], options = [] } = fields
    const plain = new SshReader(authority.publicKey.blob)
    plain.string()
    const names = new SshWriter()
    for (const name of principals) names.string(name)
    const list = new SshWriter()
    for (const [name, value] of options) list.string(name).string(value && new SshWriter().string(value).bytes())
    return signed(
      new SshWriter()
        .string('ssh-ed25519-cert-v01@openssh.com')
        .string(newNonce())
        .string(plain.string())
        .uint64(1n)
        .uint32(kind)
        .string(id)
        .string(names.bytes())
        .uint64(0n)
        .uint64(2n ** 64n - 1n)
        .string(list.bytes())
        .string('')
        .string('')
        .string(authority.publicKey.blob)
        .bytes(),
    )
  }

  it('refuses a kind that is neither user nor host, as ssh-keygen does', () => {
    for (const kind of [0, 3, 2 ** 32 - 1]) {
      expect(read(byHand({ kind }))).toContain('neither user nor host')
      expect(verdict(byHand({ kind }))).toBe(false)
    }
    for (const kind of [1, 2]) expect(read(byHand({ kind }))).toBe('accepted')
  })

  it('refuses a NUL in key ID or principal, where a C program would stop reading', () => {
    expect(read(byHand({ keyId: 'alice\0root' }))).toContain('NUL')
    expect(read(byHand({ principals: ['alice\0root'] }))).toContain('NUL')
    expect(verdict(byHand({ principals: ['alice\0root'] }))).toBe(false)
    expect(read(byHand({ principals: ['alice'] }))).toBe('accepted')
  })

  it('refuses 257 principals, as ssh-keygen does', () => {
    const many = (count: number) => byHand({ principals: Array.from({ length: count }, (_, i) => `p${i}`) })
    expect([read(many(257)), verdict(many(257))]).toEqual([expect.stringContaining('more than 256'), false])
    expect([read(many(256)), verdict(many(256))]).toEqual(['accepted', true])
  })

  it('refuses options out of order or twice', () => {
    const options = (...names: string[]) => read(byHand({ options: names.map(name => [name, 'x']) }))
    expect(options('b', 'a')).toContain('not sorted')
    expect(options('a', 'a')).toContain('not sorted')
    expect(options('a', 'b')).toBe('accepted')
  })

  it('refuses a known option without its value, or a flag with one, as ssh-keygen does', () => {
    for (const option of [
      ['force-command', ''],
      ['source-address', ''],
      ['verify-required', 'x'],
      ['force-command', 'up\0time'],
    ] as [string, string][]) {
      expect(read(byHand({ options: [option] })), option.join()).not.toBe('accepted')
      expect(verdict(byHand({ options: [option] }))).toBe(false)
    }
    expect(read(byHand({ options: [['force-command', 'x']] }))).toBe('accepted')
    expect(read(byHand({ options: [['verify-required', '']] }))).toBe('accepted')
  })

  it('keeps an unknown critical option, so that whoever enforces can refuse it', () => {
    const certificate = decodeCertificate(byHand({ options: [['new@example.com', 'x']] }))
    expect(certificate.criticalOptions).toEqual([{ name: 'new@example.com', value: utf8('x') }])
  })

  it('a plain key where a certificate belongs, a certificate of an unknown type, a line whose type differs: refused', () => {
    expect(read(subject.publicKey.blob)).toContain('not a type of certificate')
    expect(read(new SshWriter().string('ssh-dss-cert-v01@openssh.com').string('n').bytes())).toContain('ssh-dss')
    for (const evil of ['__proto__', 'constructor', 'toString'])
      expect(read(new SshWriter().string(`${evil}-cert-v01@openssh.com`).string('n').bytes())).toContain('not taken')
    const line = formatCertificate(blob)
    expect(answerOf(() => parseCertificate(line.replace(/^\S+/, 'ssh-ed25519-cert-v01@openssh.com')))).toContain(
      'the line says',
    )
    expect(answerOf(() => parseCertificate(line))).toBe('accepted')
  })

  it('measures a certificate before it parses it', () => {
    expect(read(new Uint8Array(70_000))).toContain('longer than any')
  })
})
