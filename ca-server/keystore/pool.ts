import { QUEUE_BOUND, unavailable } from './port.ts'

/**
 * A fixed set of lanes (sessions of a token, threads) and a bounded line of those who wait for one. `drain` takes all
 * lanes back once their work has settled; `refill` starts again with others.
 */
export interface Pool<Lane> {
  readonly waiting: number
  /** Throws `unavailable` with `retryAfter` where the line is full, or after five seconds in it. `again`: work that had its turn already is not refused. */
  run<Result>(work: (lane: Lane) => Promise<Result>, again?: boolean): Promise<Result>
  /** Resolves with the lanes when nothing runs any more; who waits goes on waiting. */
  drain(): Promise<readonly Lane[]>
  refill(lanes: readonly Lane[]): void
  /** Refuses everybody who waits. */
  refuseWaiting(error: Error): void
}

/** Milliseconds in the line. Behind a token that hangs nobody waits for ever, and no record is signed when its client has long gone. */
const PATIENCE = 5_000

type Waiter<Lane> = {
  readonly since: number
  readonly go: (lane: Lane) => void
  readonly refuse: (error: Error) => void
}

export function createPool<Lane>(lanes: readonly Lane[], bound = QUEUE_BOUND, patience = PATIENCE): Pool<Lane> {
  const free = [...lanes]
  const line: Waiter<Lane>[] = []
  let running = 0
  /** Those who wait until nothing runs; while there is such a list, nothing starts. */
  let draining: (() => void)[] | undefined
  let watching: NodeJS.Timeout | undefined

  const wait = (again: boolean): Promise<Lane> => {
    if (line.length >= bound && !again) {
      throw unavailable(`the keystore is busy: ${line.length} signatures are waiting`, { retryAfter: 1 })
    }
    return new Promise((go, refuse) => {
      line.push({ since: performance.now(), go, refuse })
      watch()
    })
  }

  /** One timer for the whole line, which is in the order of coming. */
  const watch = (): void => {
    const [first] = line
    if (!first || watching) return
    watching = setTimeout(
      () => {
        watching = undefined
        const long = performance.now() - patience
        while (line[0] && line[0].since <= long)
          line.shift()?.refuse(unavailable('the keystore took too long', { retryAfter: 1 }))
        watch()
      },
      Math.max(1, first.since + patience - performance.now()),
    )
    watching.unref()
  }

  const give = (lane: Lane): void => {
    running--
    const next = draining ? undefined : line.shift()
    if (next) {
      running++
      next.go(lane)
      return
    }
    free.push(lane)
    if (running === 0) for (const done of draining ?? []) done()
  }

  return {
    get waiting() {
      return line.length
    },
    async run(work, again = false) {
      let lane = draining ? undefined : free.pop()
      if (lane === undefined) lane = await wait(again)
      else running++
      try {
        return await work(lane)
      } finally {
        give(lane)
      }
    },
    async drain() {
      draining ??= []
      const list = draining
      if (running > 0) await new Promise<void>(done => list.push(done))
      return free.splice(0)
    },
    refill(fresh) {
      draining = undefined
      free.push(...fresh)
      while (line.length > 0 && free.length > 0) {
        const lane = free.pop()
        if (lane === undefined) return
        running++
        line.shift()?.go(lane)
      }
    },
    refuseWaiting(error) {
      for (const waiter of line.splice(0)) waiter.refuse(error)
    },
  }
}
