import { describe, expect, it } from 'vitest'
import { batched } from './together.ts'

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
