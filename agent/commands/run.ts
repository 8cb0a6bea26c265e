import { randomInt } from 'node:crypto'
import { existsSync, unwatchFile, watchFile } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { KeymanError } from '#shared/errors.ts'
import { configFile, loadConfig } from '../config.ts'
import type { Agent } from '../keeper/handle-frame.ts'
import { Keeper } from '../keeper/keeper.ts'
import { runSession } from '../keeper/session.ts'
import { type Log, reasonOf } from '../log.ts'
import { expiryStyle, sshdVersion } from '../sshd/sshd.ts'
import { lockState } from '../state/lock-state.ts'

const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 60_000
const LOOK_WHETHER_LEFT_MS = 500

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

/**
 * Keeps one stream open until `signal`, or until this machine's configuration is gone: `keyman-agent leave` took it. While
 * the server is away everything stays as it is. Throws `conflict` where another agent does so for this state folder.
 */
export async function runAgent(stateFolder: string, log: Log, signal: AbortSignal): Promise<void> {
  const agent = await loadAgent(stateFolder, log)
  const unlock = lockState(stateFolder, log)
  log.info(`${agent.config.host} of ${agent.config.organisation}, server ${agent.config.url}`)
  const file = configFile(stateFolder)
  const left = new AbortController()
  const look = () => {
    if (!existsSync(file)) left.abort()
  }
  watchFile(file, { interval: LOOK_WHETHER_LEFT_MS, persistent: false }, look)
  const keeper = new Keeper(agent)
  const unwatch = keeper.watch()
  try {
    await keepConnected(keeper, AbortSignal.any([signal, left.signal]), look)
  } finally {
    unwatch()
    unwatchFile(file, look)
    unlock()
  }
  if (left.signal.aborted) log.info('KeyMan was taken off this host: nothing is left to do')
}

/** `look` aborts `signal` where there is no reason to go on. */
async function keepConnected(keeper: Keeper, signal: AbortSignal, look: () => void): Promise<void> {
  let failures = 0
  while (!signal.aborted) {
    let why: string
    try {
      const outcome = await runSession(keeper, { signal, once: false, now: () => new Date() })
      failures = outcome.settled ? 0 : failures + 1
      ;({ why } = outcome)
    } catch (error) {
      failures = error instanceof KeymanError && error.code === 'denied' ? 16 : failures + 1
      why = reasonOf(error)
    }
    look()
    if (signal.aborted) return
    keeper.agent.log.warn(`${why}; what is in force stays, trying again`)
    await delay(pause(failures), undefined, { signal }).catch(() => undefined)
  }
}

/** Doubles up to a minute, and anything between nothing and that: a fleet must not come back in one moment. */
const pause = (failures: number): number =>
  100 + randomInt(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 16)))
