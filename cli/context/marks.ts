import { join } from 'node:path'
import type { Context } from './context.ts'
import { readIfThere } from './files.ts'
import { type Folders, sessionHome } from './folders.ts'

/** Of what was asked or refused a moment ago, so that it is not asked again and again. */
export function marksOf(folders: Folders, { organisation }: Pick<Context, 'organisation'>) {
  const home = sessionHome(folders, organisation)
  return {
    turn: join(home, `${organisation}.login.lock`),
    refused: join(home, `${organisation}.refused`),
    page: join(home, `${organisation}.page`),
    newHost: join(home, `${organisation}.new-host`),
  }
}

/** Logins and renewals write the same files, one after the other. */
export const writersTurn = (folders: Folders, { organisation }: Pick<Context, 'organisation'>): string =>
  join(sessionHome(folders, organisation), `${organisation}.write.lock`)
/** One login at a time asks for a passkey. (`ssh-check.ts` has a turn of its own around the login that it starts.) */
export const signInTurn = (folders: Folders, { organisation }: Pick<Context, 'organisation'>): string =>
  join(sessionHome(folders, organisation), `${organisation}.sign-in.lock`)

/** A mark begins with the time at which it was made, in milliseconds. One of the future (a clock that was put back) counts for nothing. */
export function isRecent(path: string, within: number, now: number): boolean {
  const age = now - Number.parseInt(readIfThere(path) ?? '0', 10)
  return age >= 0 && age < within
}
