import { readFileSync } from 'node:fs'

/** Each costs some 30 to 80 kB. */
const MOST = 20_000
/** For the database, the keystore, files and libraries. */
const KEPT_FREE = 256

/**
 * How many connections a listener keeps, by how many files this process may have open. There are two listeners, and each
 * lets twice as many in, since handshakes that are under way count too: a stranger's idle connections never use up what
 * the database and the other listener need. `openFiles`: `undefined` where it is not known.
 */
export const connectionsFor = (openFiles: number | undefined): number =>
  openFiles === undefined ? MOST : Math.max(16, Math.min(MOST, Math.floor((openFiles - KEPT_FREE) / 4)))

/** RLIMIT_NOFILE of this process, as Linux tells it (proc(5)); Node has raised the soft limit to the hard one. */
export function openFilesLimit(): number | undefined {
  try {
    const [, soft] = /^Max open files +(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
    return soft === undefined || soft === 'unlimited' ? undefined : Number(soft)
  } catch {
    return undefined
  }
}
