import { afterEach, describe, expect, it } from 'vitest'
import { parseTimeBefore, parseTimeToCome } from './parse-time.ts'

const before = process.env.TZ
afterEach(() => {
  process.env.TZ = before ?? ''
  if (before === undefined) delete process.env.TZ
})

const now = new Date('2026-11-25T12:00:00Z')
const parsed = (text: string) => parseTimeToCome(text, '--ends', now)

describe('a time to come', () => {
  it('18:00 is the next such time here, today or tomorrow', () => {
    process.env.TZ = 'Europe/Berlin'
    expect(parsed('18:00')).toBe('2026-11-25T17:00:00.000Z')
    expect(parsed('9:30')).toBe('2026-11-26T08:30:00.000Z')
    // Now is no time to come.
    expect(parsed('13:00')).toBe('2026-11-26T12:00:00.000Z')
  })
  it('keeps the time of the clock where summer time ends over night', () => {
    process.env.TZ = 'Europe/Berlin'
    const evening = new Date('2026-10-24T18:00:00Z')
    expect(parseTimeToCome('18:00', '--ends', evening)).toBe('2026-10-25T17:00:00.000Z')
  })
  it('is RFC 3339 or a duration else', () => {
    expect(parsed('2026-12-31T18:00:00+01:00')).toBe('2026-12-31T17:00:00.000Z')
    expect(parsed('30d')).toBe('2026-12-25T12:00:00.000Z')
  })
  it('refuses by the flag what is over, and what is no time', () => {
    expect(() => parsed('2020-01-31T18:00:00Z')).toThrow(/^--ends: 2020-01-31T18:00:00Z is over already$/)
    for (const text of ['24:00', '18:60', '6pm', 'tomorrow', '2026-12-31', '2026-13-01T00:00:00Z', '-1d', ''])
      expect(() => parsed(text), text).toThrow(/^--ends: ".*" is neither a time/)
  })
})

describe('a time before', () => {
  const parsed = (text: string) => parseTimeBefore(text, '--since', now)
  it('18:00 is the last such time here, a day its beginning here, 7d how long ago', () => {
    process.env.TZ = 'Europe/Berlin'
    expect(parsed('18:00')).toBe('2026-11-24T17:00:00.000Z')
    expect(parsed('9:30')).toBe('2026-11-25T08:30:00.000Z')
    expect(parsed('2026-07-01')).toBe('2026-06-30T22:00:00.000Z')
    expect(parsed('7d')).toBe('2026-11-18T12:00:00.000Z')
    expect(parsed('2026-11-25T12:00:00+01:00')).toBe('2026-11-25T11:00:00.000Z')
  })
  it.each(['yesterday', '2026-13-01', '-1d', '25:00', ''])('is refused where it is none: %j', text => {
    expect(() => parsed(text)).toThrow('--since: ')
  })
})
