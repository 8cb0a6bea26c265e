import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { parseIpAddress } from '../ip-address.ts'
import * as der from './der.ts'
import { fromPem, keyIdentifier, machineUri, readSpki, toPem } from './index.ts'

const spki = (keys: { publicKey: { export(o: { format: 'der'; type: 'spki' }): Uint8Array } }) =>
  Uint8Array.from(keys.publicKey.export({ format: 'der', type: 'spki' }))
const p256 = spki(generateKeyPairSync('ec', { namedCurve: 'P-256' }))
const p384 = spki(generateKeyPairSync('ec', { namedCurve: 'P-384' }))
const p521 = spki(generateKeyPairSync('ec', { namedCurve: 'P-521' }))
const ed25519 = spki(generateKeyPairSync('ed25519'))
const rsa = (bits: number, exponent = 65_537) =>
  spki(generateKeyPairSync('rsa', { modulusLength: bits, publicExponent: exponent }))

describe('a SubjectPublicKeyInfo', () => {
  it('is read as P-256, P-384, Ed25519 or RSA from 3072 bits on', () => {
    expect(readSpki(p256)).toMatchObject({ algorithm: 'ecdsa-p256', bits: 256 })
    expect(readSpki(p384)).toMatchObject({ algorithm: 'ecdsa-p384', bits: 384 })
    expect(readSpki(ed25519)).toMatchObject({ algorithm: 'ed25519' })
    expect(readSpki(rsa(3072))).toMatchObject({ algorithm: 'rsa', bits: 3072 })
  })

  it('is refused with RSA below 3072 bits, a small exponent, another curve or another algorithm', () => {
    expect(() => readSpki(rsa(2048))).toThrow(/2048 bits/)
    expect(() => readSpki(rsa(1024))).toThrow(/1024 bits/)
    expect(() => readSpki(rsa(3072, 3))).toThrow(/exponent/)
    expect(() => readSpki(p521)).toThrow(/curve/)
    expect(() => readSpki(spki(generateKeyPairSync('ed448')))).toThrow(/unknown algorithm/)
  })

  it('is refused with bytes after it, cut off, or with a length that is not the shortest', () => {
    expect(() => readSpki(concat(p256, Uint8Array.of(0)))).toThrow(/too many/)
    for (let length = 0; length < p256.length; length++)
      expect(() => readSpki(p256.subarray(0, length))).toThrow(KeymanError)
    expect(() => readSpki(concat(Uint8Array.of(0x30, 0x81, p256.length - 2), p256.subarray(2)))).toThrow(/shortest/)
    expect(() => readSpki(concat(Uint8Array.of(0x30, 0x80), p256.subarray(2)))).toThrow(/length/)
    expect(() => readSpki(new Uint8Array(5000))).toThrow(/5000 bytes/)
  })

  it('is refused with a point that is not on the curve', () => {
    const off = Uint8Array.from(p256)
    off[off.length - 1] = (off.at(-1) ?? 0) ^ 1
    expect(() => readSpki(off)).toThrow(/not on its curve/)
  })

  it('on P-256 and P-384 is taken exactly where OpenSSL takes it', () => {
    const taken = (read: () => unknown) => {
      try {
        read()
        return true
      } catch {
        return false
      }
    }
    const openssl = (key: Uint8Array) => () => createPublicKey({ key: Buffer.from(key), format: 'der', type: 'spki' })
    for (let i = 0; i < 40; i++) {
      for (const namedCurve of ['P-256', 'P-384']) {
        const key = spki(generateKeyPairSync('ec', { namedCurve }))
        expect(readSpki(key).publicKey[0]).toBe(4)
        const other = Uint8Array.from(key)
        const at = other.length - 1 - (i % (namedCurve === 'P-256' ? 64 : 96))
        other[at] = (other[at] ?? 0) ^ (1 << (i % 8))
        expect(taken(() => readSpki(other))).toBe(taken(openssl(other)))
        // A coordinate of p or more, which is the same number mod p, is another encoding of a key: refused by both.
        other.fill(0xff, -(namedCurve === 'P-256' ? 32 : 48))
        expect(taken(() => readSpki(other))).toBe(taken(openssl(other)))
      }
    }
  })

  it('names the field that it came from', () => {
    expect(() => readSpki(new Uint8Array(3), 'clientPublicKey')).toThrow(/^clientPublicKey/)
  })

  it('is read or refused, never crashed on, with 20,000 mutations', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(p256, p384, ed25519),
        fc.array(fc.tuple(fc.nat(119), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (key, changes) => {
          const bytes = Uint8Array.from(key)
          for (const [at, value] of changes) bytes[at % bytes.length] = value
          try {
            readSpki(bytes)
          } catch (error) {
            expect(error).toBeInstanceOf(KeymanError)
          }
        },
      ),
      { numRuns: 20_000, seed: 7 },
    )
  })

  it('has the identifier of RFC 7093 method 1', () => {
    const point = p256.subarray(-65)
    expect(keyIdentifier(p256)).toEqual(Uint8Array.from(createHash('sha256').update(point).digest().subarray(0, 20)))
  })
})

