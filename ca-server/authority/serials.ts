import { type Fact, type Ledger, type StatedRows, WHOLE } from '#server/ledger/index.ts'
import { incarnationNumber, type Store } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { moveBlock, type SerialBlock, selectBlock, selectBlocks } from './records.ts'

/**
 * Sequential serials without a query a request: this process reserves them a thousand at a time, and the next thousand
 * before the last one is used up. What it leaves unused at its end is a gap, which a KRL need not name. How far they have
 * come is recorded: a row that was set back gives none a second time.
 */
const BLOCK = 1000n
/** Of one history: no history gives so many. Another begins so much higher, above whatever the lost one may have given. */
export const SPAN = 1n << 40n
/** 1 is the canary's. */
export const FIRST_SERIAL = 2n
/** Other servers that reserve at the same moment. */
const ATTEMPTS = 20

export type Serials = { next(): bigint | Promise<bigint> }
export type SerialsDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'appendIn' | 'vouched' | 'follow' | 'facts'>
  readonly newRequestId: () => string
}

const KIND = 'serials:'
/** `next` is the first that nobody has reserved. */
export const serialsFact = ({ authority, incarnation, next }: SerialBlock): Fact => ({
  id: `${KIND}${authority} ${incarnation}`,
  is: next.toString(),
})

/** The authorities of which the log says that they have given serials. */
export const givers = (ids: (kind: string) => Iterable<string>): Set<string> =>
  new Set([...ids(KIND)].map(id => id.slice(KIND.length).split(' ')[0] ?? ''))

export const serialRows: readonly StatedRows[] = [
  {
    kind: 'serials',
    read: async (on, { after, limit } = WHOLE) => {
      const [authority = '', incarnation = ''] = after.split(' ')
      return (await selectBlocks(on, { authority, incarnation }, limit)).map(serialsFact)
    },
  },
]

export function serialsOf(deps: SerialsDeps, authority: string): Serials {
  let at = 0n
  let end = 0n
  let ahead: { first: bigint } | undefined
  let reserving: Promise<void> | undefined

  const reserve = (): Promise<void> => {
    reserving ??= reserveBlock(deps, authority)
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
      end = at + BLOCK
      ahead = undefined
    }
    if (at === end) return undefined
    // A failure here is met again, and told, by whoever finds nothing left.
    if (!ahead && end - at <= BLOCK / 2n) reserve().catch(() => {})
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

/** Reserves a block and gives its first serial: moves the row from what the log says, or not at all. */
async function reserveBlock({ store, ledger, newRequestId }: SerialsDeps, authority: string): Promise<bigint> {
  const { incarnation } = store
  const read = async () => {
    const found = await selectBlock(store, authority, incarnation)
    // A true row may be another authority's, which has come less far.
    return found?.authority === authority && found.incarnation === incarnation ? [found] : []
  }
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    // A row that was not moved on is what the log said before, not what it says.
    await ledger.follow()
    const [block] = await ledger.vouched(read, found => [serialsFact(found)])
    const from = block?.next
    if (from === undefined && ledger.facts.has(serialsFact({ authority, incarnation, next: 0n }).id)) break
    const first = from ?? firstOf(incarnation)
    const moved = { authority, incarnation, next: first + BLOCK }
    const isMoved = await store.transaction({ name: 'reserve serials', deadlineMs: 10_000 }, async t => {
      if (!(await moveBlock(t, moved, from))) return false
      await ledger.appendIn(t, [
        {
          requestId: newRequestId(),
          kind: 'serials-reserved',
          actor: { kind: 'server' },
          target: authority,
          details: { from: first.toString(), to: (moved.next - 1n).toString() },
          facts: [serialsFact(moved)],
        },
      ])
      return true
    })
    if (isMoved) return first
  }
  throw new KeymanError('unavailable', `the serials of ${authority} in the database are not what the audit log says`, {
    hint: 'somebody changed the table serial_block: find out who, and put the row back from a backup; nothing is issued without',
  })
}

const firstOf = (incarnation: string): bigint => {
  const number = BigInt(incarnationNumber(incarnation))
  return number === 1n ? FIRST_SERIAL : (number - 1n) * SPAN
}
