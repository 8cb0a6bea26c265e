/**
 * Pure: an ID that says by itself what was begun under it. The row beside it lies where somebody may put other things into it between
 * showing and the touch; the person's terminal and browser ask by the ID that this server gave them.
 */
import { fromBase64Url, toBase64Url, toHex } from '#shared/bytes.ts'
import { isMacOf, type MacPart, macOf } from '#shared/mac.ts'

const RANDOM = 16
const MAC = 16

const partsOf = (kind: string, random: Uint8Array, about: readonly MacPart[]) =>
  [`keyman-${kind}-id-v1`, toHex(random), ...about] as const

/** `kind_…` with 128 random bits, so that nobody guesses it, and the first 128 bits of an HMAC-SHA256. */
export function makeSealedId(kind: string, key: Uint8Array, random: Uint8Array, about: readonly MacPart[]): string {
  if (random.length !== RANDOM) throw new TypeError(`such an ID takes ${RANDOM} random bytes`)
  const id = new Uint8Array(RANDOM + MAC)
  id.set(random)
  id.set(macOf(key, partsOf(kind, random, about)).subarray(0, MAC), RANDOM)
  return `${kind}_${toBase64Url(id)}`
}

/** Whether this is what was begun under this ID. */
export function isSealedId(kind: string, key: Uint8Array, id: string, about: readonly MacPart[]): boolean {
  const [, found, text] = /^([a-z]+)_([A-Za-z0-9_-]{43})$/.exec(id) ?? []
  if (found !== kind || text === undefined) return false
  const bytes = fromBase64Url(text)
  return isMacOf(key, partsOf(kind, bytes.subarray(0, RANDOM), about), bytes.subarray(RANDOM), MAC)
}

export const hexOf = (bytes: Uint8Array | undefined): string | null => (bytes ? toHex(bytes) : null)
