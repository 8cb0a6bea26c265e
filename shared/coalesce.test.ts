import { describe, expect, it } from 'vitest'
import { coalesce } from './coalesce.ts'

describe('a call shared by those who ask at the same time', () => {
  it('answers nobody with what was read before it was asked for', async () => {
    let now = 'old'
    let calls = 0
    const gates: (() => void)[] = []
    const ask = coalesce(async () => {
      calls++
      const read = now
      await new Promise<void>(resolve => gates.push(resolve))
      return read
    })
    const first = ask()
    now = 'new'
    const second = ask()
    const third = ask()
    gates.shift()?.()
    expect(await first).toBe('old')
    await expect.poll(() => gates.length).toBe(1)
    gates.shift()?.()
    expect(await second).toBe('new')
    expect(await third).toBe('new')
    expect(calls).toBe(2)
  })

  it('asks again after a failure, for those too who were waiting while it failed', async () => {
    let calls = 0
    const ask = coalesce(async () => {
      if (++calls === 1) throw new Error('away')
      return calls
    })
    const first = ask()
    const second = ask()
    await expect(first).rejects.toThrow('away')
    expect(await second).toBe(2)
    expect(await ask()).toBe(3)
  })
})
