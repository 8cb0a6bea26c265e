/** What the agent says while it runs: one line each on stderr, foreign text escaped. */
export type Log = {
  info(text: string): void
  warn(text: string): void
  /** Something that an operator must see: a log that does not extend, a state that was refused. */
  error(text: string): void
}

/** Foreign text as it may go to a terminal or a log: control, bidirectional and invisible characters stand escaped. */
export const shown = (text: string): string =>
  text.replace(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

export function createLog(write: (line: string) => void, now: () => Date): Log {
  const line = (level: string) => (text: string) => write(`${now().toISOString()} ${level} ${shown(text)}\n`)
  return { info: line('info'), warn: line('warn'), error: line('error') }
}
