import { readdirSync, readFileSync } from 'node:fs'

/** What processes have used, from Linux's own count (proc(5)). */

/** USER_HZ: 100 on every architecture that Linux has had Node on. */
const TICKS_A_SECOND = 100

/** CPU seconds of a process and of its children that have ended, in steps of 10 ms. 0 for one that is gone. */
export function cpuSeconds(pid: number): number {
  const fields = statOf(pid)
  // utime, stime, cutime, cstime: fields 14 to 17, of which the first two went with the name.
  return fields ? fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_A_SECOND : 0
}

/** The same of a process with all its living children: PostgreSQL has one for each connection. */
export function cpuSecondsOfTree(pid: number): number {
  let sum = cpuSeconds(pid)
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const fields = statOf(Number(name))
    if (Number(fields?.[1]) === pid) sum += cpuSeconds(Number(name))
  }
  return sum
}

/** Resident memory in MB (10^6 bytes). */
export function residentMegabytes(pid: number): number {
  const [, kilobytes = '0'] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return (Number(kilobytes) * 1024) / 1e6
}

/** The fields of /proc/PID/stat from the third on: what stands before them, the name, may hold anything. */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}