describe('DER', () => {
  it('writes object identifiers, integers and times as X.690 and RFC 5280 say', () => {
    expect(der.oid('1.2.840.113549.1.1.11').toHex()).toBe('06092a864886f70d01010b')
    expect(der.oid('2.5.29.17').toHex()).toBe('0603551d11')
    expect(der.integer(0n).toHex()).toBe('020100')
    expect(der.integer(127n).toHex()).toBe('02017f')
    expect(der.integer(128n).toHex()).toBe('02020080')
    expect(der.unsignedInteger(Uint8Array.of(0, 0, 0x80)).toHex()).toBe('02020080')
    expect(new TextDecoder().decode(der.time(new Date('2049-12-31T23:59:59.999Z')).subarray(2))).toBe('491231235959Z')
    expect(new TextDecoder().decode(der.time(new Date('2050-01-01T00:00:00Z')).subarray(2))).toBe('20500101000000Z')
    expect(der.octetString(new Uint8Array(200)).subarray(0, 3).toHex()).toBe('0481c8')
    expect(der.octetString(new Uint8Array(70_000)).subarray(0, 5).toHex()).toBe('0483011170')
  })

  it('reads back what it wrote', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70_000 }), content => {
        const reader = new der.DerReader(der.octetString(content), 'x')
        expect(reader.read(der.TAG.octetString)).toEqual(content)
        reader.end()
      }),
      { numRuns: 50, seed: 7 },
    )
  })
})

describe('PEM', () => {
  it('round-trips and breaks lines at 64 characters', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 500 }), bytes => {
        const pem = toPem(bytes, 'CERTIFICATE')
        expect(Math.max(...pem.split('\n').map(line => line.length))).toBeLessThanOrEqual(64)
        expect(fromPem(pem, 'CERTIFICATE')).toEqual(bytes)
        expect(fromPem(pem.replaceAll('\n', '\r\n'), 'CERTIFICATE')).toEqual(bytes)
      }),
      { numRuns: 100, seed: 7 },
    )
  })

  it('is refused with a second block, another label, or text around it', () => {
    const pem = toPem(p256, 'PUBLIC KEY')
    expect(() => fromPem(pem + pem, 'PUBLIC KEY')).toThrow(/more than one/)
    expect(() => fromPem(pem, 'CERTIFICATE')).toThrow(/BEGIN CERTIFICATE/)
    expect(() => fromPem(`hello\n${pem}`, 'PUBLIC KEY')).toThrow(/one PEM block/)
    expect(() => fromPem('', 'PUBLIC KEY')).toThrow(/one PEM block/)
  })

  it('names a private key for what it is, and does not repeat it', () => {
    const { privateKey } = generateKeyPairSync('ed25519', {
      publicKeyEncoding: { format: 'pem', type: 'spki' },
      privateKeyEncoding: { format: 'pem', type: 'pkcs8' },
    })
    let message = ''
    try {
      fromPem(privateKey, 'PUBLIC KEY', 'key')
    } catch (error) {
      message = String(error)
    }
    expect(message).toContain('this is a private key')
    expect(message).not.toContain(privateKey.split('\n')[1])
  })
})

