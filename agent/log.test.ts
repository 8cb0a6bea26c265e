import { expect, it } from 'vitest'
import { createLog } from './log.ts'

it("the agent's log says one line at a time, with foreign text escaped", () => {
  let said = ''
  const log = createLog(
    line => {
      said += line
    },
    () => new Date(0),
  )
  log.warn('a\u001b[31m\nbé…')
  expect(said).toBe('1970-01-01T00:00:00.000Z warn a\\u001b[31m\\u000abé…\n')
})
