import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { equalBytes } from '#shared/bytes.ts'
import { type KeyAlgorithm, type KeystoreKey, unavailable } from './port.ts'

/** The hash that each algorithm of ours is used with; Ed25519 hashes by itself (RFC 8032). */
export const HASH = {
  ed25519: null,
  'ecdsa-p256': 'sha256',
  'ecdsa-p384': 'sha384',
  'rsa-3072': 'sha512',
  'rsa-4096': 'sha512',
} as const satisfies Record<KeyAlgorithm, string | null>

/** What a signature is verified by. */
export type VerificationKey = Pick<KeystoreKey, 'algorithm' | 'spki'>

/** A keystore has few keys, and reading one takes as long as verifying with it. */
const read = new Map<string, KeyObject>()

function publicKeyOf(spki: Uint8Array): KeyObject {
  const name = Buffer.from(spki.buffer, spki.byteOffset, spki.byteLength).toString('latin1')
  const known = read.get(name)
  if (known) return known
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
  read.set(name, key)
  return key
}

/** Whether `signature` is what `Keystore.sign` gives for `data`. */
export const isSignatureOf = (key: VerificationKey, data: Uint8Array, signature: Uint8Array): boolean =>
  verify(HASH[key.algorithm], data, { key: publicKeyOf(key.spki), dsaEncoding: 'ieee-p1363' }, signature)

/** Gives `signature` back where it is one by `key` over `data`, verified on a thread of libuv; throws `unavailable` otherwise. */
export const verified = (key: KeystoreKey, data: Uint8Array, signature: Uint8Array): Promise<Uint8Array> =>
  new Promise((resolve, reject) => {
    const by = { key: publicKeyOf(key.spki), dsaEncoding: 'ieee-p1363' } as const
    verify(HASH[key.algorithm], data, by, signature, (error, valid) =>
      valid ? resolve(signature) : reject(notValid(key.label, error)),
    )
  })

export const notValid = (label: string, cause?: unknown) =>
  unavailable(`the keystore gave a signature by ${label} that is not valid`, cause ? { cause } : {})

/** Throws `unavailable` where the key of this label is not the one that the caller means. */
export function checkIsMeant(key: KeystoreKey, meant: Uint8Array | undefined): void {
  if (meant === undefined || equalBytes(key.spki, meant)) return
  throw unavailable(`the key ${key.label} in the keystore is not the one that this server works with`, {
    hint: 'it was exchanged: put the right one back, and compare with what keyman-server authority list prints',
  })
}
