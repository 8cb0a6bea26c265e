import { QUEUE_BOUND, unavailable } from './port.ts'

/**
 * A fixed set of lanes (sessions of a token, threads) and a bounded line of those who wait for one. `drain` takes all
 * lanes back once their work has settled; `refill` starts again with others.
 */
export interface Pool<Lane> {
  readonly waiting: number
  /** Throws `unavailable` with `retryAfter` where the line is full. `again`: work that had its turn already is not refused. */
  run<Result>(work: (lane: Lane) => Promise<Result>, again?: boolean): Promise<Result>
  /** Resolves with the lanes when nothing runs any more; who waits goes on waiting. */
  drain(): Promise<readonly Lane[]>
  refill(lanes: readonly Lane[]): void
  /** Refuses everybody who waits. */
  refuseWaiting(error: Error): void
}

type Waiter<Lane> = { readonly go: (lane: Lane) => void; readonly refuse: (error: Error) => void }

export function createPool<Lane>(lanes: readonly Lane[], bound = QUEUE_BOUND): Pool<Lane> {
  const free = [...lanes]
  const line: Waiter<Lane>[] = []
  let running = 0
  /** Those who wait until nothing runs; while there is such a list, nothing starts. */
  let draining: (() => void)[] | undefined

  const wait = (again: boolean): Promise<Lane> => {
    if (line.length >= bound && !again) {
      throw unavailable(`the keystore is busy: ${line.length} signatures are waiting`, { retryAfter: 1 })
    }
    return new Promise((go, refuse) => line.push({ go, refuse }))
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
