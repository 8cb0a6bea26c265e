/** Pure: by what a server knows that a server of this organisation said something, wherever it lay meanwhile. */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** A part of what is said: what JSON keeps apart. */
export type MacPart = string | number | null | readonly MacPart[]

/** HMAC-SHA256 (RFC 2104), 32 bytes, over the parts as a JSON array, the first of which says what it is for. */
export const macOf = (key: Uint8Array, parts: readonly [string, ...MacPart[]]): Uint8Array =>
  new Uint8Array(createHmac('sha256', key).update(JSON.stringify(parts)).digest())

/** In constant time. `length`: of the first bytes that whoever made it kept. */
export function isMacOf(
  key: Uint8Array,
  parts: readonly [string, ...MacPart[]],
  mac: Uint8Array,
  length = 32,
): boolean {
  return mac.length === length && timingSafeEqual(macOf(key, parts).subarray(0, length), mac)
}
