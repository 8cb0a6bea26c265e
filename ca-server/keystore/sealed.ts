import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto'
import { concat } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'

/** What AES-256-GCM leaves behind, by every adapter the same: version 0x01 || nonce (12) || ciphertext || tag (16). */
export const SEALED_VERSION = 1
export const NONCE_BYTES = 12
export const TAG_BYTES = 16

export const joinSealed = (nonce: Uint8Array, ciphertextAndTag: Uint8Array): Uint8Array =>
  concat(Uint8Array.of(SEALED_VERSION), nonce, ciphertextAndTag)

/** Throws `denied`: whatever is wrong with it, what was sealed does not open. */
export function splitSealed(sealed: Uint8Array): { nonce: Uint8Array; ciphertextAndTag: Uint8Array } {
  if (sealed[0] !== SEALED_VERSION || sealed.length < 1 + NONCE_BYTES + TAG_BYTES) throw doesNotOpen()
  return { nonce: sealed.subarray(1, 1 + NONCE_BYTES), ciphertextAndTag: sealed.subarray(1 + NONCE_BYTES) }
}

export const doesNotOpen = (cause?: unknown) =>
  new KeymanError('denied', 'this was not sealed by this key with these associated data, or was changed since', {
    ...(cause === undefined ? {} : { cause }),
  })

/** Nonces are random: NIST SP 800-38D section 8.3 allows 2^32 a key, far beyond what data keys come to. */
export function seal(key: KeyObject, plaintext: Uint8Array, associatedData: Uint8Array): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
  cipher.setAAD(associatedData)
  return joinSealed(nonce, concat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag()))
}

/** Throws `denied` where the key, the bytes or the associated data are not those of `seal`. */
export function unseal(key: KeyObject, sealed: Uint8Array, associatedData: Uint8Array): Uint8Array {
  const { nonce, ciphertextAndTag } = splitSealed(sealed)
  const end = ciphertextAndTag.length - TAG_BYTES
  // The tag's length is set: Node takes shorter ones otherwise.
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
  decipher.setAAD(associatedData)
  decipher.setAuthTag(ciphertextAndTag.subarray(end))
  try {
    return concat(decipher.update(ciphertextAndTag.subarray(0, end)), decipher.final())
  } catch (cause) {
    throw doesNotOpen(cause)
  }
}
