import type { Store } from '#server/store/index.ts'
import { reserveSerials } from './records.ts'

/**
 * Sequential serials without a query a request: this process reserves them a thousand at a time, and the next thousand
 * before the last one is used up. What it leaves unused at its end is a gap, which a KRL need not name.
 */
const BLOCK = 1000

export type Serials = { next(): bigint | Promise<bigint> }

export function serialsOf(store: Store, authority: string): Serials {
  let at = 0n
  let end = 0n
  let ahead: { first: bigint } | undefined
  let reserving: Promise<void> | undefined

  const reserve = (): Promise<void> => {
    reserving ??= reserveSerials(store, authority, store.incarnation, BLOCK)
      .then(first => {
        ahead = { first }
      })
      .finally(() => {
        reserving = undefined
      })
    return reserving
  }
  const take = (): bigint | undefined => {
    if (at === end && ahead) {
      at = ahead.first
      end = at + BigInt(BLOCK)
      ahead = undefined
    }
    if (at === end) return undefined
    // A failure here is met again, and told, by whoever finds nothing left.
    if (!ahead && end - at <= BLOCK / 2) reserve().catch(() => {})
    return at++
  }
  const wait = async (): Promise<bigint> => {
    for (;;) {
      await reserve()
      const serial = take()
      if (serial !== undefined) return serial
    }
  }
  return { next: () => take() ?? wait() }
}
