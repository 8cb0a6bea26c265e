import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { logFile } from './log-file.ts'

let folder: string
let path: string
let stop: AbortController
let read: { message: string; cursor: string }[]
let said: string[]
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-log-'))
  path = join(folder, 'sshd.log')
  read = []
  said = []
  stop = new AbortController()
})
afterEach(() => {
  stop.abort()
  rmSync(folder, { recursive: true, force: true })
})
const follow = (after?: string) => {
  stop.abort()
  stop = new AbortController()
  logFile(path, message => void said.push(message)).follow(
    after,
    ({ message, cursor }) => void read.push({ message, cursor }),
    stop.signal,
  )
}
const messages = () => read.map(({ message }) => message)
const reads = (...all: string[]) => expect.poll(messages, { timeout: 10_000 }).toEqual(all)

describe("a log file of sshd's own", () => {
  it('is read from now on, line by line, a line when it is whole', async () => {
    writeFileSync(path, 'old\n')
    follow()
    appendFileSync(path, 'one\ntwo\nthr')
    await reads('one', 'two')
    appendFileSync(path, 'ee\n')
    await reads('one', 'two', 'three')
  })

  it('is read on where it was left, also what came meanwhile; and once', async () => {
    writeFileSync(path, '')
    follow()
    appendFileSync(path, 'one\ntwo\n')
    await reads('one', 'two')
    const [first] = read
    stop.abort()
    appendFileSync(path, 'three\n')
    read = []
    follow(first?.cursor)
    await reads('two', 'three')
  })

  it('is read from its beginning where another is in its place, or it was cut', async () => {
    writeFileSync(path, 'old\n')
    follow()
    renameSync(path, `${path}.1`)
    writeFileSync(path, 'new\n')
    await reads('new')
    truncateSync(path, 0)
    appendFileSync(path, 'x\n')
    await reads('new', 'x')
  })

  it('may come later, or go', async () => {
    follow()
    writeFileSync(path, 'first\n')
    await reads('first')
    rmSync(path)
    writeFileSync(path, 'again\n')
    await reads('first', 'again')
  })

  it('that can not be read is said once, and read when it can be', async () => {
    mkdirSync(path)
    follow('another:0')
    await expect.poll(() => said.length, { timeout: 10_000 }).toBe(1)
    expect(said[0]).toContain('can not be read, so nobody hears who logs in')
    rmSync(path, { recursive: true })
    writeFileSync(path, 'one\n')
    await reads('one')
  })

  it('with a line without an end takes no memory, and the next line is read', async () => {
    writeFileSync(path, '')
    follow()
    appendFileSync(path, 'x'.repeat(1_000_000))
    appendFileSync(path, '\nshort\n')
    await expect.poll(() => messages().at(-1), { timeout: 10_000 }).toBe('short')
    expect(Math.max(...messages().map(({ length }) => length))).toBeLessThan(100_000)
  })
})
