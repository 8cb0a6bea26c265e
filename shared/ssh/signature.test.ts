import { sign } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ALL_TYPES,
  keyOf,
  newKey,
  newSecurityKey,
  rsaBlob,
  SECURITY_KEY_TYPES,
} from '#test/support/programs/ssh-keys.ts'
import { concat, utf8 } from '../bytes.ts'
import { encodeSignature, SshReader, SshWriter, verifySignature } from './index.ts'

const message = utf8('what is signed')
const withAlgorithm = (name: string, blob: Uint8Array) => {
  const reader = new SshReader(blob)
  reader.string()
  return concat(new SshWriter().string(name).bytes(), blob.subarray(reader.offset))
}

it.each(ALL_TYPES)('a signature by %s holds for its message and key, and for no other of them', type => {
  const key = keyOf(type)
  const signature = key.sign(message)
  const cases = [
    [key.publicKey, message, signature, true],
    [key.publicKey, utf8('what is signet'), signature, false],
    [key.publicKey, message, key.sign(utf8('other')), false],
    [type === 'ssh-rsa' ? keyOf('ssh-ed25519').publicKey : newKey(type).publicKey, message, signature, false],
  ] as const
  for (const [publicKey, text, blob, expected] of cases) expect(verifySignature(publicKey, text, blob)).toBe(expected)
})

it('an ECDSA signature holds whatever the size of its numbers (leading zeros, high bits)', () => {
  const key = keyOf('ecdsa-sha2-nistp256')
  for (let i = 0; i < 300; i++) {
    const text = utf8(`message ${i}`)
    expect(verifySignature(key.publicKey, text, key.sign(text))).toBe(true)
  }
})

it('a raw ECDSA signature of the wrong length is not encoded', () => {
  expect(() => encodeSignature(keyOf('ecdsa-sha2-nistp384').publicKey, new Uint8Array(64))).toThrow('96 bytes')
})

it('whatever the bytes, checking answers and never throws', () => {
  fc.assert(
    fc.property(fc.constantFrom(...ALL_TYPES), fc.uint8Array({ maxLength: 300 }), (type, bytes) => {
      const { publicKey } = keyOf(type)
      expect(verifySignature(publicKey, message, bytes)).toBe(false)
      expect(verifySignature(publicKey, message, new SshWriter().string(type).string(bytes).bytes())).toBe(false)
    }),
  )
})

describe('attack', () => {
  it('ssh-rsa (SHA-1) signature: refused; the same key with SHA-256 or SHA-512 is taken', () => {
    const { privateKey } = rsaBlob(3072)
    const { n = '', e = '' } = privateKey.export({ format: 'jwk' })
    const number = (text: string) => Uint8Array.fromBase64(text, { alphabet: 'base64url' })
    const modulus = number(n)
    const exponent = number(e)
    const blob = new SshWriter().string('ssh-rsa').mpint(exponent).mpint(modulus).bytes()
    const key = { type: 'ssh-rsa', blob, exponent, modulus } as const
    const signed = (name: string, hash: string) =>
      new SshWriter()
        .string(name)
        .string(new Uint8Array(sign(hash, message, privateKey)))
        .bytes()
    expect(verifySignature(key, message, signed('ssh-rsa', 'sha1'))).toBe(false)
    expect(verifySignature(key, message, signed('rsa-sha2-256', 'sha1'))).toBe(false)
    expect(verifySignature(key, message, signed('ssh-rsa', 'sha256'))).toBe(false)
    expect(verifySignature(key, message, signed('rsa-sha2-512', 'sha256'))).toBe(false)
    expect(verifySignature(key, message, signed('rsa-sha2-256', 'sha256'))).toBe(true)
    expect(verifySignature(key, message, signed('rsa-sha2-512', 'sha512'))).toBe(true)
  })

  it("an algorithm inside that is not the key's own: refused", () => {
    for (const type of ALL_TYPES) {
      const key = keyOf(type)
      const signature = key.sign(message)
      for (const other of [...ALL_TYPES, 'none', `${type}-cert-v01@openssh.com`].filter(name => name !== type))
        expect(verifySignature(key.publicKey, message, withAlgorithm(other, signature))).toBe(false)
      expect(verifySignature(key.publicKey, message, signature)).toBe(true)
    }
  })

  it('bytes that follow a signature, or a truncated one: refused', () => {
    for (const type of ALL_TYPES) {
      const key = keyOf(type)
      const signature = key.sign(message)
      expect(verifySignature(key.publicKey, message, concat(signature, Uint8Array.of(0)))).toBe(false)
      for (const cut of [1, 5, signature.length])
        expect(verifySignature(key.publicKey, message, signature.subarray(0, -cut))).toBe(false)
    }
  })

  it('an RSA signature of no bytes, or with more bytes than the modulus: refused', () => {
    const { publicKey, sign: signWith } = keyOf('ssh-rsa')
    const reader = new SshReader(signWith(message))
    reader.string()
    const raw = reader.string()
    const blob = (bytes: Uint8Array) => new SshWriter().string('rsa-sha2-512').string(bytes).bytes()
    expect(verifySignature(publicKey, message, blob(new Uint8Array(0)))).toBe(false)
    expect(verifySignature(publicKey, message, blob(concat(Uint8Array.of(0), raw)))).toBe(false)
    expect(verifySignature(publicKey, message, blob(raw))).toBe(true)
  })

  it('an ECDSA signature with a number of zero or one longer than the curve: refused', () => {
    const { publicKey } = keyOf('ecdsa-sha2-nistp256')
    const one = Uint8Array.of(1)
    const signature = (r: Uint8Array, s: Uint8Array) =>
      new SshWriter().string(publicKey.type).string(new SshWriter().mpint(r).mpint(s).bytes()).bytes()
    for (const [r, s] of [
      [new Uint8Array(0), one],
      [one, new Uint8Array(0)],
      [new Uint8Array(33).fill(1), one],
      [new Uint8Array(0), new Uint8Array(0)],
    ] as const)
      expect(verifySignature(publicKey, message, signature(r, s))).toBe(false)
  })

  it.each(SECURITY_KEY_TYPES)(
    '%s that nobody touched: refused; touched, or touched and verified, it is taken',
    type => {
      const untouched = newSecurityKey(type, { flags: 0x00 })
      const verifiedOnly = newSecurityKey(type, { flags: 0x04 })
      const touched = newSecurityKey(type, { flags: 0x01 })
      const both = newSecurityKey(type, { flags: 0x05 })
      const holds = ({ publicKey, sign: signWith }: typeof touched) =>
        verifySignature(publicKey, message, signWith(message))
      expect([untouched, verifiedOnly, touched, both].map(holds)).toEqual([false, false, true, true])
    },
  )

  it.each(SECURITY_KEY_TYPES)('%s: flags or counter changed after signing, or another application: refused', type => {
    const key = keyOf(type)
    const signature = key.sign(message)
    for (const fromEnd of [1, 5]) {
      const changed = Uint8Array.from(signature)
      const at = changed.length - fromEnd
      changed[at] = (changed[at] ?? 0) ^ 0x04
      expect(verifySignature(key.publicKey, message, changed)).toBe(false)
    }
    const { publicKey } = key
    if (!('application' in publicKey)) throw new Error('not a security key')
    const blob = Uint8Array.from(publicKey.blob)
    expect(verifySignature({ ...publicKey, blob, application: 'ssh:other' }, message, signature)).toBe(false)
    expect(verifySignature(publicKey, message, signature)).toBe(true)
  })
})
