import { randomBytes } from 'node:crypto'
import * as nodeFs from 'node:fs'
import { dirname, join } from 'node:path'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'

/** The calls that writing needs; a test hands in some that fail. */
export type FileSystem = Pick<
  typeof nodeFs,
  | 'openSync'
  | 'fchmodSync'
  | 'fchownSync'
  | 'writeSync'
  | 'fsyncSync'
  | 'closeSync'
  | 'renameSync'
  | 'rmSync'
  | 'lstatSync'
  | 'mkdirSync'
  | 'chmodSync'
  | 'readFileSync'
  | 'readdirSync'
>

export type Mode = 0o600 | 0o644 | 0o700 | 0o755
const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_DIRECTORY, O_RDONLY } = nodeFs.constants
const TEMPORARY = /^\.keyman-[0-9a-f]{16}\.tmp$/

const refused = (path: string, why: string): KeymanError =>
  new KeymanError('denied', `${path} ${why}; nothing was written`, {
    hint: 'look at who put it there, then remove it',
  })

/** Whoever runs the agent. Where that is root, every file is root's. */
const uid = (): number => process.geteuid?.() ?? 0

/**
 * Makes sure that a folder is one that nobody else can write to: else whoever can would put a link of their own where the
 * next file goes. Makes it (its parent must be there) where it is missing. Throws `denied` on anything else.
 */
export function ensureFolder(path: string, mode: 0o700 | 0o755, fs: FileSystem = nodeFs): void {
  const before = fs.lstatSync(path, { throwIfNoEntry: false })
  if (!before) {
    fs.mkdirSync(path, mode)
    fs.chmodSync(path, mode)
    syncFolder(dirname(path), fs)
  }
  const entry = before ?? fs.lstatSync(path)
  if (!entry.isDirectory()) throw refused(path, 'is not a folder')
  if (entry.uid !== uid() && entry.uid !== 0) throw refused(path, `belongs to another user (uid ${entry.uid})`)
  if ((entry.mode & 0o022) !== 0) throw refused(path, 'can be written by others')
}

/**
 * Writes a file whole or not at all: a temporary file in the same folder, made anew and never through a link, with owner
 * and mode set before the content, fsync, rename, fsync of the folder. Where it fails the old file is as it was. Refuses
 * with `denied` to replace a link, folder or device. Says whether anything had to be written.
 */
export function writeAtomically(path: string, content: Uint8Array, mode: Mode, fs: FileSystem = nodeFs): boolean {
  const folder = dirname(path)
  const entry = fs.lstatSync(path, { throwIfNoEntry: false })
  if (entry) {
    if (!entry.isFile()) throw refused(path, 'is not a plain file')
    const same = (entry.mode & 0o7777) === mode && entry.uid === uid() && entry.nlink === 1
    if (same && entry.size === content.length && equalBytes(fs.readFileSync(path), content)) return false
  }
  const temporary = join(folder, `.keyman-${randomBytes(8).toString('hex')}.tmp`)
  const file = fs.openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    try {
      fs.fchownSync(file, uid(), process.getegid?.() ?? 0)
      fs.fchmodSync(file, mode)
      for (let at = 0; at < content.length; ) at += fs.writeSync(file, content, at)
      fs.fsyncSync(file)
    } finally {
      fs.closeSync(file)
    }
    fs.renameSync(temporary, path)
  } catch (error) {
    fs.rmSync(temporary, { force: true })
    throw new KeymanError(
      'unavailable',
      `${path} could not be written: ${codeOf(error)}; what was there is unchanged`,
      {
        cause: error,
      },
    )
  }
  syncFolder(folder, fs)
  return true
}

/** Removes a file, durably; a link is removed itself, not what it points to. Says whether it was there. */
export function removeFile(path: string, fs: FileSystem = nodeFs): boolean {
  const entry = fs.lstatSync(path, { throwIfNoEntry: false })
  if (!entry) return false
  if (entry.isDirectory()) throw refused(path, 'is a folder')
  fs.rmSync(path)
  syncFolder(dirname(path), fs)
  return true
}

/** What an interrupted write has left behind. */
export function removeTemporaries(folder: string, fs: FileSystem = nodeFs): void {
  for (const name of fs.readdirSync(folder)) if (TEMPORARY.test(name)) fs.rmSync(join(folder, name), { force: true })
}

function syncFolder(folder: string, fs: FileSystem): void {
  const handle = fs.openSync(folder, O_RDONLY | O_DIRECTORY)
  try {
    fs.fsyncSync(handle)
  } finally {
    fs.closeSync(handle)
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && error.code === 'ENOSPC'
    ? 'the disk is full'
    : error instanceof Error
      ? error.message
      : 'unknown'
