import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { writeDown } from './leftovers.ts'

export type Program = {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
  /** Gets stdout and stderr, anew at each start of the server. */
  readonly logFile: string
  readonly pidFile: string
}

export type Kept = { stop(): Promise<void> }

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000

/**
 * Starts a program and starts it again when it ends by itself, or could not be started again, after a pause that grows.
 * `say` hears of the first ends. Throws where it can't be started at all.
 */
export function keepRunning(program: Program, say: (line: string) => void): Kept {
  let child: ChildProcess | undefined
  let timer: NodeJS.Timeout | undefined
  let stopping = false
  let failures = 0
  const startLater = (what: string) => {
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures)
    if (failures <= 3) say(`demo host: ${program.name} ${what}`)
    timer = setTimeout(() => {
      try {
        start()
      } catch (error) {
        failures++
        startLater(`could not be started (${reasonOf(error)})`)
      }
    }, pause)
  }
  const start = () => {
    const log = openSync(program.logFile, 'a', 0o600)
    const began = performance.now()
    let running: ChildProcess
    try {
      running = spawn(program.command, [...program.args], { env: program.env, stdio: ['ignore', log, log] })
    } finally {
      closeSync(log)
    }
    child = running
    const ended = (what: string) => {
      if (child !== running) return
      child = undefined
      if (stopping) return
      failures = performance.now() - began > LONGEST_PAUSE_MS ? 0 : failures + 1
      startLater(`ended (${what}); see ${program.logFile}`)
    }
    running.once('exit', (code, signal) => ended(signal ?? `code ${code}`))
    running.once('error', error => ended(error.message))
    if (running.pid === undefined) return
    try {
      writeDown(program.pidFile, running.pid)
    } catch (error) {
      // It runs all the same, and is only not found again should this server be killed.
      say(`demo host: ${program.name} could not be written down (${reasonOf(error)})`)
    }
  }
  start()
  return {
    stop: () =>
      new Promise(resolve => {
        stopping = true
        clearTimeout(timer)
        const running = child
        if (!running || running.exitCode !== null || running.signalCode !== null) return resolve()
        const kill = setTimeout(() => running.kill('SIGKILL'), 5_000)
        running.once('exit', () => {
          clearTimeout(kill)
          resolve()
        })
        running.kill('SIGTERM')
      }),
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
