import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { onFile } from './file-errors.ts'
import { makeFolder } from './folders.ts'

/**
 * One at a time among processes: the first does the work, the others wait until it is done and then do theirs, which finds
 * the first one's result. Gives `undefined` where the turn did not come within `patience` milliseconds. `waits` is called where
 * another has the turn just now.
 *
 * Node has no flock(2), but such a lock belongs to the open file, which a child shares: the child waits for the lock on our
 * descriptor and ends, and the lock stays with us until we close the file or die, however we die. So nothing is polled, and
 * no holder that was killed is ever waited for. The file itself stays.
 */
export async function takeTurn<T>(
  path: string,
  patience: number,
  work: () => Promise<T>,
  waits?: () => void,
): Promise<T | undefined> {
  makeFolder(dirname(path))
  const file = onFile(path, 'written', () => openSync(path, 'a', 0o600))
  try {
    return (await lock(file, patience, waits)) ? await work() : undefined
  } finally {
    closeSync(file)
  }
}

/** Whichever is there: util-linux and busybox, or perl, which is in every Debian and every macOS. */
const LOCKERS: readonly { readonly program: string; atOnce: readonly string[]; inTime: readonly string[] }[] = [
  { program: 'flock', atOnce: ['-n', '-x', '3'], inTime: ['-x', '3'] },
  { program: 'perl', atOnce: ['-e', perl('LOCK_EX | LOCK_NB')], inTime: ['-e', perl('LOCK_EX')] },
]

function perl(how: string): string {
  return `use Fcntl ":flock"; open(my $f, ">>&=", 3) or exit 2; exit(flock($f, ${how}) ? 0 : 1)`
}

async function lock(file: number, patience: number, waits: (() => void) | undefined): Promise<boolean> {
  for (const { program, atOnce, inTime } of LOCKERS) {
    if (waits) {
      const code = await run(program, atOnce, file, patience)
      if (code === 0) return true
      if (code !== 'absent') waits()
    }
    const code = await run(program, inTime, file, patience)
    if (code !== 'absent') return code === 0
  }
  // Without either, two may come at once: each still writes whole files, and one of them asks for a touch too many.
  return true
}

function run(program: string, parameters: readonly string[], file: number, patience: number) {
  const child = spawn(program, parameters, { stdio: ['ignore', 'ignore', 'ignore', file] })
  const timer = setTimeout(() => child.kill('SIGKILL'), patience)
  return ended(child).finally(() => clearTimeout(timer))
}

const ended = (child: ChildProcess): Promise<number | null | 'absent'> =>
  new Promise(resolve => {
    child.once('error', () => resolve('absent'))
    child.once('exit', code => resolve(code))
  })
