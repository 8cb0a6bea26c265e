import { describe, expect, it } from 'vitest'
import { normalise } from './binding.ts'
import { CKR } from './constants.ts'
import { meaningOf } from './in-words.ts'

const failed = (code: number) => normalise(Object.assign(new Error('CKR_SOMETHING'), { code }), 'making the key a')

describe("a PKCS#11 module's answer", () => {
  it('is told in words, with the number for manuals, and what to do', () => {
    const { message, hint } = failed(0x31)
    expect(message).toBe('the token is full (making the key a, CK_RV 0x31)')
    expect(hint).toContain('remove keys')
  })

  it.each([0x21, 0x62, 0x63, 0x70, 0x71, 0x130, 0x140])('0x%s refuses an algorithm: the setting is named', code => {
    expect(failed(code)).toMatchObject({
      hint: expect.stringContaining('authority.algorithm'),
      fields: [{ field: 'algorithm' }],
    })
  })

  it('names no name of the header in any of its words, and has a next step for every code that the keystore knows', () => {
    for (const code of [...Object.values(CKR), 2, 6, 7, 10, 49, 84, 104, 145, 163, 177, 181, 208, 259, 320, 512]) {
      const { what, hint } = meaningOf(code)
      expect(what + hint).not.toMatch(/CKR?_|0x/)
      expect(hint.length).toBeGreaterThan(10)
    }
  })

  it('of no known code says so, and where it came from', () => {
    expect(failed(0x3333).message).toMatch(/a code that KeyMan does not know.*CK_RV 0x3333/)
    expect(failed(0x8000_0123)).toMatchObject({
      message: expect.stringContaining("a code of its vendor's"),
      hint: expect.stringContaining("vendor's manual"),
    })
    expect(normalise(new Error('no code at all'), 'x').message).toMatch('in a way that PKCS#11 does not know')
  })
})
