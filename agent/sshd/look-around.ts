import { spawn } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { shownAtMost } from '#shared/text.ts'
import type { AgentConfig } from '../config.ts'
import { atMost, type Found, foundSchema, type Look } from './findings.ts'

/**
 * Homes are waited for side by side, five seconds each; sshd is asked once an account, and two hundred such questions took six seconds
 * on two busy cores. Past it something else does not answer.
 */
const LOOK_MS = 60_000

/** A kill that works takes less. */
const KILLED_MS = 1_000

/** As many homes may be silent, and what others have is read all the same. */
const HOMES_AT_ONCE = 64

/** Beside the source, or beside the bundle. */
const PROGRAM = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './look-process.ts' : './keyman-agent-look.mjs', import.meta.url),
)

export type Looking = {
  /** Never rejects. What could not be looked at is said there, and what was found `before` stays. */
  readonly found: Promise<Found>
  /** Its process is gone: one that waits for a dead home may outlive its own kill. */
  readonly gone: Promise<void>
}

/**
 * What this host's own configuration says beside ours (`findings.ts`), found by a process of its own: it reads people's homes,
 * and a home that lies on a dead server would hold whoever asks for it, with the revocations that they are told of.
 */
export function lookAround(config: AgentConfig, now: Date, before?: Found, lookMs = LOOK_MS): Looking {
  const look: Look = { config, now: now.toISOString(), before }
  const child = spawn(process.execPath, [PROGRAM], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // Of a group of its own, with the programs that it asks: they end with it.
    detached: true,
    env: { ...process.env, UV_THREADPOOL_SIZE: String(HOMES_AT_ONCE) },
  })
  const gone = new Promise<void>(resolve => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  let late: NodeJS.Timeout | undefined
  const line = new Promise<string>((resolve, reject) => {
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (said.endsWith('\n')) resolve(said)
    })
    child.once('error', reject)
    child.once('close', () => reject(new Error('it ended without an answer')))
    late = setTimeout(() => reject(new Error(`no answer within ${lookMs / 1000} seconds`)), lookMs)
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(JSON.stringify(look))
  const found = line
    // Somebody may have installed another version beneath this one.
    .then((text): Found => foundSchema.parse(JSON.parse(text)))
    .catch((error: unknown) => notLooked(before, error instanceof Error ? error.message : ''))
    .finally(async () => {
      clearTimeout(late)
      endGroup(child.pid)
      await Promise.race([gone, delay(KILLED_MS, undefined, { ref: false })])
    })
  return { found, gone }
}

/** Of the process and all that it started, whether or not it is there itself. */
function endGroup(leader: number | undefined): void {
  if (leader === undefined) return
  try {
    process.kill(-leader, 'SIGKILL')
  } catch {
    // All of it has ended.
  }
}

function notLooked(before: Found | undefined, why: string): Found {
  const message = shownAtMost(`what else decides who gets in could not be looked at: ${why}`, 500)
  const others = (before?.findings ?? []).filter(finding => finding.message !== message)
  return { places: [], by: '', findings: atMost([...others, { about: 'remark', message }]), silent: true }
}
