import { createPublicKey } from 'node:crypto'
import { equalBytes, toBase64Url, toHex } from '#shared/bytes.ts'
import type { KeyAlgorithm } from '../port.ts'
import { KEY_ALGORITHMS, unavailable } from '../port.ts'
import { CKK } from './constants.ts'
import { SCHEMES } from './mechanisms.ts'

/** Pure: a public key object's attributes to our algorithm and DER SubjectPublicKeyInfo. */
export type PublicAttributes =
  | { readonly keyType: typeof CKK.RSA; readonly modulus: Uint8Array; readonly exponent: Uint8Array }
  | {
      readonly keyType: typeof CKK.EC | typeof CKK.EC_EDWARDS
      readonly params: Uint8Array
      readonly point: Uint8Array
    }

/** `undefined` for a key of an algorithm that is none of ours. Throws `unavailable` for a point that makes no sense. */
export function readPublicKey(attributes: PublicAttributes): { algorithm: KeyAlgorithm; spki: Uint8Array } | undefined {
  if (attributes.keyType === CKK.RSA) {
    const modulus = withoutZeros(attributes.modulus)
    const algorithm = KEY_ALGORITHMS.find(
      name => SCHEMES[name].keyType === CKK.RSA && SCHEMES[name].bits === modulus.length * 8,
    )
    if (!algorithm) return undefined
    return {
      algorithm,
      spki: fromJwk({ kty: 'RSA', n: toBase64Url(modulus), e: toBase64Url(withoutZeros(attributes.exponent)) }),
    }
  }
  const algorithm = KEY_ALGORITHMS.find(
    name =>
      SCHEMES[name].keyType === attributes.keyType &&
      SCHEMES[name].ecParams.some(params => equalBytes(params, attributes.params)),
  )
  switch (algorithm) {
    case 'ed25519':
      return {
        algorithm,
        spki: fromJwk({ kty: 'OKP', crv: 'Ed25519', x: toBase64Url(rawPoint(attributes.point, 32)) }),
      }
    case 'ecdsa-p256':
      return { algorithm, spki: fromPoint('P-256', rawPoint(attributes.point, 65)) }
    case 'ecdsa-p384':
      return { algorithm, spki: fromPoint('P-384', rawPoint(attributes.point, 97)) }
    default:
      return undefined
  }
}

/**
 * CKA_EC_POINT is a DER OCTET STRING around the point (v2.40 section 2.3.3); some modules give the bare point. The lengths
 * tell which it is: those of our curves need one length byte.
 */
function rawPoint(value: Uint8Array, length: number): Uint8Array {
  if (value.length === length) return value
  if (value.length === length + 2 && value[0] === 4 && value[1] === length) return value.subarray(2)
  throw unavailable(`the token gave a public key that is no point: ${toHex(value.subarray(0, 100))}`)
}

function fromPoint(crv: string, point: Uint8Array): Uint8Array {
  const size = (point.length - 1) / 2
  const [x, y] = [point.subarray(1, 1 + size), point.subarray(1 + size)]
  return fromJwk({ kty: 'EC', crv, x: toBase64Url(x), y: toBase64Url(y) })
}

// OpenSSL refuses points that are not on their curve here.
const fromJwk = (key: JsonWebKey): Uint8Array =>
  new Uint8Array(createPublicKey({ key, format: 'jwk' }).export({ format: 'der', type: 'spki' }))

function withoutZeros(number: Uint8Array): Uint8Array {
  const first = number.findIndex(byte => byte !== 0)
  return first < 0 ? number : number.subarray(first)
}
