import { KeymanError } from '#shared/errors.ts'
import { shown } from '#shared/text.ts'
import { told } from '#shared/told.ts'

/** Lines for whoever runs the server: one JSON document a line on stderr, or plain words on a terminal. Never a secret, never a value of a statement. */
export type Log = {
  info(message: string, fields?: Readonly<Record<string, unknown>>): void
  error(message: string, error?: unknown): void
}

type Sink = { write(text: string): unknown; isTTY?: boolean }

export function createLog(sink: Sink = process.stderr, now: () => Date = () => new Date()): Log {
  const line = (level: string, message: string, fields: Readonly<Record<string, unknown>>) =>
    // A host's message or a name may stand in it.
    sink.isTTY
      ? sink.write(`${shown(`${localTime(now())} ${level === 'error' ? 'error: ' : ''}${message}${text(fields)}`)}\n`)
      : sink.write(`${JSON.stringify({ at: now().toISOString(), level, message, ...fields })}\n`)
  return {
    info: (message, fields = {}) => void line('info', message, fields),
    error: (message, error) => void line('error', message, error === undefined ? {} : { reason: reasonOf(error) }),
  }
}

/** For whoever reads along: the day too, since a server's terminal is looked at after a weekend. */
function localTime(time: Date): string {
  const two = (n: number) => String(n).padStart(2, '0')
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('-')
  return `${day} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':')}`
}

const text = (fields: Readonly<Record<string, unknown>>): string =>
  Object.entries(fields)
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('')

/**
 * An error with what to do and what caused it; messages of ours hold no secret. What a driver threw was translated by the room
 * that owns it: its own words add nothing but to somebody who asks for them by KEYMAN_DEBUG=1.
 */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : told(error).message
  const debugging = process.env.KEYMAN_DEBUG === '1'
  const isOurs = error instanceof KeymanError && error.code !== 'internal'
  const hint = isOurs && error.hint !== undefined ? ` (${error.hint})` : ''
  const isTold = error.cause === undefined || (isOurs && !debugging && !(error.cause instanceof KeymanError))
  const cause = isTold ? '' : `; because: ${reasonOf(error.cause)}`
  return `${debugging ? (error.stack ?? error.message) : error.message}${hint}${cause}`
}
