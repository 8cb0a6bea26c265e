import { type createPublicKey, generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { concat, fromBase64Url } from '#shared/bytes.ts'
import { CKK } from './constants.ts'
import { SCHEMES } from './mechanisms.ts'
import { readPublicKey } from './public-key.ts'

const octetString = (content: Uint8Array) => concat(Uint8Array.of(4, content.length), content)
const spkiOf = (key: ReturnType<typeof createPublicKey>) => new Uint8Array(key.export({ format: 'der', type: 'spki' }))

describe("a token's public key", () => {
  it.each(['P-256', 'P-384'] as const)('is read on %s from a point in an OCTET STRING and from a bare one', curve => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: curve })
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
    const point = concat(Uint8Array.of(4), fromBase64Url(x), fromBase64Url(y))
    const algorithm = curve === 'P-256' ? 'ecdsa-p256' : 'ecdsa-p384'
    const params = SCHEMES[algorithm].ecParams[0] ?? new Uint8Array()
    for (const given of [point, octetString(point)])
      expect(readPublicKey({ keyType: CKK.EC, params, point: given })).toEqual({ algorithm, spki: spkiOf(publicKey) })
    for (const given of [point.subarray(1), octetString(point.subarray(1)), concat(point, Uint8Array.of(0))])
      expect(() => readPublicKey({ keyType: CKK.EC, params, point: given })).toThrow('no point')
    const off = point.map((byte, at) => (at === point.length - 1 ? byte ^ 1 : byte))
    expect(() => readPublicKey({ keyType: CKK.EC, params, point: off })).toThrow()
  })

  it('is read for Ed25519 by its OID and by its name, from an OCTET STRING and bare', () => {
    const { publicKey } = generateKeyPairSync('ed25519')
    const point = fromBase64Url(publicKey.export({ format: 'jwk' }).x ?? '')
    expect(SCHEMES.ed25519.ecParams).toHaveLength(2)
    for (const params of SCHEMES.ed25519.ecParams) {
      for (const given of [point, octetString(point)]) {
        const read = readPublicKey({ keyType: CKK.EC_EDWARDS, params, point: given })
        expect(read).toEqual({ algorithm: 'ed25519', spki: spkiOf(publicKey) })
      }
    }
  })

  it('is read for RSA with and without leading zeros, and not in a size that is none of ours', () => {
    const read = (bits: number) => {
      const { publicKey } = generateKeyPairSync('rsa', { modulusLength: bits })
      const { n = '', e = '' } = publicKey.export({ format: 'jwk' })
      const [modulus, exponent] = [fromBase64Url(n), fromBase64Url(e)]
      const zero = Uint8Array.of(0)
      return [
        spkiOf(publicKey),
        readPublicKey({ keyType: CKK.RSA, modulus, exponent }),
        readPublicKey({ keyType: CKK.RSA, modulus: concat(zero, modulus), exponent: concat(zero, exponent) }),
      ]
    }
    const [spki, ...both] = read(3072)
    for (const key of both) expect(key).toEqual({ algorithm: 'rsa-3072', spki })
    expect(read(1024).slice(1)).toEqual([undefined, undefined])
  })

  it('is none of ours on another curve', () => {
    // secp256k1, with P-256's type and length
    const params = Uint8Array.fromHex('06052b8104000a')
    expect(readPublicKey({ keyType: CKK.EC, params, point: new Uint8Array(65) })).toBeUndefined()
  })
})
