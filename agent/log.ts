/** What the agent says while it runs: one line each on stderr, control characters shown escaped. */
export type Log = {
  info(text: string): void
  warn(text: string): void
  /** Something that an operator must see: a log that does not extend, a state that was refused. */
  error(text: string): void
}

export function createLog(write: (line: string) => void, now: () => Date): Log {
  const line = (level: string) => (text: string) =>
    write(
      `${now().toISOString()} ${level} ${text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/g, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)}\n`,
    )
  return { info: line('info'), warn: line('warn'), error: line('error') }
}
