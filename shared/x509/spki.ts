import { createHash } from 'node:crypto'
import { equalBytes, fromBase64 } from '../bytes.ts'
import { invalid } from '../errors.ts'
import { DerReader, NULL, oid, TAG } from './der.ts'

/** Pure: SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7; algorithms: RFC 5480, RFC 8410, RFC 4055). */

export type SpkiAlgorithm = 'ecdsa-p256' | 'ecdsa-p384' | 'ed25519' | 'rsa'
export type SpkiInfo = {
  readonly algorithm: SpkiAlgorithm
  /** Size of the curve's field or of the RSA modulus. */
  readonly bits: number
  /** The content of `subjectPublicKey`: an uncompressed point, 32 bytes of Ed25519, or an RSAPublicKey. */
  readonly publicKey: Uint8Array
}

const EC_PUBLIC_KEY = oid('1.2.840.10045.2.1')
const P256 = oid('1.2.840.10045.3.1.7')
const P384 = oid('1.3.132.0.34')
const ED25519 = oid('1.3.101.112')
const RSA = oid('1.2.840.113549.1.1.1')
const MAX_BYTES = 2200

/**
 * Reads a DER SubjectPublicKeyInfo strictly: one element and nothing after it, an algorithm of ours, its exact parameters,
 * a point that is on the curve, RSA of 3072 to 16384 bits with an odd exponent of 65537 or more.
 * Throws `invalid-input` that names `field`.
 */
export function readSpki(der: Uint8Array, field = 'publicKey'): SpkiInfo {
  // The limit stands before any parser (CVE-2018-3737: a crafted key that kept a parser busy).
  if (der.length > MAX_BYTES) throw invalid(field, `a public key of ${der.length} bytes; at most ${MAX_BYTES} are read`)
  const whole = new DerReader(der, field)
  const spki = whole.enter(TAG.sequence)
  whole.end()
  const algorithm = spki.enter(TAG.sequence)
  const identifier = algorithm.readWhole(TAG.oid)
  const publicKey = spki.readBitString()
  spki.end()

  if (equalBytes(identifier, ED25519)) {
    algorithm.end()
    if (publicKey.length !== 32) throw invalid(field, `an Ed25519 key has 32 bytes, not ${publicKey.length}`)
    return { algorithm: 'ed25519', bits: 256, publicKey }
  }
  if (equalBytes(identifier, EC_PUBLIC_KEY)) {
    const curve = algorithm.readWhole(TAG.oid)
    algorithm.end()
    if (equalBytes(curve, P256))
      return { algorithm: 'ecdsa-p256', bits: 256, publicKey: point(publicKey, 'P-256', field) }
    if (equalBytes(curve, P384))
      return { algorithm: 'ecdsa-p384', bits: 384, publicKey: point(publicKey, 'P-384', field) }
    throw invalid(field, 'an ECDSA key on a curve other than P-256 and P-384', 'make a P-256 key')
  }
  if (equalBytes(identifier, RSA)) {
    if (!equalBytes(algorithm.readWhole(TAG.null), NULL)) throw invalid(field, 'RSA with parameters')
    algorithm.end()
    return { algorithm: 'rsa', bits: rsaBits(publicKey, field), publicKey }
  }
  throw invalid(field, 'a key of an unknown algorithm', 'make a P-256, P-384, Ed25519 or RSA key (3072 bits or more)')
}

/** y^2 = x^3 - 3x + b over the integers mod p (FIPS 186-5 / SP 800-186 section 3.2.1). */
const CURVES = {
  'P-256': {
    size: 32,
    p: 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n,
    b: 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
  },
  'P-384': {
    size: 48,
    p: 2n ** 384n - 2n ** 128n - 2n ** 96n + 2n ** 32n - 1n,
    b: 0xb3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aefn,
  },
} as const

/**
 * Public-key validation of SEC 1 section 3.2.2.1: both coordinates below p and on the curve (the cofactor is 1, so nothing
 * more is needed). Public numbers only, so no constant time; loading the key with OpenSSL instead costs 20 times as much.
 */
function point(publicKey: Uint8Array, name: keyof typeof CURVES, field: string): Uint8Array {
  const { size, p, b } = CURVES[name]
  if (publicKey[0] !== 4 || publicKey.length !== 1 + 2 * size) {
    throw invalid(field, 'not an uncompressed point of its curve')
  }
  const x = BigInt(`0x${publicKey.subarray(1, 1 + size).toHex()}`)
  const y = BigInt(`0x${publicKey.subarray(1 + size).toHex()}`)
  if (x >= p || y >= p || (y * y - (x * x - 3n) * x - b) % p !== 0n) {
    throw invalid(field, 'a point that is not on its curve')
  }
  return publicKey
}

function rsaBits(publicKey: Uint8Array, field: string): number {
  const outer = new DerReader(publicKey, field)
  const key = outer.enter(TAG.sequence)
  outer.end()
  const modulus = key.readPositiveInteger()
  const exponent = key.readPositiveInteger()
  key.end()
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24
  if (bits < 3072)
    throw invalid(field, `an RSA key of ${bits} bits; at least 3072 are needed`, 'make a P-256 or Ed25519 key')
  if (bits > 16_384) throw invalid(field, `an RSA key of ${bits} bits; at most 16384 are taken`)
  const small = exponent.length > 8 ? 0n : BigInt(`0x${exponent.toHex()}`)
  if (small < 65_537n || small % 2n === 0n || (modulus.at(-1) ?? 0) % 2 === 0) {
    throw invalid(field, 'an RSA key with an even modulus, or an exponent that is not an odd number of 65537 to 2^64')
  }
  return bits
}

/**
 * The key identifier of RFC 7093 section 2 method 1: the first 160 bits of SHA-256 over the content of
 * `subjectPublicKey`. Throws `invalid-input` where the SPKI is not one of ours.
 */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  return keyIdentifierOf(readSpki(spki))
}

export const keyIdentifierOf = (info: SpkiInfo): Uint8Array =>
  Uint8Array.from(createHash('sha256').update(info.publicKey).digest().subarray(0, 20))

/** The SubjectPublicKeyInfo of a client key in base64: P-256, as each client of the machines' listener has one. Throws `invalid-input`. */
export function parseClientKey(base64: string, field: string): Uint8Array {
  let der: Uint8Array
  try {
    der = fromBase64(base64)
  } catch {
    throw invalid(field, 'is not base64')
  }
  const { algorithm } = readSpki(der, field)
  if (algorithm !== 'ecdsa-p256') throw invalid(field, `must be a P-256 key, not ${algorithm}`)
  return der
}
