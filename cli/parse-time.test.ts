import { afterEach, describe, expect, it } from 'vitest'
import { parseTimeToCome } from './parse-time.ts'

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
