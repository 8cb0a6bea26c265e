import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { makeFolder } from './folders.ts'

/**
 * One at a time among processes: the first does the work, the others wait until it is done and then do theirs, which finds
 * the first one's result. Gives `undefined` where the turn did not come within `patience` milliseconds.
 *
 * Node has no flock(2), but such a lock belongs to the open file, which a child shares: the child waits for the lock on our
 * descriptor and ends, and the lock stays with us until we close the file or die, however we die. So nothing is polled, and
 * no holder that was killed is ever waited for. The file itself stays.
 */
export async function takeTurn<T>(path: string, patience: number, work: () => Promise<T>): Promise<T | undefined> {
  makeFolder(dirname(path))
  const file = openSync(path, 'a', 0o600)
  try {
    return (await lock(file, patience)) ? await work() : undefined
  } finally {
    closeSync(file)
  }
}

/** Whichever is there: util-linux and busybox, or perl, which is in every Debian and every macOS. */
const LOCKERS: readonly (readonly [string, readonly string[]])[] = [
  ['flock', ['-x', '3']],
  ['perl', ['-e', 'use Fcntl ":flock"; open(my $f, ">>&=", 3) or exit 2; exit(flock($f, LOCK_EX) ? 0 : 1)']],
]

async function lock(file: number, patience: number): Promise<boolean> {
  for (const [program, parameters] of LOCKERS) {
    const child = spawn(program, parameters, { stdio: ['ignore', 'ignore', 'ignore', file] })
    const timer = setTimeout(() => child.kill('SIGKILL'), patience)
    const code = await ended(child)
    clearTimeout(timer)
    if (code !== 'absent') return code === 0
  }
  // Without either, two may come at once: each still writes whole files, and one of them asks for a touch too many.
  return true
}

const ended = (child: ChildProcess): Promise<number | null | 'absent'> =>
  new Promise(resolve => {
    child.once('error', () => resolve('absent'))
    child.once('exit', code => resolve(code))
  })
