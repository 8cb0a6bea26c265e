import { createPrivateKey, createPublicKey, type KeyObject, type webcrypto } from 'node:crypto'
import { equalBytes, fromHex, toBase64Url, toHex } from '../bytes.ts'
import { invalid } from '../errors.ts'
import { type PrivateFields, privateFields } from './private-fields.ts'
import { endOf, NOT_TOGETHER, openPrivateKeyFile } from './private-key.ts'
import { CURVES } from './public-key.ts'
import type { SshReader } from './wire.ts'

/** Pure: a session's key as `encodePrivateKeyFile` wrote it: Ed25519, P-256 or RSA. Throws `invalid-input`, never with any of the key in its message. */
export function decodeSessionKey(
  pem: string,
  field = 'privateKey',
): { readonly privateKey: KeyObject; readonly fields: PrivateFields; readonly comment: string } {
  const { type, inner, outer } = openPrivateKeyFile(pem, field)
  const key = jwkOf(type, inner)
  const comment = endOf(inner)
  try {
    const privateKey = createPrivateKey({ key, format: 'jwk' })
    const fields = privateFields(privateKey, createPublicKey(privateKey).export({ format: 'der', type: 'spki' }))
    if (equalBytes(fields.publicKey.blob, outer)) return { privateKey, fields, comment }
  } catch {
    // Numbers that are no key.
  }
  throw invalid(field, NOT_TOGETHER)
}

function jwkOf(type: string, inner: SshReader): webcrypto.JsonWebKey {
  switch (type) {
    case 'ssh-ed25519': {
      const x = toBase64Url(inner.string())
      return { kty: 'OKP', crv: 'Ed25519', x, d: toBase64Url(inner.string().subarray(0, 32)) }
    }
    case 'ecdsa-sha2-nistp256': {
      const { bytes, jwk } = CURVES.nistp256
      inner.string()
      const point = inner.string()
      const [x, y] = [point.subarray(1, 1 + bytes), point.subarray(1 + bytes)].map(toBase64Url)
      return { kty: 'EC', crv: jwk, ...(x && y ? { x, y } : {}), d: toBase64Url(padded(inner.mpint(), bytes)) }
    }
    case 'ssh-rsa': {
      const [n, e, d, qi, p, q] = Array.from({ length: 6 }, () => inner.mpint())
      if (!n || !e || !d || !qi || !p || !q) return inner.fail('its numbers are missing')
      const exponents = { dp: modulo(d, p), dq: modulo(d, q) }
      const numbers = Object.entries({ n, e, d, p, q, qi, ...exponents }).map(([name, value]) => [
        name,
        toBase64Url(value),
      ])
      return { kty: 'RSA', ...Object.fromEntries(numbers) }
    }
    default:
      return inner.fail(`it is a key of the type ${type.slice(0, 40)}, which no session has`)
  }
}

/** A number at its curve's size. */
function padded(number: Uint8Array, size: number): Uint8Array {
  const all = new Uint8Array(Math.max(size, number.length))
  all.set(number, all.length - number.length)
  return all
}

/** `d mod (p - 1)`, which RSA's files leave out and JWK wants. */
function modulo(d: Uint8Array, p: Uint8Array): Uint8Array {
  const number = (bytes: Uint8Array) => BigInt(`0x${toHex(bytes) || '0'}`)
  const less = number(p) - 1n
  const rest = (less > 0n ? number(d) % less : 0n).toString(16)
  return fromHex(rest.length % 2 === 0 ? rest : `0${rest}`)
}
