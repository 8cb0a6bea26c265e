import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { concat, fromBase64Url } from '../bytes.ts'
import { isSignedBy } from './cose-key.ts'

const message = new Uint8Array(randomBytes(64))
/** CBOR of a byte string of 256 to 65,535 bytes. */
const long = (bytes: Uint8Array) => concat(Uint8Array.of(0x59, bytes.length >> 8, bytes.length & 0xff), bytes)

it('a passkey with RS256 is verified as RFC 8812 writes its key, and no changed byte of it', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { n = '', e = '' } = publicKey.export({ format: 'jwk' })
  const exponent = fromBase64Url(e)
  const key = concat(
    Uint8Array.of(0xa4, 0x01, 0x03, 0x03, 0x39, 0x01, 0x00, 0x20),
    long(fromBase64Url(n)),
    Uint8Array.of(0x21, 0x40 | exponent.length),
    exponent,
  )
  const signature = new Uint8Array(sign('sha256', message, privateKey))
  expect(isSignedBy(key, message, signature)).toBe(true)
  for (const at of [0, 2, 4, 6, 7, 9, 20, key.length - 1]) {
    const changed = key.with(at, (key[at] ?? 0) ^ 1)
    expect(isSignedBy(changed, message, signature), `byte ${at}`).toBe(false)
  }
  expect(isSignedBy(concat(key, Uint8Array.of(0)), message, signature)).toBe(false)
  expect(isSignedBy(key.subarray(0, -1), message, signature)).toBe(false)
})

it('what is no key verifies nothing, whatever its bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      expect(isSignedBy(bytes, message, bytes)).toBe(false)
    }),
  )
})
