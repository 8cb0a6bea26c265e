import { describe, expect, it } from 'vitest'
import { batched, shared } from './together.ts'

describe('a call shared by those who ask at the same time', () => {
  it('answers nobody with what was read before it was asked for', async () => {
    let now = 'old'
    let calls = 0
    const gates: (() => void)[] = []
    const ask = shared(async () => {
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

  it('asks again after a failure', async () => {
    let calls = 0
    const ask = shared(async () => {
      if (++calls === 1) throw new Error('away')
      return calls
    })
    await expect(ask()).rejects.toThrow('away')
    expect(await ask()).toBe(2)
  })
})

describe('a batch', () => {
  it('takes together what is handed in together, never more than it may, and keeps the order', async () => {
    const sizes: number[] = []
    const double = batched(async (items: readonly number[]) => {
      sizes.push(items.length)
      return items.map(item => item * 2)
    }, 4)
    const items = Array.from({ length: 10 }, (_, i) => i)
    expect(await Promise.all(items.map(double))).toEqual(items.map(i => i * 2))
    expect(sizes).toEqual([4, 4, 2])
  })

  it('fails for those in it alone', async () => {
    let calls = 0
    const call = batched(async (items: readonly string[]) => {
      if (++calls === 1) throw new Error('away')
      return items
    }, 2)
    const results = await Promise.allSettled(['a', 'b', 'c'].map(call))
    expect(results.map(result => result.status)).toEqual(['rejected', 'rejected', 'fulfilled'])
  })
})
