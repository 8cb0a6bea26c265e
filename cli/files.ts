import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { makeFolder } from './folders.ts'

/**
 * Writes a file whole or not at all: a temporary file in the same folder, with its mode from the first moment, then a
 * rename. Nobody else can read a 0600 file even for an instant, and no reader sees half of it.
 */
export function writeFile(path: string, content: string | Uint8Array, mode: 0o600 | 0o644 | 0o700): void {
  const folder = makeFolder(dirname(path))
  const temporary = join(folder, `.${randomBytes(8).toString('hex')}.tmp`)
  const file = openSync(temporary, 'wx', mode)
  try {
    writeSync(file, typeof content === 'string' ? new TextEncoder().encode(content) : content)
    fsyncSync(file)
    closeSync(file)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

export const remove = (path: string): void => rmSync(path, { force: true, recursive: true })
