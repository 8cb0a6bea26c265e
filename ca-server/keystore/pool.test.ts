import { describe, expect, it } from 'vitest'
import { createPool } from './pool.ts'

/** Work that ends when it is told to. */
const held = () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { work: () => promise, end: () => resolve() }
}
const turn = () => new Promise(resolve => setImmediate(resolve))

describe('a pool', () => {
  it('gives each lane to one at a time, in the order in which they came', async () => {
    const pool = createPool(['a', 'b'])
    const busy = new Set<string>()
    const order: number[] = []
    await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        pool.run(async lane => {
          expect(busy.has(lane)).toBe(false)
          busy.add(lane)
          order.push(n)
          await turn()
          busy.delete(lane)
        }),
      ),
    )
    expect(order).toEqual(Array.from({ length: 50 }, (_, n) => n))
  })

  it('refuses beyond its bound, but not what had its turn already', async () => {
    const pool = createPool(['a'], 2)
    const first = held()
    const all = [pool.run(first.work), pool.run(async () => 1), pool.run(async () => 2)]
    expect(pool.waiting).toBe(2)
    await expect(pool.run(async () => 3)).rejects.toMatchObject({ code: 'unavailable', retryAfter: 1 })
    all.push(pool.run(async () => 4, true))
    first.end()
    expect(await Promise.all(all)).toEqual([undefined, 1, 2, 4])
  })

  it('lets nobody wait for ever behind work that hangs', async () => {
    const pool = createPool(['a'], 10, 20)
    const hanging = held()
    const first = pool.run(hanging.work)
    const waiting = await Promise.allSettled([pool.run(async () => 1), pool.run(async () => 2)])
    const refused = { status: 'rejected', reason: { code: 'unavailable', retryAfter: 1 } }
    expect(waiting).toMatchObject([refused, refused])
    expect(pool.waiting).toBe(0)
    hanging.end()
    await first
    expect(await pool.run(async lane => lane)).toBe('a')
  })

  it('gives the lane back where the work throws', async () => {
    const pool = createPool(['a'])
    await expect(pool.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await pool.run(async lane => lane)).toBe('a')
  })

  it('drains for all who ask, starts nothing meanwhile, and goes on with other lanes', async () => {
    const pool = createPool(['old'])
    const running = held()
    const first = pool.run(running.work)
    const drains = Promise.all([pool.drain(), pool.drain()])
    const lanes: string[] = []
    const waiting = pool.run(async lane => lanes.push(lane))
    await turn()
    expect(lanes).toEqual([])
    running.end()
    expect((await drains).flat()).toEqual(['old'])
    await first
    await turn()
    expect(lanes).toEqual([])
    pool.refill(['new'])
    await waiting
    expect(lanes).toEqual(['new'])
  })

  it('refuses those who wait when it is told to', async () => {
    const pool = createPool<string>([])
    const waiting = pool.run(async lane => lane)
    pool.refuseWaiting(new Error('away'))
    await expect(waiting).rejects.toThrow('away')
    expect(pool.waiting).toBe(0)
  })
})
