import { expect, it } from 'vitest'
import { createLog } from './log.ts'

const hostile = 'the disk is full\u001b]0;owned\u0007\nerror: all is well\u202e'
const written = (isTTY: boolean) => {
  const lines: string[] = []
  const log = createLog({ isTTY, write: text => lines.push(text) })
  log.error(`ALARM: ${hostile}`)
  log.info('stopping', { signal: hostile })
  return lines
}

it('says when, to whoever reads along at a terminal too', () => {
  const lines: string[] = []
  const log = createLog({ isTTY: true, write: text => lines.push(text) }, () => new Date(2026, 10, 9, 8, 7, 6))
  log.error('the keystore is away')
  expect(lines).toEqual(['2026-11-09 08:07:06 error: the keystore is away\n'])
})

it.each([true, false])('what a host says stays one line without control characters (on a terminal: %s)', isTTY => {
  const lines = written(isTTY)
  expect(lines).toHaveLength(2)
  for (const line of lines) expect(line).toMatch(/^[^\u0000-\u001f\u007f-\u009f]*\n$/)
})
