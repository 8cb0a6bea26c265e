import { expect, it } from 'vitest'
import { insist } from './insist.ts'

it('what could not be read is read again until it could, and not after the end', async () => {
  const done = Promise.withResolvers<void>()
  const errors: unknown[] = []
  let tried = 0
  const reading = insist(
    async () => {
      if (++tried < 3) throw new Error('the database is away')
      done.resolve()
    },
    error => errors.push(error),
    1,
  )
  reading.run()
  await done.promise
  expect({ tried, errors: errors.length }).toEqual({ tried: 3, errors: 2 })
  reading.stop()
  reading.run()
  expect(tried).toBe(3)
})
