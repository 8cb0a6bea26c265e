import { spawn } from 'node:child_process'
import { constants } from 'node:os'

/**
 * Runs a program in a session of its own, without a terminal: what asks on /dev/tty, as ssh-add does, would wait for whoever watches. Who
 * stops this stops all of it, and what it has left running ends with it. Resolves with its exit code.
 *
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} options
 * @returns {Promise<number>}
 */
export function withoutTerminal(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...options, stdio: ['ignore', 'inherit', 'inherit'], detached: true })
    const end = signal => {
      try {
        process.kill(-child.pid, signal)
      } catch {
        // All of it has ended.
      }
    }
    const stops = ['SIGINT', 'SIGTERM', 'SIGHUP'].map(signal => {
      const stop = () => {
        end('SIGTERM')
        process.exit(128 + constants.signals[signal])
      }
      process.once(signal, stop)
      return () => process.off(signal, stop)
    })
    child.once('error', reject)
    child.once('exit', code => {
      for (const stop of stops) stop()
      end('SIGKILL')
      resolve(code ?? 1)
    })
  })
}
