import { type Fence, LEASE_MS, type Lease, LeaseLost } from '#server/store/index.ts'

/** One that came late loses nothing. */
const KEEP_EVERY_MS = Math.floor(LEASE_MS / 3)

export type ElectedJob = {
  readonly everyMs: number
  /** Whatever it writes it writes in transactions that ask the fence. Done twice, or never, it harms nobody. */
  run(fence: Fence): Promise<unknown>
}

type ElectedDeps = {
  readonly lease: Lease
  readonly jobs: readonly ElectedJob[]
  /** Tells the operator which server does the work. */
  readonly say: (message: string) => void
  readonly onError: (error: unknown) => void
}

/**
 * Work that one server does for all: each keeps asking for the lease, and does it while it has it. No job runs at a start, since each begins with
 * a pause.
 */
export function doElected({ lease, jobs, say, onError }: ElectedDeps): {
  start(): Promise<void>
  stop(): Promise<void>
} {
  const timers: NodeJS.Timeout[] = []
  const running = new Set<Promise<void>>()
  let told: bigint | undefined

  const every = (ms: number, work: () => Promise<void>): void => {
    let busy = false
    const tick = () => {
      if (busy) return
      busy = true
      const done = work()
        .catch(error => {
          if (!(error instanceof LeaseLost)) return onError(error)
          say(error.message)
          // Having it again is news, then.
          if (!lease.fence()) told = undefined
        })
        .finally(() => {
          busy = false
          running.delete(done)
        })
      running.add(done)
    }
    timers.push(setInterval(tick, ms).unref())
  }
  async function keep(): Promise<void> {
    const before = told
    told = await lease.take()
    if (told === before) return
    if (told !== undefined) say(`this server does the common work from now on (fence ${told})`)
    else say(`another server does the common work from now on (fence ${before} is over)`)
  }

  return {
    async start() {
      told = await lease.take()
      every(KEEP_EVERY_MS, keep)
      for (const job of jobs)
        every(job.everyMs, async () => {
          const fence = lease.fence()
          if (fence) await job.run(fence)
        })
    },
    async stop() {
      for (const timer of timers.splice(0)) clearInterval(timer)
      await Promise.all(running)
      await lease.release()
    },
  }
}
