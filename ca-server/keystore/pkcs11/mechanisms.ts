import { hash } from 'node:crypto'
import { concat, fromHex } from '#shared/bytes.ts'
import type { KeyAlgorithm } from '../port.ts'
import { KEY_ALGORITHMS } from '../port.ts'
import { type Cryptoki, ckrOf, type Handle, type Mechanism } from './binding.ts'
import { CKK, CKM } from './constants.ts'

/**
 * How each algorithm is done with the mechanisms that nearly every module has: hashed here, signed there. SoftHSM has no
 * CKM_ECDSA_SHA256, and an HSM that hashes would get the whole text over its wire.
 */
export type Scheme = {
  readonly keyType: number
  readonly generate: Mechanism
  readonly sign: Mechanism
  /** Size the module must allow: bits of the curve or modulus. */
  readonly bits: number
  readonly signatureBytes: number
  /** Ways to write CKA_EC_PARAMS, the usual first; none for RSA. */
  readonly ecParams: readonly Uint8Array[]
  /** What C_Sign gets. A copy, so that it stands still while another thread reads it. */
  readonly input: (data: Uint8Array) => Buffer
}

const mechanism = (mechanism: number): Mechanism => ({ mechanism })

// RFC 8017 section 9.2, note 1: DigestInfo of SHA-512 up to the digest.
const SHA512_DIGEST_INFO = fromHex('3051300d060960864801650304020305000440')

const rsa = (bits: number): Scheme => ({
  keyType: CKK.RSA,
  generate: mechanism(CKM.RSA_PKCS_KEY_PAIR_GEN),
  sign: mechanism(CKM.RSA_PKCS),
  bits,
  signatureBytes: bits / 8,
  ecParams: [],
  input: data => Buffer.from(concat(SHA512_DIGEST_INFO, hash('sha512', data, 'buffer'))),
})

const ecdsa = (bits: number, digest: string, oid: string): Scheme => ({
  keyType: CKK.EC,
  generate: mechanism(CKM.EC_KEY_PAIR_GEN),
  sign: mechanism(CKM.ECDSA),
  bits,
  signatureBytes: bits / 4,
  ecParams: [fromHex(oid)],
  input: data => hash(digest, data, 'buffer'),
})

export const SCHEMES: Readonly<Record<KeyAlgorithm, Scheme>> = {
  ed25519: {
    keyType: CKK.EC_EDWARDS,
    generate: mechanism(CKM.EC_EDWARDS_KEY_PAIR_GEN),
    sign: mechanism(CKM.EDDSA),
    bits: 255,
    signatureBytes: 64,
    // id-Ed25519 (RFC 8410), and PrintableString "edwards25519" as v3.0 has it. SoftHSM takes both.
    ecParams: [fromHex('06032b6570'), fromHex('130c656477617264733235353139')],
    input: data => Buffer.from(data),
  },
  'ecdsa-p256': ecdsa(256, 'sha256', '06082a8648ce3d030107'),
  'ecdsa-p384': ecdsa(384, 'sha384', '06052b81040022'),
  'rsa-3072': rsa(3072),
  'rsa-4096': rsa(4096),
}

export type Probed = {
  readonly algorithms: readonly KeyAlgorithm[]
  readonly wrapsDataKeys: boolean
  readonly cannot: readonly string[]
}

/** What stands in for it: `openHelpers` in `open-base.ts`. */
const WRAPS_NOTHING =
  'the token wraps no data keys (it has no AES-GCM): a software key wraps those that seal records and make challenges; several servers need the same log-keystore folder'

/** What the module says it can do on this slot; only that is offered. */
export function probe(cryptoki: Cryptoki, slot: Handle): Probed {
  const listed = new Set(cryptoki.C_GetMechanismList(slot))
  const offers = (type: number, bits: number): boolean => {
    if (!listed.has(type)) return false
    try {
      const { maxKeySize } = cryptoki.C_GetMechanismInfo(slot, type)
      // Units of the size differ between modules for Edwards curves and AES; 0 means that none is told.
      return bits < 256 || maxKeySize === 0 || maxKeySize >= bits
    } catch (error) {
      if (ckrOf(error) === undefined) throw error
      return false
    }
  }
  const has = (scheme: Scheme) =>
    offers(scheme.generate.mechanism, scheme.bits) && offers(scheme.sign.mechanism, scheme.bits)
  const algorithms = KEY_ALGORITHMS.filter(algorithm => has(SCHEMES[algorithm]))
  const wrapsDataKeys = offers(CKM.AES_KEY_GEN, 0) && offers(CKM.AES_GCM, 0)
  const missing = KEY_ALGORITHMS.filter(algorithm => !algorithms.includes(algorithm))
  const cannot = [
    ...missing.map(algorithm => `the token makes no ${algorithm} keys`),
    ...(wrapsDataKeys ? [] : [WRAPS_NOTHING]),
  ]
  return { algorithms, wrapsDataKeys, cannot }
}
