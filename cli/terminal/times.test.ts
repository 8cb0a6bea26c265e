import { afterEach, describe, expect, it } from 'vitest'
import { until, zoneOf } from './times.ts'

const before = process.env.TZ
afterEach(() => {
  process.env.TZ = before ?? ''
  if (before === undefined) delete process.env.TZ
})
/** Node reads a changed TZ at once. */
const inZone = (zone: string) => {
  process.env.TZ = zone
}
const noon = new Date('2026-11-25T12:00:00Z')

describe('an end, as a person reads it', () => {
  it('is local time with its zone, and how long from now', () => {
    inZone('Europe/Berlin')
    expect(until(new Date('2026-11-25T17:05:00Z'), noon)).toBe('in 5 h 5 min, 18:05 CET')
    expect(until(new Date('2026-11-25T11:59:00Z'), noon)).toBe('ended 1 min ago, 12:59 CET')
  })
  it('names the day where it is another one', () => {
    inZone('UTC')
    expect(until(new Date('2026-11-26T00:30:00Z'), noon)).toBe('in 12 h 30 min, 2026-11-26 00:30 UTC')
  })
  it('takes a name from before only where it is the same zone', () => {
    inZone('Europe/Berlin')
    const kept = { ...zoneOf(noon), name: 'kept' }
    expect(until(new Date('2026-11-25T17:05:00Z'), noon, kept)).toContain('18:05 kept')
    expect(until(new Date('2026-07-01T17:05:00Z'), noon, kept)).toContain('19:05 CEST')
    inZone('America/New_York')
    expect(until(new Date('2026-11-25T17:05:00Z'), noon, kept)).not.toContain('kept')
  })
})
