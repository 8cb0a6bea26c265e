/**
 * Pure: the nonce of a ceremony, which says by itself when, for what and for whom it was made. The row of a challenge only makes
 * it good once; that the server gave it out is not for the database to say, or an answer that stands in the audit log could be
 * put before the server once more.
 */
import { toHex } from '#shared/bytes.ts'
import { isMacOf, macOf } from '#shared/mac.ts'

const TIME = 6
const RANDOM = 10
const MAC = 16
export const NONCE_SIZE = TIME + RANDOM + MAC

const partsOf = (head: Uint8Array, { purpose, subject }: { readonly purpose: string; readonly subject: string }) =>
  ['keyman-ceremony-v1', purpose, subject, toHex(head)] as const

/** Milliseconds since 1970 in 48 bits, 80 random bits, and the first 128 bits of an HMAC-SHA256 over both, purpose and subject. */
export function makeNonce(
  key: Uint8Array,
  about: { readonly purpose: string; readonly subject: string; readonly at: Date; readonly random: Uint8Array },
): Uint8Array {
  if (about.random.length !== RANDOM) throw new TypeError(`a nonce takes ${RANDOM} random bytes`)
  const nonce = new Uint8Array(NONCE_SIZE)
  new DataView(nonce.buffer).setUint16(0, Math.floor(about.at.getTime() / 2 ** 32))
  new DataView(nonce.buffer).setUint32(2, about.at.getTime() % 2 ** 32)
  nonce.set(about.random, TIME)
  nonce.set(macOf(key, partsOf(nonce.subarray(0, TIME + RANDOM), about)).subarray(0, MAC), TIME + RANDOM)
  return nonce
}

/** When it was made; `undefined` where it is none of ours for this purpose and subject. */
export function readNonce(
  key: Uint8Array,
  nonce: Uint8Array,
  about: { readonly purpose: string; readonly subject: string },
): Date | undefined {
  if (nonce.length !== NONCE_SIZE) return undefined
  const head = nonce.subarray(0, TIME + RANDOM)
  if (!isMacOf(key, partsOf(head, about), nonce.subarray(TIME + RANDOM), MAC)) return undefined
  const view = new DataView(nonce.buffer, nonce.byteOffset)
  return new Date(view.getUint16(0) * 2 ** 32 + view.getUint32(2))
}
