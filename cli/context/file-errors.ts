import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { KeymanError } from '#shared/errors.ts'

/** What the system's refusals mean to a person. */
const MEANINGS: Readonly<Record<string, string>> = {
  EACCES: 'you may not',
  EPERM: 'you may not',
  EROFS: 'it can only be read there',
  ENOSPC: 'the disk is full',
  EDQUOT: 'your share of the disk is used up',
  ENOTDIR: 'a part of its path is a file, not a folder',
  EEXIST: 'a part of its path is a file, not a folder',
  ENOENT: 'there is no such folder, and none can be made there',
  EISDIR: 'it is a folder',
  ELOOP: 'it is a link that leads to itself',
  EMFILE: 'too many files are open',
}

/** What is done with a file of the home; a refusal of the system comes out with the path, what it means and what to do. */
export function onFile<T>(path: string, what: 'read' | 'written' | 'removed', work: () => T): T {
  try {
    return work()
  } catch (error) {
    const code = codeOf(error)
    if (code === undefined) throw error
    throw new KeymanError('internal', `${path} can't be ${what}: ${MEANINGS[code] ?? 'the system refuses'} (${code})`, {
      hint:
        rootsFile(path, code) ??
        `look with ls -ld at it and at the folders above; KeyMan's own are moved by XDG_CONFIG_HOME, XDG_STATE_HOME and XDG_RUNTIME_DIR`,
      cause: error,
    })
  }
}

/** Left behind by a `sudo -E keyman` of an earlier release. */
function rootsFile(path: string, code: string): string | undefined {
  if (code !== 'EACCES' && code !== 'EPERM') return undefined
  for (let at = path; at !== dirname(at); at = dirname(at)) {
    const owner = ownerOf(at)
    if (owner === undefined) continue
    return owner === 0 && process.geteuid?.() !== 0
      ? `it is root's; give it back: sudo chown -R ${process.geteuid?.()} ${JSON.stringify(at)}`
      : undefined
  }
  return undefined
}

/** Undefined where there is nothing, or nothing that this user may look at. */
function ownerOf(path: string): number | undefined {
  try {
    return statSync(path).uid
  } catch {
    return undefined
  }
}

/** Whether there is no such file. */
export const isAbsent = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '')

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && 'syscall' in error
    ? error.code
    : undefined
