import { afterAll, describe, expect, it } from 'vitest'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { keyOf, newNonce, rsaBlob, type TestKey } from '#test/support/programs/ssh-keys.ts'
import { concat, toBase64 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { type HostName, isHostName, isKeyId, isUserPrincipal, type KeyId, type UserPrincipal } from '../names.ts'
import {
  assembleCertificate,
  type CertificateBody,
  decodeCertificate,
  decodePublicKey,
  type Extension,
  encodeCertificateBody,
  formatCertificate,
  type SshPublicKey,
  SshWriter,
  verifyCertificate,
} from './index.ts'

/**
 * The attacks on the encoder of certificates, the last that can refuse; each with a twin that differs in one field and gets
 * through. What the types forbid arrives as it would from a bug elsewhere: a value that only claims to have been checked.
 */
const keygen = new SshKeygen()
afterAll(() => keygen.remove())

// Assertion functions that hold for anything: the lie that the encoder must see through.
const claimPrincipal: (text: string) => asserts text is UserPrincipal = () => {}
const claimHostName: (text: string) => asserts text is HostName = () => {}
const claimKeyId: (text: string) => asserts text is KeyId = () => {}
const claimExtension: (text: string) => asserts text is Extension = () => {}
const principal = (text: string): UserPrincipal => {
  claimPrincipal(text)
  return text
}
const hostName = (text: string): HostName => {
  claimHostName(text)
  return text
}
const keyId = (text: string): KeyId => {
  claimKeyId(text)
  return text
}
const extension = (text: string): Extension => {
  claimExtension(text)
  return text
}

const authority = keyOf('ssh-ed25519')
const subject = keyOf('ecdsa-sha2-nistp256')
type UserBody = Extract<CertificateBody, { kind: 'user' }>
const good: UserBody = {
  kind: 'user',
  nonce: newNonce(),
  subjectKey: subject.publicKey,
  serial: 7n,
  keyId: keyId('alice@example.com/passkey/s1'),
  principals: [principal('alice@example.com')],
  validAfter: 1_790_000_000n,
  validBefore: 1_790_028_800n,
  criticalOptions: {},
  extensions: ['permit-pty'],
  authorityKey: authority.publicKey,
}
const asHost = (name: string): CertificateBody => {
  const { criticalOptions: _, extensions: __, ...common } = good
  return { ...common, kind: 'host', principals: [hostName(name)] }
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
const encoding = (changes: Partial<UserBody>) => answerOf(() => encodeCertificateBody({ ...good, ...changes }))
const signed = (body: Uint8Array, by: TestKey = authority) => assembleCertificate(body, by.sign(body))
const verdict = (blob: Uint8Array) =>
  keygen.try(['-L', '-f', keygen.write('c-cert.pub', `${formatCertificate(blob)}\n`)]).ok

it('the twin of all: the certificate from which each attack differs in one field is made, read and holds', () => {
  expect(encoding({})).toBe('accepted')
  const blob = signed(encodeCertificateBody(good))
  expect(verifyCertificate(decodeCertificate(blob), [authority.publicKey])).toBe(true)
  expect(verdict(blob)).toBe(true)
})

describe('the encoder signs nothing that', () => {
  it('CVE-2024-7594: has no principals', () => {
    expect(encoding({ principals: [] })).toMatch(/^principals: /)
    const { principals: _, ...host } = asHost('a.example.com')
    expect(answerOf(() => encodeCertificateBody({ ...good, ...host, kind: 'host', principals: [] }))).toMatch(
      /^principals: /,
    )
  })

  it.each([
    ['a comma (CVE-2026-35414)', 'alice@example.com,root'],
    ['a newline', 'alice@example.com\nroot'],
    ['a NUL', 'alice@example.com\0root'],
    ['a #', 'alice@example.com#x'],
    ['a blank', 'no-pty alice@example.com'],
    ['a glob', 'alice@*.example.com'],
    ['a question mark', 'alice@example.co?'],
    ['an upper-case letter', 'Alice@example.com'],
    ['a look-alike letter', 'аlice@example.com'],
    ['a Unix login', 'root'],
    ['nothing', ''],
    ['129 characters', `alice@${'a'.repeat(123)}`],
    ['an escape sequence', 'alice@example.com\x1b[2J'],
  ])('has a principal with %s', (_, name) => {
    expect(encoding({ principals: [principal(name)] })).toMatch(/^principals: /)
    expect(encoding({ principals: [principal('alice@example.com'), principal(name)] })).toMatch(/^principals: /)
    expect(isUserPrincipal(name)).toBe(false)
  })
  it('… and with 128 characters of the list it is signed', () => {
    expect(encoding({ principals: [principal(`alice@${'a'.repeat(122)}`)] })).toBe('accepted')
  })

  it.each(['*.example.com', 'a.example.com.', 'A.example.com', 'a_b.example.com', '10.0.0.1', 'a,b', 'a b', '', 'a\n'])(
    'has the host name %j',
    name => {
      expect(answerOf(() => encodeCertificateBody(asHost(name)))).toMatch(/^principals: /)
      expect(isHostName(name)).toBe(false)
    },
  )
  it("mixes the kinds: a person's principal in a host certificate, a host's name in a user certificate", () => {
    expect(answerOf(() => encodeCertificateBody(asHost('alice@example.com')))).toMatch(/^principals: /)
    expect(encoding({ principals: [principal('a.example.com')] })).toMatch(/^principals: /)
    expect(answerOf(() => encodeCertificateBody(asHost('a.example.com')))).toBe('accepted')
  })

  it('has more than 256 principals, or one of them twice', () => {
    const many = (count: number) => Array.from({ length: count }, (_, i) => principal(`team:t${i}`))
    expect(encoding({ principals: many(257) })).toMatch(/^principals: 257/)
    expect(encoding({ principals: many(256) })).toBe('accepted')
    expect(encoding({ principals: [principal('team:a'), principal('team:a')] })).toMatch(/twice/)
  })

  it('has serial 0, which no revocation list can name, or one beyond 64 bits', () => {
    for (const serial of [0n, -1n, 2n ** 64n]) expect(encoding({ serial })).toMatch(/^serial: /)
    for (const serial of [1n, 2n ** 64n - 1n]) expect(encoding({ serial })).toBe('accepted')
  })

  it('has no end, or ends before it begins: valid_before 0, 2^64-1, before or equal to valid_after', () => {
    const { validAfter } = good
    for (const validBefore of [0n, -1n, 2n ** 64n - 1n, 2n ** 64n, validAfter - 1n, validAfter])
      expect(encoding({ validBefore })).toMatch(/^validBefore: /)
    expect(encoding({ validBefore: validAfter + 1n })).toBe('accepted')
    expect(encoding({ validAfter: 0n })).toMatch(/^validAfter: /)
  })

  it.each(['', 'a'.repeat(129), 'id with blank', 'a\nserial 1', 'ID', 'a\x1b[2J', 'a(serial 1)', 'ключ'])(
    'has the key ID %j, which sshd would put into its log',
    text => {
      expect(encoding({ keyId: keyId(text) })).toMatch(/^keyId: /)
      expect(isKeyId(text)).toBe(false)
    },
  )

  it('has an extension that is unknown, or one twice', () => {
    expect(encoding({ extensions: [extension('permit-everything')] })).toMatch(/^extensions: /)
    expect(encoding({ extensions: ['permit-pty', 'permit-pty'] })).toMatch(/^extensions: /)
  })

  it('forces a command that is empty or more than one line', () => {
    for (const forceCommand of ['', 'a\nb', 'a\0b', 'a\x1bb'])
      expect(encoding({ criticalOptions: { forceCommand } })).toMatch(/^forceCommand: /)
    expect(encoding({ criticalOptions: { forceCommand: 'uptime' } })).toBe('accepted')
  })

  it.each([
    '0.0.0.0/33',
    '10.0.0.1/8',
    '10.0.0.0/08',
    '10.0.0',
    '010.0.0.1',
    '!10.0.0.0/8',
    'any',
    '',
    '::1/129',
    'a,b',
  ])('has the source address %j, by which sshd would refuse or read another one', text => {
    expect(encoding({ criticalOptions: { sourceAddress: [text] } })).toMatch(/^sourceAddress: /)
  })
  it('… has an empty list of source addresses; and every range that we take, ssh-keygen takes', () => {
    expect(encoding({ criticalOptions: { sourceAddress: [] } })).toMatch(/^sourceAddress: /)
    const ranges = [
      '10.0.0.0/8',
      '10.128.0.0/9',
      '192.0.2.1',
      '192.0.2.1/32',
      '0.0.0.0/0',
      '::/0',
      '2001:db8::/33',
      '::1',
    ]
    expect(encoding({ criticalOptions: { sourceAddress: ranges } })).toBe('accepted')
    keygen.write('ca', authority.privateFile ?? '')
    const path = keygen.write('s.pub', `${subject.publicKey.type} ${toBase64(subject.publicKey.blob)}\n`)
    const options = ['-q', '-s', keygen.path('ca'), '-I', 'i', '-n', 'n', '-O', `source-address=${ranges.join(',')}`]
    keygen.run([...options, path])
  })

  it('has a nonce of another size than 32 bytes', () => {
    for (const size of [0, 16, 31, 33]) expect(encoding({ nonce: new Uint8Array(size) })).toMatch(/^nonce: /)
  })
})

describe('a key that is no plain key of a kind that we take', () => {
  const certificate = signed(encodeCertificateBody(good))
  const lie = (blob: Uint8Array): SshPublicKey => ({ type: 'ssh-ed25519', blob, point: new Uint8Array(32) })

  it('a certificate as the key to be certified: refused by the parser and, if it gets past it, by the encoder', () => {
    expect(answerOf(() => decodePublicKey(certificate))).toContain('certificate')
    expect(encoding({ subjectKey: lie(certificate) })).toMatch(/^subjectKey: this is a certificate/)
    expect(encoding({ subjectKey: subject.publicKey })).toBe('accepted')
  })

  it("CVE-2025-49825: a certificate in the place of the authority's key: refused by encoder, decoder and verifier", () => {
    expect(encoding({ authorityKey: lie(certificate) })).toMatch(/^authorityKey: this is a certificate/)
    // By hand: the body names a certificate of the subject as its authority, and the subject signs.
    const body = encodeCertificateBody(good)
    const named = new SshWriter().string(authority.publicKey.blob).bytes()
    const nested = concat(body.subarray(0, -named.length), new SshWriter().string(certificate).bytes())
    expect(answerOf(() => decodeCertificate(signed(nested, subject)))).toContain('certificate')
    expect(answerOf(() => decodeCertificate(signed(body)))).toBe('accepted')
  })

  it('RSA key below 3072 bits as authority or subject: refused', () => {
    const short = lie(rsaBlob(2048).blob)
    expect(encoding({ authorityKey: short })).toMatch(/^authorityKey: .*2048/)
    expect(encoding({ subjectKey: short })).toMatch(/^subjectKey: .*2048/)
    expect(encoding({ subjectKey: keyOf('ssh-rsa').publicKey })).toBe('accepted')
  })

  it('a blob of another type than its object says: refused', () => {
    expect(encoding({ subjectKey: lie(subject.publicKey.blob) })).toMatch(/^subjectKey: /)
  })

  it('a key blob with trailing bytes: refused', () => {
    expect(encoding({ subjectKey: lie(concat(authority.publicKey.blob, Uint8Array.of(0))) })).toMatch(/^subjectKey: /)
  })
})
