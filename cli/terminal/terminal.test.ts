import { describe, expect, it } from 'vitest'
import { lines, shown, table } from './terminal.ts'
import { span, until } from './times.ts'

describe('foreign text on a terminal', () => {
  it('has its control, bidirectional and invisible characters escaped', () => {
    expect(shown('a\u001b[31mb')).toBe('a\\u001b[31mb')
    expect(shown('a\nb\r\u0007')).toBe('a\\u000ab\\u000d\\u0007')
    expect(shown('user\u202etxt\u200b\u009b')).toBe('user\\u202etxt\\u200b\\u009b')
  })
  it('is else left as it is', () => {
    expect(shown('grüße 値')).toBe('grüße 値')
  })
})

describe('whatever is printed', () => {
  it('keeps its lines, tabs and our own colours, and no other sequence', () => {
    expect(lines('a\n\tb\u001b[1mbold\u001b[0m')).toBe('a\n\tb\u001b[1mbold\u001b[0m')
    expect(lines('\u001b[2J\u001b]0;title\u0007\r\u009b1m\u202e')).toBe(
      '\\u001b[2J\\u001b]0;title\\u0007\\u000d\\u009b1m\\u202e',
    )
  })
})

describe('a table', () => {
  const rows = [
    ['web1', 'connected'],
    ['a-long-name', 'away'],
  ]
  it('stands in columns, without blanks at the end of a line', () => {
    expect(table(['HOST', 'STATE'], rows)).toBe('HOST         STATE\nweb1         connected\na-long-name  away')
  })
  it('is never cut into a pipe', () => {
    expect(table(['HOST', 'STATE'], rows, { columns: undefined })).toContain('a-long-name  away')
  })
  it('is cut on a terminal, or goes on below where what would be cut matters', () => {
    const grants = [['grant_1', 'from 192.0.2.0/24 alone, for the command "/bin/backup" alone']]
    expect(table(['GRANT', 'OPTIONS'], grants, { columns: 40 })).toBe(
      'GRANT    OPTIONS\ngrant_1  from 192.0.2.0/24 alone, for t…',
    )
    expect(table(['GRANT', 'OPTIONS'], grants, { columns: 40, wraps: true })).toBe(
      'GRANT    OPTIONS\ngrant_1  from 192.0.2.0/24 alone, for\n         the command "/bin/backup" alone',
    )
    expect(table(['A', 'B'], [['x'.repeat(30), 'one two three']], { columns: 34, wraps: true })).toBe(
      `A${' '.repeat(31)}B\n${'x'.repeat(30)}\n    one two three`,
    )
  })
  it('holds no escape sequence of a cell', () => {
    expect(table(['A'], [['\u001b[2J']])).toBe('A\n\\u001b[2J')
  })
})

describe('times', () => {
  const now = new Date('2026-11-25T10:00:00Z')
  it('say how long, and when', () => {
    expect(until(new Date('2026-11-25T17:40:00Z'), now)).toMatch(/^in 7 h 40 min, .*[0-9]{2}:[0-9]{2} \S+$/)
    expect(until(new Date('2026-11-25T09:58:00Z'), now)).toMatch(/^ended 2 min ago, /)
  })
  it('have two units at most, rounded down', () => {
    expect([5, 59, 60, 3599, 3600, 28_799, 86_400, 172_800, 180_000].map(span)).toEqual([
      '5 s',
      '59 s',
      '1 min',
      '59 min',
      '1 h',
      '7 h 59 min',
      '24 h',
      '2 d 0 h',
      '2 d 2 h',
    ])
  })
})
