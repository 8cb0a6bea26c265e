import { describe, expect, it } from 'vitest'
import { whyNot } from './why-not.ts'

const NOT_SAID = 'The operation either timed out or was not allowed. See: https://www.w3.org/TR/webauthn-2/.'
const LOCK =
  'The specified `userVerification` requirement cannot be fulfilled by this device unless the device is secured with a screen lock.'

describe('why a passkey was not used', () => {
  it.each([
    ['InvalidStateError', '', 'known'],
    ['NotAllowedError', NOT_SAID, 'not-said'],
    ['NotAllowedError', LOCK, 'no-verification'],
    ['NotAllowedError', 'the page does not have focus', 'no-focus'],
    ['ConstraintError', '', 'no-verification'],
    ['NotSupportedError', 'Resident credentials or empty lists are not supported', 'cannot-keep'],
    ['QuotaExceededError', '', 'no-room'],
    ['SecurityError', '', 'wrong-address'],
    ['AbortError', '', 'another'],
    ['OperationError', 'A request is already pending.', 'another'],
    ['NotReadableError', 'An unknown error occurred', 'device'],
  ])('%s (%s) is told as %s, with a next step', (name, message, code) => {
    const told = whyNot({ name, message })
    expect(told.code).toBe(code)
    expect(told.hint.length).toBeGreaterThan(20)
    // Only where the browser keeps the reason to itself may it be that somebody cancelled.
    expect(/cancelled|too long/.test(`${told.detail} ${told.hint}`)).toBe(code === 'not-said')
  })

  it('that nobody knows is told by its name', () => {
    expect(whyNot({ name: 'StrangeError', message: '' })).toMatchObject({
      code: 'unknown',
      detail: expect.stringContaining('StrangeError'),
    })
  })
})
