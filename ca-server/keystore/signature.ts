import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import type { KeyAlgorithm, KeystoreKey } from './port.ts'

/** The hash that each algorithm of ours is used with; Ed25519 hashes by itself (RFC 8032). */
export const HASH = {
  ed25519: null,
  'ecdsa-p256': 'sha256',
  'ecdsa-p384': 'sha384',
  'rsa-3072': 'sha512',
  'rsa-4096': 'sha512',
} as const satisfies Record<KeyAlgorithm, string | null>

export const publicKeyOf = (spki: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })

/** Whether `signature` is what `Keystore.sign` gives for `data`. */
export const isSignatureOf = (key: KeystoreKey, data: Uint8Array, signature: Uint8Array): boolean =>
  verify(HASH[key.algorithm], data, { key: publicKeyOf(key.spki), dsaEncoding: 'ieee-p1363' }, signature)
