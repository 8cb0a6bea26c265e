import { coalesce } from '#shared/coalesce.ts'
import { KeymanError } from '#shared/errors.ts'
import { insist } from './insist.ts'
import type { Store } from './port.ts'

/** A notification may be lost; whoever changes rows by hand sends none. */
const EVERY_MS = 1_000
/** What was read longer ago says nothing about how it is now. */
const MAX_AGE_MS = 5_000

export type FollowOptions = {
  readonly store: Pick<Store, 'listen'>
  /** The notifications that something may have changed. */
  readonly channels: readonly string[]
  /** Which of them concern this; all unless given. The payload `''` comes after a lost connection, when anything may have changed. */
  readonly concerns?: (channel: string, payload: string) => boolean
  /** Completes 'the server does not know at the moment …'. */
  readonly what: string
  /**
   * Reads what is there, and gives whether that is something new. `sinceLast`: milliseconds since the last reading that came to
   * its end began, infinite for the first.
   */
  readonly read: (sinceLast: number) => Promise<boolean>
  /** For what nobody is let in by: a multiple of a second. */
  readonly everyMs?: number
  /** Milliseconds, of a clock that only goes on: no jump of the day's makes young what is old. */
  readonly monotonic?: (() => number) | undefined
  /** Hears of each reading in the background that failed. */
  readonly onError?: ((error: unknown) => void) | undefined
}

export type Following = {
  /** Reads, in a reading that begins after the call; whoever asks meanwhile shares it. */
  read(): Promise<void>
  /** The same in the background, tried again each second until it is done. */
  hear(): void
  /** Called after each reading that found something new. Gives what ends it. */
  onChange(listener: () => void): () => void
  /** Whether the last reading that came to its end began at most five seconds ago. */
  isFresh(): boolean
  /** Throws `unavailable`, and says what is not known, where it did not. */
  assertFresh(): void
  /** Has read when it resolves, and reads at each notification and each second from then on. */
  start(): Promise<void>
  stop(): Promise<void>
}

/**
 * How a room keeps in memory what other rooms and other servers change: read at once when it is told, each second whether it is told or not, and
 * never believed when it is older than five seconds.
 */
export function follow(options: FollowOptions): Following {
  const { store, channels, concerns = () => true, everyMs = EVERY_MS, onError = () => {} } = options
  const { monotonic = () => performance.now() } = options
  const listeners = new Set<() => void>()
  const endings: (() => unknown)[] = []
  let readAt = Number.NEGATIVE_INFINITY
  let reading: Promise<void> = Promise.resolve()

  const readOnce = coalesce(async () => {
    const begun = monotonic()
    const isNew = await options.read(begun - readAt)
    readAt = begun
    if (isNew) for (const listener of listeners) listener()
  })
  const read = (): Promise<void> => {
    reading = readOnce()
    return reading
  }
  const hearing = insist(read, onError)
  const isFresh = (): boolean => monotonic() - readAt <= MAX_AGE_MS

  return {
    read,
    hear: hearing.run,
    isFresh,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    assertFresh() {
      if (isFresh()) return
      throw new KeymanError('unavailable', `the server does not know at the moment ${options.what}`, {
        retryAfter: 1,
        hint: 'try again in a moment',
      })
    },
    async start() {
      for (const channel of channels)
        endings.push(await store.listen(channel, payload => concerns(channel, payload) && hearing.run()))
      await read()
      const timer = setInterval(hearing.run, everyMs)
      timer.unref()
      endings.push(() => clearInterval(timer))
    },
    async stop() {
      hearing.stop()
      for (const end of endings.splice(0)) await end()
      await reading.catch(() => undefined)
    },
  }
}
