import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { link, lstat, mkdir, open, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { unavailable } from './port.ts'

/** Files that nobody else may read, written whole or not at all, never over another. */

const MAX_BYTES = 64 * 1024

/** Makes the folder with mode 0700, or checks that it is ours alone. Throws `unavailable` with what to do. */
export async function preparePrivateFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  const stats = await lstat(path)
  if (!stats.isDirectory()) throw unavailable(`${path} is no folder`)
  refuseOthers(path, stats, '700')
}

/** As ssh does with private keys: a file that others could read or change is not used. */
function refuseOthers(path: string, stats: Stats, mode: string): void {
  if (stats.uid !== process.geteuid?.()) {
    throw unavailable(`${path} belongs to another user (uid ${stats.uid})`, { hint: `chown it to the server's user` })
  }
  if ((stats.mode & 0o077) !== 0) {
    const has = (stats.mode & 0o777).toString(8).padStart(4, '0')
    throw unavailable(`${path} has mode ${has}: others may use it`, { hint: `chmod ${mode} ${path}` })
  }
}

/**
 * `undefined` where there is no such file. Follows no symbolic link. Throws `unavailable` where others could read it:
 * `alone` wants our own file of mode 0600 or less; `managed` is systemd's (owner root, read by us through an ACL, which
 * shows in the group's bits: systemd.exec(5)) and is refused only where everybody may read it.
 */
export async function readPrivateFile(path: string, owner: 'alone' | 'managed'): Promise<Uint8Array | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw unavailable(`${path} can't be opened (${error.code})`, { cause: error })
  })
  if (!file) return undefined
  try {
    const stats = await file.stat()
    if (!stats.isFile() || stats.size > MAX_BYTES) throw unavailable(`${path} is no file of at most ${MAX_BYTES} bytes`)
    if (owner === 'alone') refuseOthers(path, stats, '600')
    else if ((stats.mode & 0o007) !== 0) throw unavailable(`${path} can be read by everybody`)
    return new Uint8Array(await file.readFile())
  } finally {
    await file.close()
  }
}

/**
 * Durable once it returns. `false` where the name is taken: `link` refuses what `rename` would replace, and a key that
 * was replaced is lost.
 */
export async function createPrivateFile(path: string, content: Uint8Array): Promise<boolean> {
  const temporary = `${path}.${randomBytes(8).toString('hex')}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(temporary, path)
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false
    throw new KeymanError('unavailable', `${path} can't be written`, { cause: error })
  } finally {
    await unlink(temporary).catch(() => undefined)
  }
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
  return true
}

const isErrno = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code
