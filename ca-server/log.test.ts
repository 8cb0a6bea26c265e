import { expect, it } from 'vitest'
import { KeymanError } from '#shared/errors.ts'
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

it("an error of ours says what to do, and not its driver's words", () => {
  const driver = Object.assign(new Error('CKR_PIN_INCORRECT:160'), { code: 160 })
  const ours = new KeymanError('denied', 'the token refused the PIN', { hint: 'see keystore.pin_file', cause: driver })
  const lines: string[] = []
  const log = createLog({ write: text => lines.push(text) })
  log.error('the check of the keystore fails', new KeymanError('unavailable', 'the keystore is away', { cause: ours }))
  log.error('a job failed', new Error('of no room', { cause: driver }))
  expect(lines.map(line => JSON.parse(line).reason)).toEqual([
    'the keystore is away; because: the token refused the PIN (see keystore.pin_file)',
    'of no room; because: CKR_PIN_INCORRECT:160',
  ])
})
