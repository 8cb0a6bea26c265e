/** Pure: how the pages write durations, times and fingerprints. */

/** Seconds as a person says them: `8 hours`, `1 hour 30 minutes`. */
export function duration(seconds: number, locale = 'en'): string {
  const parts: [number, 'day' | 'hour' | 'minute' | 'second'][] = [
    [Math.floor(seconds / 86_400), 'day'],
    [Math.floor((seconds % 86_400) / 3600), 'hour'],
    [Math.floor((seconds % 3600) / 60), 'minute'],
    [Math.floor(seconds % 60), 'second'],
  ]
  return parts
    .filter(([n]) => n > 0)
    .slice(0, 2)
    .map(([n, unit]) => new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'long' }).format(n))
    .join(' ')
}

/** RFC 3339 to local time as the person writes it, with its zone. */
export const localTime = (time: string, locale?: string, timeZone?: string): string =>
  new Date(time).toLocaleString(locale, {
    ...{ year: 'numeric', month: 'short', day: 'numeric', hour: 'numeric', minute: '2-digit' },
    timeZoneName: 'short',
    timeZone,
  })

/** A remark of the server as a sentence like ours. What is a name of something stays as it is. */
export const sentence = (text: string): string => {
  const begun =
    /^[a-z]+[ ,']/.test(text) && !/^keyman /.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text
  return /[.?!:]$/.test(begun) ? begun : `${begun}.`
}

/** `SHA256:` kept, then groups of four: easier to compare by eye. Copying is the whole text all the same. */
export function groups(fingerprint: string): string[] {
  const [, prefix = '', rest = ''] = /^(SHA256:)?(.*)$/.exec(fingerprint) ?? []
  return [...(prefix ? [prefix] : []), ...(rest.match(/.{1,4}/g) ?? [])]
}

/** What a server calls its organisation that was told no name: it says nothing to anybody. */
export const NAMELESS = 'local'
export const organisationName = (organisation: string): string => (organisation === NAMELESS ? 'KeyMan' : organisation)
