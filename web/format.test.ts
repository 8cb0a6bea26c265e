import { describe, expect, it } from 'vitest'
import { duration, groups, localTime, sentence } from './format.ts'

describe('what the pages write', () => {
  it('says a lifetime in its two largest units', () => {
    expect(duration(8 * 3600)).toBe('8 hours')
    expect(duration(5400)).toBe('1 hour 30 minutes')
    expect(duration(86_400 + 3600 + 60)).toBe('1 day 1 hour')
  })
  it('writes times as the person does, with the zone', () => {
    const time = '2026-07-01T22:30:00Z'
    expect(localTime(time, 'en-US', 'America/New_York')).toBe('Jul 1, 2026, 6:30 PM EDT')
    expect(localTime(time, 'de-DE', 'Europe/Berlin')).toBe('2. Juli 2026, 00:30 MESZ')
  })
  it('makes sentences of what the server says, and leaves names as they are', () => {
    expect(sentence('the code is not known')).toBe('The code is not known.')
    expect(sentence('ask for a new one; on a new server a restart prints one')).toMatch(/^Ask .*one\.$/)
    for (const name of ['alice@example.com is disabled.', 'keyman login starts it.', 'identity: must be one.', 'Done.'])
      expect(sentence(name)).toBe(name)
  })
  it('groups a fingerprint without losing a character', () => {
    const fingerprint = 'SHA256:uNiVztksCsDhcc0u9e8BrjdEQnDxTcWQ0mKNyoXvpSg'
    expect(groups(fingerprint).join('')).toBe(fingerprint)
    expect(groups(fingerprint)[0]).toBe('SHA256:')
    expect(groups('00ff')).toEqual(['00ff'])
  })
})
