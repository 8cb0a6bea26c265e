import type pg from 'pg'
import { withDeadline } from '../deadline.ts'
import { deadlineError, StoreError } from '../errors.ts'
import { CONNECT_DEADLINE_MS, connectPrimary, type Target } from './connect.ts'

/** Issuing uses two connections and the sequencer one; the rest is for reading and for changes. */
export const MAX_CONNECTIONS = 12

type Waiter = { resolve: (client: pg.Client) => void; reject: (error: unknown) => void }

/**
 * Connections to the primary. Our own, because `pg.Pool` knows one host; and a connection that failed in any way is never used
 * again: after a failover its state is anybody's guess.
 */
export class Pool {
  readonly #targets: readonly Target[]
  readonly #idle: pg.Client[] = []
  readonly #all = new Set<pg.Client>()
  readonly #waiting: Waiter[] = []
  #connecting = 0
  #closed = false

  constructor(targets: readonly Target[]) {
    this.#targets = targets
  }

  /** A connection for the caller alone, until `release`. Throws after `milliseconds`. */
  async acquire(milliseconds = CONNECT_DEADLINE_MS): Promise<pg.Client> {
    if (this.#closed) throw new StoreError('fatal', 'the database has been closed')
    const idle = this.#idle.pop()
    if (idle) return idle
    const waiter = Promise.withResolvers<pg.Client>()
    this.#waiting.push(waiter)
    this.#connectForWaiters()
    return withDeadline(waiter.promise, milliseconds, () => {
      const at = this.#waiting.indexOf(waiter)
      if (at >= 0) this.#waiting.splice(at, 1)
      // It may have been settled in the same moment: then the connection goes back.
      else
        waiter.promise.then(
          client => this.release(client),
          () => {},
        )
      return deadlineError('waiting for a database connection', milliseconds, 'connecting')
    })
  }

  /** `broken` closes the connection, whatever it is doing. */
  release(client: pg.Client, broken = false): void {
    if (broken || this.#closed || !this.#all.has(client)) {
      this.#drop(client)
      return
    }
    const waiter = this.#waiting.shift()
    if (waiter) waiter.resolve(client)
    else this.#idle.push(client)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const waiter of this.#waiting.splice(0)) waiter.reject(new StoreError('fatal', 'the database has been closed'))
    await Promise.all(
      this.#idle.splice(0).map(client => withDeadline(client.end(), 2_000, () => new Error()).catch(() => {})),
    )
  }

  #connectForWaiters(): void {
    while (this.#connecting < this.#waiting.length && this.#all.size + this.#connecting < MAX_CONNECTIONS) {
      this.#connecting++
      connectPrimary(this.#targets).then(
        client => {
          this.#connecting--
          this.#all.add(client)
          client.on('end', () => this.#forget(client))
          client.on('error', () => this.#forget(client))
          this.release(client)
        },
        error => {
          this.#connecting--
          this.#waiting.shift()?.reject(error)
          this.#connectForWaiters()
        },
      )
    }
  }

  #forget(client: pg.Client): void {
    this.#all.delete(client)
    const at = this.#idle.indexOf(client)
    if (at >= 0) this.#idle.splice(at, 1)
  }

  #drop(client: pg.Client): void {
    this.#forget(client)
    client.end().catch(() => {})
    this.#connectForWaiters()
  }
}
