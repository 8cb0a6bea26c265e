import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'

/**
 * Processes that outlive a server which was killed. Each is written down with the moment it began, because a number may
 * belong to another process by the time that somebody reads it.
 */
const schema = z.strictObject({ pid: z.int().min(2), began: z.string() })

export function writeDown(file: string, pid: number): void {
  const began = beginning(pid)
  if (began !== undefined) writeFileSync(file, JSON.stringify({ pid, began }), { mode: 0o600 })
}

/** Ends what is written there, if it is still that very process; waits until it is gone. */
export async function endLeftover(file: string): Promise<void> {
  const left = read(file)
  rmSync(file, { force: true })
  if (!left) return
  for (const [signal, tries] of [
    ['SIGTERM', 40],
    ['SIGKILL', 40],
  ] as const) {
    if (beginning(left.pid) !== left.began) return
    try {
      process.kill(left.pid, signal)
    } catch {
      return
    }
    for (let i = 0; i < tries && beginning(left.pid) === left.began; i++) await delay(50)
  }
}

function read(file: string): z.infer<typeof schema> | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return undefined
  }
}

/**
 * When a process began, as the kernel counts (proc(5), field 22 of stat, in ticks since boot) with its name; `undefined`
 * where there is none, or where it has ended and waits for its parent. Without /proc leftovers are not told apart and stay.
 */
function beginning(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name stands in brackets and may hold anything: what follows the last one is separated by blanks.
    const close = stat.lastIndexOf(')')
    const fields = stat.slice(close + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch {
    return undefined
  }
}
