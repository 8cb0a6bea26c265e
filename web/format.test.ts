import { describe, expect, it } from 'vitest'
import { duration, groups } from './format.ts'

describe('what the pages write', () => {
  it('says a lifetime in its two largest units', () => {
    expect(duration(8 * 3600)).toBe('8 hours')
    expect(duration(5400)).toBe('1 hour 30 minutes')
    expect(duration(86_400 + 3600 + 60)).toBe('1 day 1 hour')
  })
  it('groups a fingerprint without losing a character', () => {
    const fingerprint = 'SHA256:uNiVztksCsDhcc0u9e8BrjdEQnDxTcWQ0mKNyoXvpSg'
    expect(groups(fingerprint).join('')).toBe(fingerprint)
    expect(groups(fingerprint)[0]).toBe('SHA256:')
    expect(groups('00ff')).toEqual(['00ff'])
  })
})
