import { describe, expect, it } from 'vitest'
import { printable } from './names.ts'
import { shown } from './text.ts'

describe('foreign text that is shown', () => {
  it.each([
    ['a control sequence', 'a\u001b[31mb\u009b1m', 'a\\u001b[31mb\\u009b1m'],
    ['lines, tabs and a bell', 'a\nb\r\u0007\t\0\u007f', 'a\\u000ab\\u000d\\u0007\\u0009\\u0000\\u007f'],
    ['separators of lines', 'a\u2028\u2029\u0085', 'a\\u2028\\u2029\\u0085'],
    ['a change of direction', '\u202e\u2066\u200f\u061c', '\\u202e\\u2066\\u200f\\u061c'],
    ['invisible characters', '\u200b\u2060\ufeff\u00ad\u{e0041}', '\\u200b\\u2060\\ufeff\\u00ad\\udb40\\udc41'],
  ])('has %s escaped', (_, text, safe) => {
    expect(shown(text)).toBe(safe)
    expect(shown(safe)).toBe(safe)
  })

  it('is else left as it is', () => {
    const text = 'grüße, 値 "a\\b" … – ✓ 🔑'
    expect(shown(text)).toBe(text)
  })

  it('stays JSON where it was, with the same value', () => {
    const value = 'a\u009b\u202e\u{e0041}'
    expect(JSON.parse(shown(JSON.stringify(value)))).toBe(value)
  })

  it('in a refusal stands in quotes as well, and is cut', () => {
    expect(printable('a"\u001b\u202e')).toBe('"a\\"\\u001b\\u202e"')
    expect(printable('x'.repeat(100))).toBe(`"${'x'.repeat(64)}…"`)
  })
})
