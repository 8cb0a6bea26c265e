import { expect, it } from 'vitest'
import { inSlices } from './slices.ts'

it('work of a whole fleet lets others have their turn in between', async () => {
  let clock = 0
  const inTurn = inSlices(() => clock)
  const pieces = 100
  let done = 0
  const seen: number[] = []
  const over = Promise.withResolvers<void>()
  const other = () => {
    seen.push(done)
    if (done < pieces) setImmediate(other)
    else over.resolve()
  }
  setImmediate(other)
  await Promise.all(
    Array.from({ length: pieces }, () =>
      inTurn(() => {
        clock++
        done++
      }),
    ),
  )
  await over.promise
  const steps = seen.slice(1).map((count, i) => count - (seen[i] ?? 0))
  expect(Math.max(...steps)).toBeLessThanOrEqual(5)
})
