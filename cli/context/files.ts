import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { isAbsent, onFile } from './file-errors.ts'
import { makeFolder } from './folders.ts'

/**
 * Writes a file whole or not at all: a temporary file in the same folder, with its mode from the first moment, then a
 * rename. Nobody else can read a 0600 file even for an instant, and no reader sees half of it.
 */
export function writeFile(path: string, content: string | Uint8Array, mode: number): void {
  const folder = makeFolder(dirname(path))
  onFile(path, 'written', () => {
    // No two of this machine at once have this name; `wx` refuses whatever is there. (Random bytes would load node:crypto, 10 ms
    // at each start of `keyman status`.)
    const temporary = join(folder, `.keyman-${process.pid}-${process.hrtime.bigint()}.tmp`)
    const file = openSync(temporary, 'wx', mode)
    try {
      writeFileSync(file, content)
      fsyncSync(file)
      renameSync(temporary, path)
    } catch (error) {
      rmSync(temporary, { force: true })
      throw error
    } finally {
      closeSync(file)
    }
  })
}

/** The same, and on the disk before it returns, the name too: what is written is used at once elsewhere, and must be there after a crash. */
export function writeDurably(path: string, content: string, mode: number): void {
  writeFile(path, content, mode)
  onFile(path, 'written', () => {
    const folder = openSync(dirname(path), 'r')
    try {
      fsyncSync(folder)
    } finally {
      closeSync(folder)
    }
  })
}

/** Throws where nothing can be written into a folder, which need not be there yet. Nothing is made. */
export function checkWritable(folder: string): void {
  onFile(folder, 'written', () => {
    let there = folder
    while (!existsSync(there) && dirname(there) !== there) there = dirname(there)
    readdirSync(there)
    accessSync(there, constants.W_OK | constants.X_OK)
  })
}

export function readIfThere(path: string, encoding: 'utf8' | 'latin1' = 'utf8'): string | undefined {
  return onFile(path, 'read', () => {
    try {
      return readFileSync(path, encoding)
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  })
}

/** A file that a flag names. Throws `invalid-input` that names the flag. */
export function readGiven(path: string, flag: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const why = error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'there is no such file' : error
    throw new KeymanError(
      'invalid-input',
      `${flag}: ${path} can't be read: ${why instanceof Error ? why.message : why}`,
    )
  }
}

export const remove = (path: string): void =>
  onFile(path, 'removed', () => rmSync(path, { force: true, recursive: true }))