describe('the URI of a machine', () => {
  it('names a person with a session, or a host', () => {
    const person = machineUri.person('acme', 'alice@example.com', 'ses_0123456789')
    expect(person).toBe('keyman://acme/person/alice@example.com/session/ses_0123456789')
    expect(machineUri.parse(person)).toEqual({
      kind: 'person',
      organisation: 'acme',
      identity: 'alice@example.com',
      session: 'ses_0123456789',
    })
    expect(machineUri.parse(machineUri.host('acme', 'web1.example.com'))).toEqual({
      kind: 'host',
      organisation: 'acme',
      name: 'web1.example.com',
    })
  })

  it('names a workload with its session, whatever the workload is called', () => {
    const uri = machineUri.workload('acme', 'payments/prod/backup', 'session_0123456789')
    expect(uri).toBe('keyman://acme/workload/payments/prod/backup/session/session_0123456789')
    expect(machineUri.parse(uri)).toEqual({
      kind: 'workload',
      organisation: 'acme',
      name: 'payments/prod/backup',
      session: 'session_0123456789',
    })
    const other = machineUri.workload('acme', 'payments/session/session-other000', 'session_0123456789')
    expect(machineUri.parse(other)).toMatchObject({
      name: 'payments/session/session-other000',
      session: 'session_0123456789',
    })
  })

  it('keeps an identity with slashes apart from its session', () => {
    const identity = 'a@b/session/ses_other000'
    expect(machineUri.parse(machineUri.person('acme', identity, 'ses_0123456789'))).toMatchObject({
      identity,
      session: 'ses_0123456789',
    })
  })

  it.each([
    '',
    'keyman://acme/person/alice/session/ses_0123456789',
    'keyman://acme/person/alice@example.com',
    'keyman://acme/person/alice@example.com/session/',
    'keyman://acme/person/alice@example.com/session/ses_0123456789/',
    'keyman://acme/person/alice@example.com/session/ses_0123456789\n',
    'keyman://acme/person/alice@example.com%2fx/session/ses_0123456789',
    'KEYMAN://acme/host/web1.example.com',
    'keyman://acme/host/web1.example.com.',
    'keyman://acme/host/*.example.com',
    'keyman://acme/host/web1.example.com?x',
    'keyman:///host/web1.example.com',
    'keyman://Acme/host/web1.example.com',
    'keyman://acme/workload/payments/session/session_0123456789',
    'keyman://acme/workload/payments/prod/eu/backup/session/session_0123456789',
    'keyman://acme/workload/payments/prod/backup',
    'keyman://acme/workload/payments/../backup/session/session_0123456789',
    'https://acme/host/web1.example.com',
    `keyman://acme/host/${'a.'.repeat(400)}a`,
  ])('refuses %j', uri => expect(() => machineUri.parse(uri)).toThrow(/^uri/))
})

describe('an IP address', () => {
  it('is read as bytes', () => {
    expect(parseIpAddress('192.0.2.1')).toEqual(Uint8Array.of(192, 0, 2, 1))
    expect(parseIpAddress('::')?.toHex()).toBe('0'.repeat(32))
    expect(parseIpAddress('2001:db8::1')?.toHex()).toBe('20010db8000000000000000000000001')
    expect(parseIpAddress('::ffff:192.0.2.1')?.toHex()).toBe('00000000000000000000ffffc0000201')
    expect(parseIpAddress('1:2:3:4:5:6:7:8')?.toHex()).toBe('00010002000300040005000600070008')
    expect(parseIpAddress('1::3:4:5:6:7:8')?.toHex()).toBe('00010000000300040005000600070008')
  })

  it.each([
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4::5:6:7:8',
    ':1',
    '1:',
    '1.2.3.4::',
    '::1.2.3',
    '12345::',
    '0x7f.1',
    '127.1',
  ])('is not %j', text => expect(parseIpAddress(text)).toBeUndefined())
})
