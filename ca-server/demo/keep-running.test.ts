import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { keepRunning, type Program } from './keep-running.ts'

const folder = mkdtempSync(join(tmpdir(), 'keyman-keep-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Says so in its log file, and ends at once or stays. */
const program = (name: string, stays: boolean): Program => ({
  name,
  command: process.execPath,
  args: ['-e', `console.log('here')${stays ? '; setInterval(() => {}, 1000)' : ''}`],
  env: process.env,
  logFile: join(folder, `${name}.log`),
  pidFile: join(folder, `${name}.pid`),
})

describe('a program that is kept running', () => {
  it('is started again once that is possible, where it was not meanwhile: a full disk, say', async () => {
    const said: string[] = []
    const one = program('again', false)
    const aside = () => {
      rmSync(one.logFile, { force: true })
      mkdirSync(one.logFile)
    }
    const kept = keepRunning(one, line => {
      said.push(line)
      // After its first end nothing can be opened, until that was said.
      if (said.length === 1) aside()
      if (/could not be started/.test(line)) rmdirSync(one.logFile)
    })
    await expect
      .poll(() => said.slice(0, 3), { timeout: 30_000 })
      .toEqual([
        expect.stringMatching(/again ended \(code 0\)/),
        expect.stringMatching(/again could not be started \(EISDIR/),
        expect.stringMatching(/again ended \(code 0\)/),
      ])
    await kept.stop()
    expect(readFileSync(one.logFile, 'utf8')).toContain('here')
  })

  it('runs although it could not be written down, which is said, and is ended with the others', async () => {
    const said: string[] = []
    const one = program('unwritten', true)
    mkdirSync(one.pidFile)
    const kept = keepRunning(one, line => said.push(line))
    expect(said).toEqual([expect.stringMatching(/unwritten could not be written down \(EISDIR/)])
    await expect.poll(() => readFileSync(one.logFile, 'utf8'), { timeout: 30_000 }).toContain('here')
    await kept.stop()
  })
})
