import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'

/** How long a file of somebody's home is waited for. */
export const HOME_ANSWERS_MS = 5_000

/** What people have in their homes. `ask` throws where nothing came in time, and asks no second time then. */
export type Homes = {
  ask<T>(path: string, look: () => Promise<T>): Promise<T>
  /** Whether something did not answer. */
  readonly silent: boolean
}

/**
 * A home may lie on another machine, which may be gone: then whoever asks for a file of it waits for good. What is asked here
 * goes by Node's own threads, each of which may stay behind: so it is for a process that is ended afterwards (`look-process.ts`).
 */
export function openHomes(answersMs = HOME_ANSWERS_MS): Homes {
  const silent = new Set<string>()
  const noAnswer = () => new Error(`no answer within ${answersMs / 1000} seconds`)
  return {
    async ask(path, look) {
      if (silent.has(path)) throw noAnswer()
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          silent.add(path)
          reject(noAnswer())
        }, answersMs)
      })
      try {
        return await Promise.race([look(), late])
      } finally {
        clearTimeout(timer)
      }
    },
    get silent() {
      return silent.size > 0
    },
  }
}

/** Of what has none: there is nothing of that name. */
export const ABSENT = 'none'

/** What changes when it is written or replaced. Whoever looks again by it takes it before what it stands for is read. */
export async function stateOf(path: string, homes: Homes): Promise<string> {
  try {
    const entry = await homes.ask(path, () => statIfThere(path))
    return entry ? `${entry.ino}:${entry.size}:${entry.mtimeMs}` : ABSENT
  } catch {
    // Some of these are their accounts' own: a link to itself there must not keep the host from saying what is in force.
    return 'unreadable'
  }
}

/** `undefined` where there is nothing of that name. Throws where that cannot be seen. */
export async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    const isAbsent = error instanceof Error && 'code' in error && ['ENOENT', 'ENOTDIR'].includes(String(error.code))
    if (isAbsent) return undefined
    throw error
  }
}
