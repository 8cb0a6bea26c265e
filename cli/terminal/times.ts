/** A zone's short name and the offset (minutes, as `getTimezoneOffset` gives it) that it stands for: `CET`, -60. */
export type Zone = { readonly name: string; readonly offset: number }

/**
 * Pure: times as people read them: `in 7 h 40 min, 18:05 CET`. `known`: the zone's name from before. Asking for it costs 15 ms at
 * each start, so a session keeps it; where the offset is another (summer time, a journey) it is asked for anew.
 */
export function until(end: Date, now: Date, known?: Zone): string {
  const seconds = Math.round((end.getTime() - now.getTime()) / 1000)
  const zone = known?.offset === end.getTimezoneOffset() ? known : zoneOf(end)
  const clock = `${two(end.getHours())}:${two(end.getMinutes())} ${zone.name}`
  const date = `${end.getFullYear()}-${two(end.getMonth() + 1)}-${two(end.getDate())} `
  const day = end.toDateString() === now.toDateString() ? '' : date
  return seconds <= 0 ? `ended ${span(-seconds)} ago, ${day}${clock}` : `in ${span(seconds)}, ${day}${clock}`
}

const two = (n: number): string => String(n).padStart(2, '0')

/** The local zone as it is at that time. */
export const zoneOf = (time: Date): Zone => ({
  offset: time.getTimezoneOffset(),
  name:
    new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' })
      .formatToParts(time)
      .find(part => part.type === 'timeZoneName')?.value ?? '',
})

/** Two units at most, rounded down; a minute's precision above a minute. */
export function span(seconds: number): string {
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** Hosts and laptops take certificates from a minute before they were made on: a clock that is further off sees them too early. */
const CLOCK_OFF_MS = 60_000

/** How our clock stands to the server's (`difference`: theirs minus ours, milliseconds), in words; undefined while they agree. */
export const clockWords = (difference: number): string | undefined =>
  Math.abs(difference) <= CLOCK_OFF_MS
    ? undefined
    : `${span(Math.round(Math.abs(difference) / 1000))} ${difference > 0 ? 'behind' : 'ahead of'} the server's`

/** Local date and time with the zone. */
export const local = (time: string | Date): string =>
  `${new Date(time).toLocaleString('sv-SE', { dateStyle: 'short', timeStyle: 'medium' })} ${zoneOf(new Date(time)).name}`
