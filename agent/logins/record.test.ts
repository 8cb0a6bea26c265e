import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseLogin } from '#shared/names.ts'
import { fastFolder } from '#test/support/fast-folder.ts'
import { LoginRecord, MOST_PENDING } from './record.ts'

let folder: string
const warnings: string[] = []
const open = () => new LoginRecord(folder, message => void warnings.push(message))
beforeEach(() => {
  folder = fastFolder('keyman-logins-')
  warnings.length = 0
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))
const file = () => join(folder, 'logins.jsonl')

let port = 0
const login = () => ({
  ...{ at: '2026-11-30T10:00:00.000Z', login: parseLogin('deploy', 'test'), address: '192.0.2.7' },
  ...{ port: (port++ % 60_000) + 1, by: { method: 'password' as const } },
})
const told = (record: LoginRecord) => ({
  id: record.id,
  cursor: record.cursor,
  ended: record.ended,
  open: record.open,
  pending: record.pending,
})

describe('the record of logins', () => {
  it('is the same after each start, whatever happened and in which order', () => {
    const step = fc.constantFrom('open', 'close', 'sent', 'ended', 'read', 'restart')
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), steps => {
        rmSync(file(), { force: true })
        let record = open()
        let order = 0n
        for (const [i, what] of steps.entries()) {
          const [first] = record.open
          if (what === 'open') record.opened(login(), `cursor ${i}`)
          else if (what === 'close' && first) record.closed(first, new Date(), i % 2 === 0 ? BigInt(i) : undefined)
          else if (what === 'sent') record.sent(record.pending.at(Math.floor(record.pending.length / 2))?.number ?? 0)
          else if (what === 'ended') record.setEnded(++order)
          else if (what === 'restart') {
            record.keepCursor()
            const before = told(record)
            record = open()
            expect(told(record)).toEqual(before)
          }
          const numbers = record.pending.map(({ number }) => number)
          expect(numbers).toEqual(numbers.map((_, n) => (numbers[0] ?? 0) + n))
        }
        const before = told(record)
        expect(told(open())).toEqual(before)
      }),
      { numRuns: 60 },
    )
  })

  it('passes over a line that was cut off, and goes on behind it', () => {
    const record = open()
    record.opened(login(), 'a')
    record.opened(login(), 'b')
    const whole = readFileSync(file()).length
    truncateSync(file(), whole - 20)
    const after = open()
    expect([after.cursor, after.open.length, after.pending.length]).toEqual(['a', 1, 1])
    appendFileSync(file(), '{"event":\nnot json\n')
    expect(open().pending.length).toBe(1)
    expect(after.opened(login(), 'b').number).toBe(2)
  })

  it('is for its owner only', () => {
    open().opened(login(), 'a')
    expect(statSync(file()).mode & 0o777).toBe(0o600)
  })

  it('keeps in memory what cannot be written, says so once, and writes all of it when it can be', () => {
    const record = open()
    rmSync(folder, { recursive: true })
    record.opened(login(), 'a')
    record.opened(login(), 'b')
    expect(record.pending.length).toBe(2)
    expect(warnings).toEqual([expect.stringContaining('could not be written')])
    mkdirSync(folder)
    record.opened(login(), 'c')
    expect(told(open())).toEqual(told(record))
    expect(record.pending.length).toBe(3)
  })

  it('begins, and warns, where it cannot be written at all', () => {
    const record = new LoginRecord(join(folder, 'missing'), message => void warnings.push(message))
    expect(warnings).toEqual([expect.stringContaining('could not be written')])
    expect(record.opened(login(), 'a').number).toBe(1)
  })

  it('keeps the newest ten thousand for a server that is away, and numbers show what is missing', {
    timeout: 120_000,
  }, () => {
    const record = open()
    for (let i = 0; i < MOST_PENDING + 5; i++) {
      const opened = record.opened(login(), String(i))
      if (i < 5) record.closed(opened, new Date())
    }
    expect(record.pending.length).toBe(MOST_PENDING)
    expect(record.pending[0]?.number).toBe(11)
    expect(open().pending).toEqual(record.pending)
  })
})
