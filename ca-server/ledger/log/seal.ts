/** Pure: the seal of a record, by which the server knows what it wrote itself from what somebody put into the database. */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** What is sealed: the record's text, and the columns beside it that it is found by. */
export type Sealable = {
  readonly requestId: string
  readonly kind: string
  readonly part: number
  readonly actor: string
  /** RFC 3339 with milliseconds, as in the text. */
  readonly at: string
  readonly record: string
  readonly proof: string | undefined
}

const CONTEXT = 'keyman-record-seal-v1'

/**
 * HMAC-SHA256 (RFC 2104), 32 bytes, over the columns as a JSON array, which keeps them apart whatever stands in them, a line feed, which
 * stands in no JSON text, and the record. That a record stands at
 * another place, or twice, is not for the seal to say: the tree and `facts.ts` do.
 */
export function sealOf(key: Uint8Array, { requestId, kind, part, actor, at, record, proof }: Sealable): Uint8Array {
  const columns = JSON.stringify([CONTEXT, requestId, kind, part, actor, at, proof ?? null])
  return new Uint8Array(createHmac('sha256', key).update(`${columns}\n${record}`).digest())
}

export function isSealed(key: Uint8Array, record: Sealable, seal: Uint8Array): boolean {
  const expected = sealOf(key, record)
  return seal.length === expected.length && timingSafeEqual(seal, expected)
}
