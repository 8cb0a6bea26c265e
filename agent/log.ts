import { shown } from '#shared/text.ts'
import { toldInLine } from '#shared/told.ts'

/** What the agent says while it runs: one line each on stderr, foreign text escaped. */
export type Log = {
  info(text: string): void
  warn(text: string): void
  /** Something that an operator must see: a log that does not extend, a state that was refused. */
  error(text: string): void
}

export function createLog(write: (line: string) => void, now: () => Date): Log {
  const line = (level: string) => (text: string) => write(`${now().toISOString()} ${level} ${shown(text)}\n`)
  return { info: line('info'), warn: line('warn'), error: line('error') }
}

/** An error in a line, with what to do about it. */
export const reasonOf = (error: unknown): string => toldInLine(error)
