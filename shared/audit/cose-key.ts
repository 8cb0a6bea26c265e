/**
 * Pure: signatures by a passkey's public key, a COSE_Key (RFC 9052 section 7, RFC 9053, RFC 8812) of the algorithms that we take:
 * ES256, EdDSA with Ed25519, RS256. Written here, and not by the server's library: who checks the server has code of their own.
 */
import { createPublicKey, verify, type webcrypto } from 'node:crypto'
import { toBase64Url } from '../bytes.ts'

/** `false` also for a key of another kind, or none. */
export function isSignedBy(coseKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    const { jwk, hash } = readKey(readMap(coseKey))
    return verify(hash, message, createPublicKey({ key: jwk, format: 'jwk' }), signature)
  } catch {
    return false
  }
}

type Members = ReadonlyMap<number, number | Uint8Array>

function readKey(members: Members): { jwk: webcrypto.JsonWebKey; hash: 'sha256' | null } {
  const bytes = (label: number) => {
    const value = members.get(label)
    if (!(value instanceof Uint8Array)) throw new RangeError(`the key has no member ${label}`)
    return toBase64Url(value)
  }
  const is = (kty: number, alg: number, crv?: number) =>
    members.get(1) === kty && members.get(3) === alg && (crv === undefined || members.get(-1) === crv)
  if (is(2, -7, 1)) return { jwk: { kty: 'EC', crv: 'P-256', x: bytes(-2), y: bytes(-3) }, hash: 'sha256' }
  if (is(1, -8, 6)) return { jwk: { kty: 'OKP', crv: 'Ed25519', x: bytes(-2) }, hash: null }
  if (is(3, -257)) return { jwk: { kty: 'RSA', n: bytes(-1), e: bytes(-2) }, hash: 'sha256' }
  throw new RangeError('a key of another kind')
}

/** As much of CBOR (RFC 8949) as such a key has: one map of numbers to numbers and byte strings. */
function readMap(bytes: Uint8Array): Members {
  let at = 0
  const take = (length: number): Uint8Array => {
    if (at + length > bytes.length) throw new RangeError('the key is cut short')
    at += length
    return bytes.subarray(at - length, at)
  }
  const head = (): { major: number; value: number } => {
    const [first = 0] = take(1)
    const info = first & 31
    if (info < 24) return { major: first >> 5, value: info }
    if (info > 26) throw new RangeError('no length that a key has')
    return { major: first >> 5, value: take(2 ** (info - 24)).reduce((sum, byte) => sum * 256 + byte, 0) }
  }
  const item = (): number | Uint8Array => {
    const { major, value } = head()
    if (major === 0) return value
    if (major === 1) return -1 - value
    if (major === 2) return take(value)
    throw new RangeError('nothing that a key has')
  }
  const { major, value: count } = head()
  if (major !== 5) throw new RangeError('a key is a map')
  const members = new Map<number, number | Uint8Array>()
  for (let i = 0; i < count; i++) {
    const label = item()
    if (typeof label !== 'number' || members.has(label)) throw new RangeError('its labels are numbers, each once')
    members.set(label, item())
  }
  if (at !== bytes.length) throw new RangeError('something follows the key')
  return members
}
