import { spawnSync } from 'node:child_process'
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { KeymanError } from './errors.ts'

/**
 * What only one process may have, such as a PGlite folder, which two silently destroy, is locked first.
 *
 * Node has no flock(2), but such a lock belongs to the *open file description* (flock(2), NOTES), which a child shares:
 * a child locks our descriptor and ends, and the lock stays with us until we close the file or die, however we die.
 * (A file with a PID in it would outlive a `kill -9`, and a PID may be somebody else's by then.)
 */
const LOCKERS: readonly (readonly [string, readonly string[]])[] = [
  ['flock', ['-x', '-n', '3']], // util-linux, and busybox, which knows no long options
  ['perl', ['-e', 'use Fcntl ":flock"; open(my $f, "+<&=", 3) or exit 2; exit(flock($f, LOCK_EX|LOCK_NB) ? 0 : 1)']],
]

const SERVER_HINT = 'stop that server first, or give this one another data folder'

/**
 * Gives a function that gives the lock back. `what` is what the file at `path` stands for, such as `the database in …`.
 * Throws `conflict`, saying who holds it and by `hint` what next, `unavailable` where this machine can't lock.
 */
export function lockFolder(what: string, path: string, hint = SERVER_HINT): () => void {
  const file = openSync(path, 'a+', 0o600)
  for (const [program, parameters] of LOCKERS) {
    const { status, error } = spawnSync(program, parameters, { stdio: ['ignore', 'ignore', 'ignore', file] })
    if (error) continue
    if (status === 0) {
      ftruncateSync(file)
      writeSync(file, `process ${process.pid} since ${new Date().toISOString()}\n`)
      return () => closeSync(file)
    }
    const holder = readFileSync(path, 'utf8').trim() || 'another process'
    closeSync(file)
    throw new KeymanError('conflict', `${what} is in use by ${holder}`, {
      hint,
    })
  }
  closeSync(file)
  throw new KeymanError('unavailable', `${what} can't be locked: neither flock nor perl is here`, {
    hint: 'install util-linux (flock)',
  })
}
