import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { ALL_TYPES, keyOf, newNonce, PLAIN_TYPES, type TestKey } from '#test/support/programs/ssh-keys.ts'
import { fromUtf8, toHex } from '../bytes.ts'
import { parseHostName, parseKeyId, parseUserPrincipal } from '../names.ts'
import {
  assembleCertificate,
  type CertificateBody,
  certificateType,
  decodeCertificate,
  EXTENSIONS,
  encodeCertificateBody,
  fingerprint,
  formatCertificate,
  formatPublicKey,
  parseCertificate,
  SshReader,
  type UserCertificateBody,
  verifyCertificate,
} from './index.ts'

const keygen = new SshKeygen()
afterAll(() => keygen.remove())

const principal = (text: string) => parseUserPrincipal(text, 'principals')
const hostName = (text: string) => parseHostName(text, 'principals')
const authority = keyOf('ssh-ed25519')
const body = (changes: Partial<UserCertificateBody> = {}): UserCertificateBody => ({
  kind: 'user',
  nonce: newNonce(),
  subjectKey: keyOf('ecdsa-sha2-nistp256').publicKey,
  serial: 42n,
  keyId: parseKeyId('alice@example.com/passkey/s1', 'keyId'),
  principals: [principal('alice@example.com'), principal('team:sre')],
  validAfter: 1_790_000_000n,
  validBefore: 1_790_028_800n,
  criticalOptions: {},
  extensions: ['permit-pty'],
  authorityKey: authority.publicKey,
  ...changes,
})
const signed = (what: CertificateBody, by: TestKey = authority): Uint8Array => {
  const bytes = encodeCertificateBody(what)
  return assembleCertificate(bytes, by.sign(bytes))
}
/** `ssh-keygen -L` without its indentation; it checks the signature too. */
const listed = (blob: Uint8Array): string[] => {
  const path = keygen.write('listed-cert.pub', `${formatCertificate(blob, 'comment')}\n`)
  return keygen
    .run(['-L', '-f', path])
    .split('\n')
    .map(text => text.trim())
    .filter(text => text !== '')
}

describe('what we sign, ssh-keygen reads', () => {
  it.each(ALL_TYPES)('for a subject key of type %s', type => {
    const subjectKey = keyOf(type).publicKey
    const lines = listed(signed(body({ subjectKey })))
    expect(lines).toContain(`Type: ${certificateType(subjectKey)} user certificate`)
    expect(lines.some(line => line.startsWith('Public key: ') && line.endsWith(fingerprint(subjectKey)))).toBe(true)
  })

  it.each(ALL_TYPES)('with the signature of an authority key of type %s', type => {
    const by = keyOf(type)
    const blob = signed(body({ authorityKey: by.publicKey }), by)
    expect(listed(blob).some(line => line.startsWith('Signing CA: ') && line.includes(fingerprint(by.publicKey)))).toBe(
      true,
    )
    expect(verifyCertificate(decodeCertificate(blob), [by.publicKey])).toBe(true)
  })

  it('with every field, option and extension', () => {
    const blob = signed(
      body({
        extensions: EXTENSIONS,
        criticalOptions: {
          forceCommand: '/usr/bin/true "ä"',
          sourceAddress: ['192.0.2.0/24', '2001:db8::/32', '198.51.100.7'],
          verifyRequired: true,
        },
      }),
    )
    expect(listed(blob).slice(4)).toEqual([
      'Key ID: "alice@example.com/passkey/s1"',
      'Serial: 42',
      'Valid: from 2026-09-21T14:13:20 to 2026-09-21T22:13:20',
      'Principals:',
      'alice@example.com',
      'team:sre',
      'Critical Options:',
      'force-command /usr/bin/true "ä"',
      'source-address 192.0.2.0/24,2001:db8::/32,198.51.100.7',
      'verify-required',
      'Extensions:',
      'no-touch-required',
      'permit-X11-forwarding',
      'permit-agent-forwarding',
      'permit-port-forwarding',
      'permit-pty',
      'permit-user-rc',
    ])
  })

  it('for a host, with neither options nor extensions', () => {
    const { criticalOptions: _, extensions: __, ...common } = body()
    const blob = signed({ ...common, kind: 'host', principals: [hostName('demo.keyman.localhost'), hostName('demo')] })
    const lines = listed(blob)
    expect(lines[1]).toMatch(/ host certificate$/)
    expect(lines.slice(7)).toEqual([
      'Principals:',
      'demo.keyman.localhost',
      'demo',
      'Critical Options: (none)',
      'Extensions: (none)',
    ])
  })

  it('with the largest serial and 256 principals', () => {
    const principals = Array.from({ length: 256 }, (_, i) => principal(`team:t${i}`))
    const lines = listed(signed(body({ serial: 2n ** 64n - 1n, principals })))
    expect(lines).toContain('Serial: 18446744073709551615')
    expect(lines.filter(line => line.startsWith('team:t'))).toEqual(principals)
  })
})

