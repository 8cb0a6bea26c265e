import { parseDuration } from '#shared/durations.ts'
import { usage } from './command.ts'

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

function timeOf(text: string, flag: string, now: Date): Date | undefined {
  if (/^[0-9]+[smhd]$/.test(text)) return new Date(now.getTime() + parseDuration(text, flag) * 1000)
  const [, hours, minutes] = /^([01]?[0-9]|2[0-3]):([0-5][0-9])$/.exec(text) ?? []
  if (hours === undefined) return RFC_3339.test(text) ? new Date(text) : undefined
  const next = new Date(now)
  next.setHours(Number(hours), Number(minutes), 0, 0)
  if (next.getTime() <= now.getTime()) next.setDate(next.getDate() + 1)
  return next
}
