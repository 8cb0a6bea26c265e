/** Pure: times as people read them: `in 7 h 40 min, 18:05 CET`. */
export function until(end: Date, now: Date): string {
  const seconds = Math.round((end.getTime() - now.getTime()) / 1000)
  const clock = end.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', timeZoneName: 'short' })
  const day = end.toDateString() === now.toDateString() ? '' : `${end.toLocaleDateString('en-CA')} `
  return seconds <= 0 ? `ended ${span(-seconds)} ago, ${day}${clock}` : `in ${span(seconds)}, ${day}${clock}`
}

/** Two units at most, rounded down; a minute's precision above a minute. */
export function span(seconds: number): string {
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** Local date and time with the zone. */
export const local = (time: string | Date): string =>
  `${new Date(time).toLocaleString('sv-SE', { dateStyle: 'short', timeStyle: 'medium' })} ${zone(new Date(time))}`

const zone = (time: Date): string =>
  new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' })
    .formatToParts(time)
    .find(part => part.type === 'timeZoneName')?.value ?? ''
