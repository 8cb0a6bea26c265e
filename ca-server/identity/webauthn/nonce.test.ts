import fc from 'fast-check'
import { expect, it } from 'vitest'
import { makeNonce, readNonce } from './nonce.ts'

const key = new Uint8Array(32).fill(1)
const ten = fc.uint8Array({ minLength: 10, maxLength: 10 })

it('a nonce of a ceremony is known again with its time, for its purpose and subject alone', () => {
  const at = fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(2 ** 48 - 1) })
  fc.assert(
    fc.property(fc.string(), fc.string(), at, ten, fc.string(), (purpose, subject, time, random, other) => {
      const nonce = makeNonce(key, { purpose, subject, at: time, random })
      expect(nonce).toHaveLength(32)
      expect(readNonce(key, nonce, { purpose, subject })).toEqual(time)
      if (other !== subject) expect(readNonce(key, nonce, { purpose, subject: other })).toBe(undefined)
      if (other !== purpose) expect(readNonce(key, nonce, { purpose: other, subject })).toBe(undefined)
    }),
  )
})

it('a nonce of another key, with a bit changed, or of another length is none', () => {
  const about = { purpose: 'sign-in', subject: 'pages' }
  const nonce = makeNonce(key, { ...about, at: new Date(1e12), random: new Uint8Array(10) })
  expect(readNonce(new Uint8Array(32), nonce, about)).toBe(undefined)
  expect(readNonce(key, nonce.subarray(1), about)).toBe(undefined)
  for (let bit = 0; bit < 256; bit++) {
    const changed = nonce.slice()
    changed.set([(changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))], bit >> 3)
    expect(readNonce(key, changed, about)).toBe(undefined)
  }
})
