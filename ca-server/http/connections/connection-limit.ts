import { readFileSync } from 'node:fs'

/** Each costs some 30 to 80 kB. */
const MOST = 40_000
/** For the database, the keystore, files and libraries. */
const KEPT_FREE = 256

/**
 * How many connections a listener keeps, handshakes and streams included, by how many files this process may have open.
 * There are two listeners: what strangers open never uses up what the database and the other listener need. `openFiles`:
 * `undefined` where it is not known.
 */
export const connectionsFor = (openFiles: number | undefined): number =>
  openFiles === undefined ? MOST : Math.max(32, Math.min(MOST, Math.floor((openFiles - KEPT_FREE) / 2)))

/** Of these so many of one address that has shown no certificate: whoever has one address alone leaves most to others. */
export const connectionsPerAddress = (connections: number): number =>
  Math.max(8, Math.min(1_000, Math.floor(connections / 4)))

/** RLIMIT_NOFILE of this process, as Linux tells it (proc(5)); Node has raised the soft limit to the hard one. */
export function openFilesLimit(): number | undefined {
  try {
    const [, soft] = /^Max open files +(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
    return soft === undefined || soft === 'unlimited' ? undefined : Number(soft)
  } catch {
    return undefined
  }
}
