import { afterAll, describe, expect, it } from 'vitest'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { keyOf, newKey, newNonce, rsaBlob } from '#test/support/programs/ssh-keys.ts'
import { concat, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { parseKeyId, parseUserPrincipal } from '../names.ts'
import {
  assembleCertificate,
  decodeCertificate,
  decodeKrl,
  encodeCertificateBody,
  encodeKrl,
  formatPublicKey,
  isRevoked,
  type Krl,
  type SerialRange,
  SshWriter,
} from './index.ts'

const keygen = new SshKeygen()
afterAll(() => keygen.remove())

const authority = keyOf('ssh-ed25519')
const nothing: Krl = {
  version: 1n,
  generatedAt: 1_790_000_000n,
  comment: '',
  certificates: [],
  keys: [],
  fingerprints: [],
}
const one = (serial: bigint): SerialRange => ({ from: serial, to: serial })
const withSerials = (serials: readonly SerialRange[], keyIds: readonly string[] = []): Krl => ({
  ...nothing,
  certificates: [{ authority: authority.publicKey, serials, keyIds }],
})
const answerOf = (work: () => unknown): string => {
  try {
    work()
    return 'accepted'
  } catch (error) {
    if (error instanceof KeymanError && error.code === 'invalid-input') return error.message
    throw error
  }
}
const subject = newKey('ssh-ed25519')
function certificate(serial: bigint) {
  const body = encodeCertificateBody({
    kind: 'user',
    nonce: newNonce(),
    subjectKey: subject.publicKey,
    serial,
    keyId: parseKeyId('alice@example.com/1', 'keyId'),
    principals: [parseUserPrincipal('alice@example.com', 'principals')],
    validAfter: 1n,
    validBefore: 2n,
    criticalOptions: {},
    extensions: [],
    authorityKey: authority.publicKey,
  })
  return decodeCertificate(assembleCertificate(body, authority.sign(body)))
}

describe('attack', () => {
  const header = encodeKrl(nothing)
  const section = (type: number, body: Uint8Array) => concat(header, new SshWriter().byte(type).string(body).bytes())
  const certificates = (part: number, body: Uint8Array) =>
    section(1, new SshWriter().string(authority.publicKey.blob).string('').byte(part).string(body).bytes())
  const read = (bytes: Uint8Array) => answerOf(() => decodeKrl(bytes))
  const keygenReads = (bytes: Uint8Array) => keygen.try(['-Q', '-l', '-f', keygen.write('attack', bytes)]).ok

  it('serial 0 (a KRL can not name it): refused when written and when read', () => {
    expect(answerOf(() => encodeKrl(withSerials([one(0n)])))).toMatch(/^serials: /)
    expect(answerOf(() => encodeKrl(withSerials([{ from: 0n, to: 5n }])))).toMatch(/^serials: /)
    expect(answerOf(() => encodeKrl(withSerials([one(1n)])))).toBe('accepted')
    expect(read(certificates(0x20, new SshWriter().uint64(0n).bytes()))).toMatch(/^krl: .*above 0/)
    expect(read(certificates(0x21, new SshWriter().uint64(0n).uint64(4n).bytes()))).toMatch(/^krl: .*above 0/)
    expect(read(certificates(0x22, new SshWriter().uint64(0n).mpint(Uint8Array.of(1)).bytes()))).toContain('serial 0')
    expect(read(certificates(0x22, new SshWriter().uint64(0n).mpint(Uint8Array.of(2)).bytes()))).toBe('accepted')
    expect(read(certificates(0x20, new SshWriter().uint64(1n).bytes()))).toBe('accepted')
  })

  it('a range upside down, one beyond 64 bits, an empty key ID, a fingerprint of 20 bytes: never written', () => {
    for (const bad of [{ from: 5n, to: 4n }, one(2n ** 64n), { from: 1n, to: 2n ** 64n }, one(-1n)])
      expect(answerOf(() => encodeKrl(withSerials([bad])))).toMatch(/^serials: /)
    for (const id of ['', 'a\0b']) expect(answerOf(() => encodeKrl(withSerials([], [id])))).toMatch(/^keyIds: /)
    expect(answerOf(() => encodeKrl({ ...nothing, fingerprints: [new Uint8Array(20)] }))).toMatch(/^fingerprints: /)
  })

  it('a certificate as the key to be revoked, which would revoke nothing: never written', () => {
    const { blob } = certificate(9n)
    expect(answerOf(() => encodeKrl({ ...nothing, keys: [blob] }))).toContain('a certificate stands where')
    expect(answerOf(() => encodeKrl({ ...nothing, keys: [utf8('x')] }))).toMatch(/^keys: /)
    expect(answerOf(() => encodeKrl({ ...nothing, keys: [subject.publicKey.blob] }))).toBe('accepted')
  })

  it('zero bytes, a lone newline, a list of keys as text, another magic or version: no KRL', () => {
    const line = utf8(`${formatPublicKey(subject.publicKey)}\n`)
    for (const bytes of [new Uint8Array(0), utf8('\n'), line, utf8('SSHKRL\n'), utf8('SSHKRL\n\0')])
      expect(read(bytes)).not.toBe('accepted')
    const version2 = Uint8Array.from(header)
    version2[11] = 2
    expect(read(version2)).toContain('not version 1')
    expect(read(header)).toBe('accepted')
  })

  it('trailing bytes, and every truncation: refused', () => {
    const whole = encodeKrl(withSerials([one(1n), { from: 10n, to: 1000n }], ['alice@example.com/1']))
    expect(read(concat(whole, Uint8Array.of(1)))).not.toBe('accepted')
    for (let length = 0; length < whole.length; length++)
      expect(read(whole.subarray(0, length)) === 'accepted').toBe(length === header.length)
    expect(read(whole)).toBe('accepted')
  })

  it('a signature section, which sshd refuses from 9.4 on, or one of an unknown type: refused', () => {
    for (const type of [0, 4, 6, 255]) expect(read(section(type, subject.publicKey.blob))).toContain(`type ${type}`)
    for (const part of [0, 0x24, 0x39]) expect(read(certificates(part, utf8('x')))).toContain(`type ${part}`)
  })

  it('fingerprints of the wrong size, out of order or twice: refused', () => {
    const hash = (fill: number, size = 32) => new Uint8Array(size).fill(fill)
    const hashes = (...list: Uint8Array[]) => {
      const writer = new SshWriter()
      for (const each of list) writer.string(each)
      return read(section(5, writer.bytes()))
    }
    expect(hashes(hash(1), hash(2))).toBe('accepted')
    expect(hashes(hash(2), hash(1))).toContain('numeric order')
    expect(hashes(hash(1), hash(1))).toContain('numeric order')
    expect(hashes(hash(1, 20))).toContain('20 bytes')
  })

  it('a bitmap that goes beyond 64 bits, or is larger than sshd reads: refused, by ssh-keygen too', () => {
    const bitmap = (offset: bigint, bytes: Uint8Array) =>
      certificates(0x22, new SshWriter().uint64(offset).mpint(bytes).bytes())
    const huge = bitmap(1n, new Uint8Array(2049).fill(1))
    const largest = bitmap(1n, new Uint8Array(2048).fill(1))
    const wraps = bitmap(2n ** 64n - 2n, Uint8Array.of(4))
    expect([read(huge), read(wraps), read(largest)]).toEqual([
      expect.stringContaining('larger than'),
      expect.stringContaining('beyond 64 bits'),
      'accepted',
    ])
    expect([huge, wraps, largest].map(keygenReads)).toEqual([false, false, true])
  })

  it('a certificate in the place of an authority, or a short RSA key there: refused', () => {
    const named = (blob: Uint8Array) => read(section(1, new SshWriter().string(blob).string('').bytes()))
    expect(named(certificate(1n).blob)).toContain('certificate')
    expect(named(rsaBlob(1024).blob)).toContain('1024')
    expect(named(authority.publicKey.blob)).toBe('accepted')
  })

  it("a certificate with serial 0 by an authority of somebody else's: only its key ID and keys can revoke it", () => {
    const zero = { ...certificate(1n), serial: 0n }
    const krl = { ...withSerials([{ from: 1n, to: 2n ** 64n - 1n }]) }
    expect(isRevoked(krl, zero)).toBe(false)
    expect(isRevoked(withSerials([], [zero.keyId]), zero)).toBe(true)
  })
})
