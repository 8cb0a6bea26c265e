import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import type { LogSource } from './log-source.ts'

export const JOURNALCTL = '/usr/bin/journalctl'
const AGAIN_MS = 5000

export const hasJournal = (): boolean => existsSync('/run/systemd/journal/socket') && existsSync(JOURNALCTL)

/** systemd.journal-fields(7). `_UID` and `_COMM` are the journal's own word: whoever is not root can't say that they are sshd. */
const entry = z.object({
  MESSAGE: z.string(),
  _PID: z.string().regex(/^[0-9]{1,9}$/),
  __CURSOR: z.string().max(500),
  /** Microseconds since 1970. */
  __REALTIME_TIMESTAMP: z.string().regex(/^[0-9]{1,17}$/),
})
const SSHD = ['_UID=0', '_COMM=sshd', '+', '_UID=0', '_COMM=sshd-session']

/** systemd's journal: what sshd's processes of root have said. */
export function journal(warn: (message: string) => void): LogSource {
  return {
    follow(after, take, signal) {
      let cursor = after
      const start = () => {
        const from = cursor === undefined ? ['--lines=0'] : ['--no-tail', `--after-cursor=${cursor}`]
        const child = spawn(
          JOURNALCTL,
          ['--follow', '--quiet', '--output=json', '--output-fields=MESSAGE,_PID', ...from, ...SSHD],
          { stdio: ['ignore', 'pipe', 'ignore'], signal },
        )
        child.on('error', error => {
          if (!signal.aborted) warn(`sshd's log can not be read: ${error.message}`)
        })
        child.on('close', () => {
          if (!signal.aborted) setTimeout(start, AGAIN_MS).unref()
        })
        createInterface({ input: child.stdout }).on('line', text => {
          const read = entry.safeParse(parse(text))
          if (!read.success) return
          const { MESSAGE: message, _PID, __CURSOR, __REALTIME_TIMESTAMP } = read.data
          cursor = __CURSOR
          const at = new Date(Number(BigInt(__REALTIME_TIMESTAMP) / 1000n))
          take({ message, at, pid: Number(_PID), cursor: __CURSOR })
        })
      }
      start()
    },
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
