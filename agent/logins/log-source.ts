/** Where sshd's messages come from. */
export type LogLine = {
  readonly message: string
  /** When it was said, where the log knows. */
  readonly at: Date | undefined
  /** Of sshd's process that said it, where the log knows. */
  readonly pid?: number
  /** To go on behind it. */
  readonly cursor: string
}

export type LogSource = {
  /** Gives what comes after `after`, without it what comes from now on, until `signal`. */
  follow(after: string | undefined, take: (line: LogLine) => void, signal: AbortSignal): void
}
