import { parseDuration } from '#shared/durations.ts'
import { usage } from '../terminal/command.ts'

const CLOCK = /^([01]?[0-9]|2[0-3]):([0-5][0-9])$/
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:\d{2})$/

/**
 * Pure: a time to come, as people type it: RFC 3339, a duration from now (`30d`), or `18:00`, the next such local time. Gives
 * RFC 3339 UTC. Throws `invalid-input` with `flag` named, also for what is over.
 */
export function parseTimeToCome(text: string, flag: string, now: Date): string {
  const time = timeOf(text, flag, now)
  if (time === undefined || Number.isNaN(time.getTime()))
    throw usage(
      `${flag}: ${JSON.stringify(text.slice(0, 40))} is neither a time (2030-01-31T18:00:00Z, or 18:00) nor a duration such as 30d`,
    )
  if (time.getTime() <= now.getTime()) throw usage(`${flag}: ${text} is over already`)
  return time.toISOString()
}

/**
 * Pure: a time that is over, as people type it: RFC 3339, a day (`2030-01-31`, its beginning here), how long ago (`7d`), or `18:00`,
 * the last such local time. Gives RFC 3339 UTC. Throws `invalid-input` with `flag` named.
 */
export function parseTimeBefore(text: string, flag: string, now: Date): string {
  const time = timeBefore(text, flag, now)
  if (time === undefined || Number.isNaN(time.getTime()))
    throw usage(
      `${flag}: ${JSON.stringify(text.slice(0, 40))} is neither a time (2030-01-31T18:00:00Z, 2030-01-31 or 18:00) nor how long ago, such as 7d`,
    )
  return time.toISOString()
}

function timeBefore(text: string, flag: string, now: Date): Date | undefined {
  if (/^[0-9]+[smhd]$/.test(text)) return new Date(now.getTime() - parseDuration(text, flag) * 1000)
  if (/^\d{4}-\d{2}-\d{2}$/.test(text)) return new Date(`${text}T00:00:00`)
  const [, hours, minutes] = CLOCK.exec(text) ?? []
  if (hours === undefined) return RFC_3339.test(text) ? new Date(text) : undefined
  const last = new Date(now)
  last.setHours(Number(hours), Number(minutes), 0, 0)
  if (last.getTime() > now.getTime()) last.setDate(last.getDate() - 1)
  return last
}

function timeOf(text: string, flag: string, now: Date): Date | undefined {
  if (/^[0-9]+[smhd]$/.test(text)) return new Date(now.getTime() + parseDuration(text, flag) * 1000)
  const [, hours, minutes] = CLOCK.exec(text) ?? []
  if (hours === undefined) return RFC_3339.test(text) ? new Date(text) : undefined
  const next = new Date(now)
  next.setHours(Number(hours), Number(minutes), 0, 0)
  if (next.getTime() <= now.getTime()) next.setDate(next.getDate() + 1)
  return next
}