describe('what ssh-keygen signs, we read', () => {
  const sign = (by: TestKey, subject: TestKey, ...options: string[]) => {
    const ca = keygen.write('ca', by.privateFile ?? '')
    keygen.write('subject.pub', `${formatPublicKey(subject.publicKey)}\n`)
    keygen.run(['-q', '-s', ca, ...options, keygen.path('subject.pub')])
    return parseCertificate(keygen.readText('subject-cert.pub'))
  }

  it.each(ALL_TYPES)('for a subject key of type %s', type => {
    const certificate = sign(authority, keyOf(type), '-I', 'id', '-n', 'someone')
    expect(certificate.type).toBe(certificateType(keyOf(type).publicKey))
    expect(certificate.subjectKey.blob).toEqual(keyOf(type).publicKey.blob)
    expect(verifyCertificate(certificate, [authority.publicKey])).toBe(true)
  })

  it.each(PLAIN_TYPES)('by an authority key of type %s', type => {
    const by = keyOf(type)
    const certificate = sign(by, authority, '-I', 'id', '-n', 'someone')
    expect(certificate.authorityKey.blob).toEqual(by.publicKey.blob)
    expect(verifyCertificate(certificate, [by.publicKey])).toBe(true)
  })

  it('with every field, and with options that are not ours', () => {
    const certificate = sign(
      authority,
      keyOf('ssh-rsa'),
      ...['-I', 'Ключ 1', '-z', '77', '-n', 'root,deploy', '-V', '20260101000000:20260102000000'],
      ...['-O', 'force-command=uptime', '-O', 'source-address=10.0.0.0/8', '-O', 'extension:tag@example.com=x'],
      ...['-O', 'critical:new@example.com', '-O', 'no-pty'],
    )
    expect(certificate).toMatchObject({ kind: 'user', serial: 77n, keyId: 'Ключ 1', principals: ['root', 'deploy'] })
    expect(certificate.validBefore - certificate.validAfter).toBe(86_400n)
    const text = (list: typeof certificate.extensions) => list.map(({ name, value }) => `${name}=${fromUtf8(value)}`)
    expect(text(certificate.criticalOptions)).toEqual([
      'force-command=uptime',
      'new@example.com=',
      'source-address=10.0.0.0/8',
    ])
    expect(text(certificate.extensions)).toEqual([
      'permit-X11-forwarding=',
      'permit-agent-forwarding=',
      'permit-port-forwarding=',
      'permit-user-rc=',
      'tag@example.com=x',
    ])
  })

  it("for a host, and without an end, which we'd never sign ourselves", () => {
    const certificate = sign(authority, keyOf('ssh-rsa'), '-h', '-I', 'host', '-n', 'a.example.com')
    expect(certificate).toMatchObject({ kind: 'host', validAfter: 0n, validBefore: 2n ** 64n - 1n, extensions: [] })
  })
})

it('reads back every field that it wrote, whatever they were', () => {
  const name = fc.stringMatching(/^[a-z0-9][a-z0-9._+-]{0,20}[@:][a-z0-9][a-z0-9._+/-]{0,20}$/)
  const instant = fc.bigInt({ min: 1n, max: 2n ** 63n })
  const arbitrary = fc.record({
    subject: fc.constantFrom(...ALL_TYPES),
    serial: fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }),
    keyId: fc.stringMatching(/^[a-z0-9@:._+/-]{1,128}$/),
    principals: fc.uniqueArray(name, { minLength: 1, maxLength: 20 }),
    validAfter: instant,
    lifetime: fc.bigInt({ min: 1n, max: 2n ** 62n }),
    extensions: fc.subarray([...EXTENSIONS]),
    forceCommand: fc.option(fc.stringMatching(/^[ -~ä€😀]{1,300}$/u), { nil: undefined }),
    verifyRequired: fc.boolean(),
  })
  fc.assert(
    fc.property(arbitrary, made => {
      const { subject, forceCommand, verifyRequired, lifetime, ...rest } = made
      const what = body({
        ...rest,
        subjectKey: keyOf(subject).publicKey,
        keyId: parseKeyId(made.keyId, 'keyId'),
        principals: made.principals.map(principal),
        validBefore: made.validAfter + lifetime,
        criticalOptions: { verifyRequired, ...(forceCommand === undefined ? {} : { forceCommand }) },
      })
      const bytes = encodeCertificateBody(what)
      const read = parseCertificate(formatCertificate(assembleCertificate(bytes, authority.sign(bytes))))
      expect(toHex(read.body)).toBe(toHex(bytes))
      expect(read).toMatchObject({
        kind: 'user',
        serial: what.serial,
        keyId: what.keyId,
        principals: what.principals,
        validAfter: what.validAfter,
        validBefore: what.validBefore,
      })
      expect(toHex(read.nonce)).toBe(toHex(what.nonce))
      expect(read.subjectKey.blob).toEqual(what.subjectKey.blob)
      expect(read.extensions.map(({ name: each }) => each)).toEqual([...made.extensions].sort())
      expect(read.criticalOptions.map(({ name: each, value }) => [each, fromUtf8(value)])).toEqual([
        ...(forceCommand === undefined ? [] : [['force-command', forceCommand]]),
        ...(verifyRequired ? [['verify-required', '']] : []),
      ])
      expect(verifyCertificate(read, [authority.publicKey])).toBe(true)
    }),
  )
})

it('two bodies that are alike in everything else differ in their nonce', () => {
  expect(toHex(encodeCertificateBody(body()))).not.toBe(toHex(encodeCertificateBody(body())))
})

it('stands in the order of the specification, the reserved field empty', () => {
  const what = body()
  const reader = new SshReader(encodeCertificateBody(what))
  expect(reader.text()).toBe('ecdsa-sha2-nistp256-cert-v01@openssh.com')
  expect(toHex(reader.string())).toBe(toHex(what.nonce))
  expect(reader.text()).toBe('nistp256')
  reader.string()
  expect([reader.uint64(), reader.uint32(), reader.text()]).toEqual([42n, 1, what.keyId])
  reader.string()
  expect([reader.uint64(), reader.uint64()]).toEqual([what.validAfter, what.validBefore])
  expect(toHex(reader.string())).toBe('')
  reader.string()
  expect(toHex(reader.string())).toBe('')
  expect(toHex(reader.string())).toBe(toHex(authority.publicKey.blob))
  reader.end()
})
