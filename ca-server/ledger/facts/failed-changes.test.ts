import { expect, it } from 'vitest'
import type { Queryable, Store } from '#server/store/index.ts'
import type { Entry } from '../entry.ts'
import { FailedChanges } from './failed-changes.ts'

it('a change that failed is recorded before anything else is, however often the database refuses that', async () => {
  const [said, told]: [Entry[], unknown[]] = [[], []]
  let refusals = 1
  const t: Queryable = { query: async () => [], execute: async () => 0 }
  const store: Pick<Store, 'transaction'> = {
    async transaction(_, work) {
      if (refusals-- > 0) throw new Error('refused')
      return work(t)
    },
  }
  const failed = new FailedChanges(
    store,
    async (_, entry) => void said.push(entry),
    error => told.push(error),
  )
  failed.assertSaid()
  failed.hear('req_one')
  expect(() => failed.assertSaid()).toThrow('a change that failed before has to be recorded first')
  await expect.poll(() => said.map(({ kind, target }) => [kind, target])).toEqual([['change-failed', 'req_one']])
  expect(told).toHaveLength(1)
  await expect.poll(() => failed.assertSaid()).toBe(undefined)
})
