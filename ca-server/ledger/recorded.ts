import { KeymanError } from '#shared/errors.ts'

/**
 * A record older than ten seconds is not signed any more: whoever waited for it has given up. Half of that may pass in the
 * keystore's line (see the patience of its `pool.ts`), so what goes there is no older than this.
 */
export const MAX_AGE_MS = 5_000

let make: <Body>(body: Body, index: bigint, since: number) => Recorded<Body>

/**
 * The body of a certificate whose record is durable. Only the ledger makes one (the constructor is private, the private
 * field makes the type nominal), and `authority/sign.ts` takes nothing else: signing what is not recorded doesn't compile.
 */
export class Recorded<Body> {
  /** The record's index in the log. */
  readonly index: bigint
  readonly #since: number
  #body: { readonly value: Body } | undefined

  private constructor(body: Body, index: bigint, since: number) {
    this.#body = { value: body }
    this.index = index
    this.#since = since
  }

  static {
    make = (body, index, since) => new Recorded(body, index, since)
  }

  /** Gives the body, once, and not later than `MAX_AGE_MS` after recording began. Throws `internal` or `unavailable`. */
  take(): Body {
    const body = this.#body
    this.#body = undefined
    if (!body) throw new KeymanError('internal', `record ${this.index} was taken for signing before`)
    if (performance.now() - this.#since > MAX_AGE_MS)
      throw new KeymanError('unavailable', `record ${this.index} is too old to be signed`, { retryAfter: 1 })
    return body.value
  }
}

/** For the ledger alone; the room's door does not export it. `since` is of `performance.now()`: when recording began. */
export const makeRecorded = <Body>(body: Body, index: bigint, since: number): Recorded<Body> => make(body, index, since)
