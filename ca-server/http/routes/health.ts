import { Hono } from 'hono'
import type { EdgeEnv } from '../request-info.ts'

/** What has to work before requests are worth sending here: the database answers, the keystore signs, … */
export type HealthChecks = Readonly<Record<string, () => Promise<void>>>

/**
 * `GET /healthz`: the process lives. `GET /readyz`: it can serve; 503 names the check that fails, never why (the log
 * does). A result is kept for a second, so that strangers who ask often cost nothing.
 */
export function healthRoutes(options: {
  checks: HealthChecks
  now: () => number
  /** True once the server is stopping: load balancers then look elsewhere while running requests end. */
  draining?: () => boolean
  onFailure?: (check: string, error: unknown) => void
  /** milliseconds for each check */ deadline?: number
}): Hono<EdgeEnv> {
  const { checks, now, draining = () => false, onFailure, deadline = 2000 } = options
  let last: { at: number; result: Promise<Record<string, 'ok' | 'failed'>> } | undefined
  const run = async () => {
    const entries = Object.entries(checks).map(async ([name, check]): Promise<[string, 'ok' | 'failed']> => {
      try {
        await withDeadline(check(), deadline)
        return [name, 'ok']
      } catch (error) {
        onFailure?.(name, error)
        return [name, 'failed']
      }
    })
    return Object.fromEntries(await Promise.all(entries))
  }
  const app = new Hono<EdgeEnv>()
  app.get('/healthz', c => c.json({ status: 'ok' }))
  app.get('/readyz', async c => {
    if (draining()) return c.json({ status: 'stopping' }, 503)
    if (!last || now() - last.at > 1000) last = { at: now(), result: run() }
    const results = await last.result
    const ready = Object.values(results).every(result => result === 'ok')
    return c.json({ status: ready ? 'ready' : 'not ready', checks: results }, ready ? 200 : 503)
  })
  return app
}

function withDeadline(work: Promise<void>, milliseconds: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
