import { randomInt } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { KeymanError } from '#shared/errors.ts'
import { loadConfig } from './config.ts'
import type { Agent } from './handle-frame.ts'
import type { Log } from './log.ts'
import { runSession } from './session.ts'
import { expiryStyle, sshdVersion } from './sshd.ts'

const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 60_000

/** Reads configuration and sshd's version. Throws `not-found` where this machine has not joined. */
export async function loadAgent(stateFolder: string, log: Log): Promise<Agent> {
  const config = loadConfig(stateFolder)
  return {
    config,
    stateFolder,
    log,
    style: expiryStyle(await sshdVersion(config.sshd)),
    asked: { fingerprint: undefined },
  }
}

/** Keeps one stream open until `signal`. While the server is away everything stays as it is. */
export async function runAgent(stateFolder: string, log: Log, signal: AbortSignal): Promise<void> {
  const agent = await loadAgent(stateFolder, log)
  log.info(`${agent.config.host} of ${agent.config.organisation}, server ${agent.config.url}`)
  let failures = 0
  while (!signal.aborted) {
    try {
      const outcome = await runSession(agent, { signal, once: false, now: () => new Date() })
      failures = outcome.settled ? 0 : failures + 1
      if (!signal.aborted) log.warn(`${outcome.why}; what is in force stays, trying again`)
    } catch (error) {
      failures = error instanceof KeymanError && error.code === 'denied' ? 16 : failures + 1
      const hint = error instanceof KeymanError && error.hint ? ` (${error.hint})` : ''
      log.warn(`${error instanceof Error ? error.message : 'failed'}${hint}; what is in force stays, trying again`)
    }
    await delay(pause(failures), undefined, { signal }).catch(() => undefined)
  }
}

/** Doubles up to a minute, and anything between nothing and that: a fleet must not come back in one moment. */
const pause = (failures: number): number =>
  100 + randomInt(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 16)))
