import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { MAX_AGE_MS, makeRecorded } from './recorded.ts'

describe('what was recorded', () => {
  it('is given for signing once', () => {
    const recorded = makeRecorded('body', 7n, performance.now())
    expect(recorded.take()).toBe('body')
    expect(() => recorded.take()).toThrow('record 7 was taken for signing before')
  })

  it(`is not given once it is older than ${MAX_AGE_MS / 1000} seconds, then or later`, () => {
    const old = makeRecorded('body', 7n, performance.now() - MAX_AGE_MS - 1)
    expect(() => old.take()).toThrow('too old to be signed')
    expect(() => old.take()).toThrow()
    expect(makeRecorded('body', 7n, performance.now() - MAX_AGE_MS / 2).take()).toBe('body')
  })

  it('shows no body to whoever prints it', () => {
    expect(inspect(makeRecorded('secret body', 7n, 0), { showHidden: true, depth: 9 })).not.toContain('secret body')
  })
})
