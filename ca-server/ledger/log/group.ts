import { type Store, StoreError } from '#server/store/index.ts'
import { busy, translate } from '../errors.ts'
import { type Outcome, type Row, writeRows } from '../write.ts'

/** Rows of one statement: more gain nothing (measured), and hold the head's lock longer. */
const MAX_BATCH = 128
/** Two statements at once: one is written while the other waits for its commit to reach the disk. */
const MAX_IN_FLIGHT = 2
/** With fewer waiting, the second statement would cost more (its own start and commit) than the first one's wait. */
const WORTH_A_SECOND = 64
/** Some 0.2 s of work. Beyond, callers are told at once to come again: nothing grows without a bound. */
export const MAX_QUEUED = 4096
/** How long a batch is tried again while the database is away: longer, and whoever waits has given up. */
const TRY_FOR_MS = 5_000
const WAIT_MS = [20, 100, 300, 600] as const

type Item = { row: Row; resolve: (outcome: Outcome) => void; reject: (error: unknown) => void }

/** Group commit: rows of all callers that wait at the same moment are written by one statement. */
export class Group {
  readonly #store: Store
  readonly #wrote: (index: bigint, row: Row) => void
  readonly #queue: Item[] = []
  #inFlight = 0
  #scheduled = false

  /** `wrote` hears of each row that is durable. */
  constructor(store: Store, wrote: (index: bigint, row: Row) => void = () => {}) {
    this.#store = store
    this.#wrote = wrote
  }

  /** Resolves when the row is durable, or with why it was not written. Throws `unavailable` where too many wait. */
  write(row: Row): Promise<Outcome> {
    if (this.#queue.length >= MAX_QUEUED) return Promise.reject(busy())
    return new Promise((resolve, reject) => {
      this.#queue.push({ row, resolve, reject })
      this.#schedule()
    })
  }

  /** At the end of this turn of the event loop, so that requests which came together go together. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      while (this.#mayGo()) {
        const free = MAX_IN_FLIGHT - this.#inFlight
        const waiting = this.#queue.length
        // Enough for two is shared out, so that neither waits for the other.
        this.#send(
          this.#queue.splice(0, waiting <= WORTH_A_SECOND ? waiting : Math.min(MAX_BATCH, Math.ceil(waiting / free))),
        )
      }
    })
  }

  #mayGo(): boolean {
    return this.#inFlight === 0
      ? this.#queue.length > 0
      : this.#inFlight < MAX_IN_FLIGHT && this.#queue.length >= WORTH_A_SECOND
  }

  async #send(batch: readonly Item[]): Promise<void> {
    this.#inFlight++
    await this.#run(batch)
    this.#inFlight--
    if (this.#queue.length > 0) this.#schedule()
  }

  /** Never throws: every item is settled. Trying again is safe: a row that was written finds itself by its request ID. */
  async #run(batch: readonly Item[]): Promise<void> {
    const end = performance.now() + TRY_FOR_MS
    for (let attempt = 0; ; attempt++) {
      try {
        const outcomes = await writeRows(
          this.#store,
          batch.map(({ row }) => row),
        )
        for (const [n, { row, resolve, reject }] of batch.entries()) {
          const outcome = outcomes[n]
          if (outcome === undefined) {
            reject(new TypeError('a row without an outcome'))
            continue
          }
          if (typeof outcome === 'bigint') this.#wrote(outcome, row)
          else if (typeof outcome === 'object') this.#wrote(outcome.again, row)
          resolve(outcome)
        }
        return
      } catch (error) {
        const passing = error instanceof StoreError && (error.kind === 'retryable' || error.kind === 'ambiguous')
        if (passing && performance.now() < end) {
          await new Promise(resolve => setTimeout(resolve, WAIT_MS[attempt] ?? 600))
          continue
        }
        // One row spoils the statement for all: alone, it spoils only itself.
        if (!passing && batch.length > 1) {
          for (const item of batch) await this.#run([item])
          return
        }
        for (const { reject } of batch) reject(translate(error))
        return
      }
    }
  }
}
