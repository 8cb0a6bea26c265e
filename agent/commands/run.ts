import { existsSync, readFileSync, unwatchFile, watchFile } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { KeymanError } from '#shared/errors.ts'
import { decodeKrl, type Krl } from '#shared/ssh/index.ts'
import { type AgentConfig, configFile, loadConfig } from '../config.ts'
import { type Agent, endAsDesired } from '../keeper/handle-frame.ts'
import { Keeper } from '../keeper/keeper.ts'
import { connectionOf, runSession } from '../keeper/session.ts'
import { type Log, reasonOf } from '../log.ts'
import { hasJournal, journal } from '../logins/journal.ts'
import { logFile } from '../logins/log-file.ts'
import type { LogSource } from '../logins/log-source.ts'
import { Logins } from '../logins/logins.ts'
import { LoginReport } from '../logins/report.ts'
import { backOff } from '../server/back-off.ts'
import { sshdFiles } from '../sshd/files.ts'
import { expiryStyle, sshdVersion } from '../sshd/sshd.ts'
import { lockState } from '../state/lock-state.ts'

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
  const ends = AbortSignal.any([signal, left.signal])
  const logins = watchLogins(agent, ends)
  const keeper = new Keeper({ ...agent, ...(logins ? { logins } : {}) })
  const unwatch = keeper.watch()
  try {
    await keeper.inTurn(() => endAsDesired(keeper.agent))
    const reported = logins?.report.run(ends)
    await keepConnected(keeper, ends, look)
    await reported
  } finally {
    unwatch()
    unwatchFile(file, look)
    unlock()
  }
  if (left.signal.aborted) log.info('KeyMan was taken off this host: nothing is left to do')
}

/** Without one that can be read sshd lets nobody in by a key. */
function readKrl(path: string): Krl | undefined {
  try {
    return decodeKrl(readFileSync(path), path)
  } catch {
    return undefined
  }
}

/** `undefined` where nothing here says who logs in. */
function watchLogins(agent: Agent, signal: AbortSignal): Agent['logins'] {
  const { config, log, stateFolder } = agent
  const source = sourceOf(config.sshdLog, message => log.warn(message))
  if (!source) return undefined
  const seen = new Logins(
    stateFolder,
    log,
    () => new Date(),
    () => readKrl(sshdFiles(config).krl),
  )
  seen.watch(source, signal)
  return { seen, report: new LoginReport(seen, () => connectionOf(agent).connection, log) }
}

function sourceOf(configured: AgentConfig['sshdLog'], warn: (message: string) => void): LogSource | undefined {
  const from = configured ?? (hasJournal() ? 'journal' : 'none')
  if (from === 'none') return undefined
  return from === 'journal' ? journal(warn) : logFile(from, warn)
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
    await delay(backOff(failures), undefined, { signal }).catch(() => undefined)
  }
}
