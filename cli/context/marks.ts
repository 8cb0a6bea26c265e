import { join } from 'node:path'
import type { Context } from './context.ts'
import { readIfThere } from './files.ts'
import type { Folders } from './folders.ts'

/** Of what was asked or refused a moment ago, so that it is not asked again and again. */
export const marksOf = (folders: Folders, { organisation }: Pick<Context, 'organisation'>) => ({
  turn: join(folders.runtime, `${organisation}.login.lock`),
  refused: join(folders.runtime, `${organisation}.refused`),
  page: join(folders.runtime, `${organisation}.page`),
  newHost: join(folders.runtime, `${organisation}.new-host`),
})

/** A mark begins with the time at which it was made, in milliseconds. One of the future (a clock that was put back) counts for nothing. */
export function isRecent(path: string, within: number, now: number): boolean {
  const age = now - Number.parseInt(readIfThere(path) ?? '0', 10)
  return age >= 0 && age < within
}
