/** Pure: how a record of the audit log is written, and by which hash it names what is so from then on (`facts`). */
import { hash } from 'node:crypto'

/** What a record may hold: no floats, because two programs may write one number in two ways. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject
export type JsonObject = { readonly [key: string]: JsonValue | undefined }

/**
 * One text for one value: keys in the order of their UTF-16 code units, no white space, strings as JSON.stringify writes
 * them, integers only; members that are undefined are left out. A subset of RFC 8785 (JCS). Throws a TypeError for a number
 * that is not a safe integer.
 */
export function canonicalJson(value: JsonValue): string {
  if (typeof value === 'number' && !Number.isSafeInteger(value))
    throw new TypeError('a record holds safe integers only: write other numbers as text')
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (isList(value)) return `[${value.map(canonicalJson).join(',')}]`
  const members: string[] = []
  for (const key of Object.keys(value).sort()) {
    const member = value[key]
    if (member !== undefined) members.push(`${JSON.stringify(key)}:${canonicalJson(member)}`)
  }
  return `{${members.join(',')}}`
}

// Array.isArray does not narrow a readonly array away.
const isList = (value: JsonValue): value is readonly JsonValue[] => Array.isArray(value)

/** SHA-256 of the canonical JSON, in base64url: what a record says of a row, see `audit/facts.ts`. */
export const digestOf = (is: JsonValue): string => hash('sha256', canonicalJson(is), 'base64url')
