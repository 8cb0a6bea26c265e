import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { takeTurn } from './turn.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-turn-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Another process that has the turn and keeps it. */
async function holder(path: string): Promise<ChildProcess> {
  const module = JSON.stringify(new URL('./turn.ts', import.meta.url).href)
  const program = `import { takeTurn } from ${module}
    await takeTurn(${JSON.stringify(path)}, 5000, () => { console.log('mine'); return new Promise(() => setInterval(() => 0, 1000)) })`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise(resolve => child.stdout.once('data', resolve))
  return child
}

describe('a turn', () => {
  it('is taken by one at a time, and everybody gets it', async () => {
    const path = join(folder, 'many.lock')
    let inside = 0
    let most = 0
    const done = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        takeTurn(path, 30_000, async () => {
          most = Math.max(most, ++inside)
          await new Promise(resolve => setImmediate(resolve))
          inside--
          return i
        }),
      ),
    )
    expect(done).toEqual(Array.from({ length: 20 }, (_, i) => i))
    expect(most).toBe(1)
  })
  it('does not come while another process has it', async () => {
    const path = join(folder, 'held.lock')
    const child = await holder(path)
    let worked = false
    expect(
      await takeTurn(path, 200, async () => {
        worked = true
      }),
    ).toBeUndefined()
    expect(worked).toBe(false)
    child.kill('SIGKILL')
  })
  it('says that it waits, only where it does', async () => {
    const path = join(folder, 'waits.lock')
    const said: string[] = []
    await takeTurn(
      path,
      5000,
      async () => undefined,
      () => said.push('free'),
    )
    const child = await holder(path)
    const turn = takeTurn(
      path,
      20_000,
      async () => 'mine',
      () => {
        said.push('waits')
        child.kill('SIGKILL')
      },
    )
    expect(await turn).toBe('mine')
    expect(said).toEqual(['waits'])
  })
  it('comes at once when the holder is killed, without anybody clearing up', async () => {
    const path = join(folder, 'killed.lock')
    const child = await holder(path)
    const mine = takeTurn(path, 30_000, async () => 'mine')
    child.kill('SIGKILL')
    expect(await mine).toBe('mine')
    expect(existsSync(path)).toBe(true)
  })
  it('is given back when the work fails', async () => {
    const path = join(folder, 'failed.lock')
    await expect(takeTurn(path, 1000, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await takeTurn(path, 5000, async () => 'next')).toBe('next')
  })
})
