import type { Queryable, Store } from '#server/store/index.ts'
import { failedFact } from '#shared/audit/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { Entry } from '../entry.ts'

const TRY_AGAIN_MS = 1_000

/**
 * Changes that failed when their records had been made already: what the database was given for them it may keep, and put into the log when it
 * suits. So the log says that they failed, before it says anything else of this server's; from there on they count for nobody.
 */
export class FailedChanges {
  readonly #store: Pick<Store, 'transaction'>
  readonly #append: (t: Queryable, entry: Entry) => Promise<void>
  readonly #onError: (error: unknown) => void
  readonly #unsaid = new Set<string>()
  #saying = false
  #stopped = false
  #attempts = 0

  constructor(
    store: Pick<Store, 'transaction'>,
    append: (t: Queryable, entry: Entry) => Promise<void>,
    onError: (error: unknown) => void,
  ) {
    this.#store = store
    this.#append = append
    this.#onError = onError
  }

  /** Of this request; heard once the transaction has ended. */
  hear(requestId: string): void {
    this.#unsaid.add(requestId)
    if (this.#saying) return
    this.#saying = true
    setImmediate(() => void this.#sayAll())
  }

  /** Throws `unavailable` as long as there is one that the log does not say. */
  assertSaid(): void {
    if (this.#unsaid.size > 0)
      throw new KeymanError('unavailable', 'a change that failed before has to be recorded first', {
        retryAfter: 1,
        hint: 'try again in a moment',
      })
  }

  stop(): void {
    this.#stopped = true
  }

  async #sayAll(): Promise<void> {
    for (const requestId of this.#unsaid) {
      try {
        await this.#store.transaction({ name: 'change failed', deadlineMs: 10_000 }, t =>
          this.#append(t, {
            requestId: `${requestId}-failed-${++this.#attempts}`,
            kind: 'change-failed',
            actor: { kind: 'server' },
            target: requestId,
            facts: [failedFact(requestId)],
          }),
        )
        this.#unsaid.delete(requestId)
      } catch (error) {
        this.#onError(error)
        if (this.#stopped) return
        setTimeout(() => void this.#sayAll(), TRY_AGAIN_MS).unref()
        return
      }
    }
    this.#saying = false
  }
}
