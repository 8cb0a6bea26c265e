import { expect, it } from 'vitest'
import { createLog } from './log.ts'

it("the agent's log escapes control, bidirectional and invisible characters, and leaves the rest", () => {
  let said = ''
  const log = createLog(
    line => {
      said += line
    },
    () => new Date(0),
  )
  log.warn('a\u001b[31m\nb\u009b\u200b\u202e\u2066\ufeffé…')
  expect(said).toBe('1970-01-01T00:00:00.000Z warn a\\u001b[31m\\u000ab\\u009b\\u200b\\u202e\\u2066\\ufeffé…\n')
})
