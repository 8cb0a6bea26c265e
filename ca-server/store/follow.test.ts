import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import { anyRow } from '#test/support/contract/store.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { type Following, follow, openStore, type Store } from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'keyman-follow-'))
let store: Store
beforeAll(async () => {
  store = await openStore(await newPGlite(folder))
  await store.execute('create table thing (name text)', [])
})
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true })
})

let clock: number
let known: unknown[]
let readings: number
let changes: number
let errors: unknown[]
let ages: number[]
let things: Following
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  await store.execute('delete from thing', [])
  ;[clock, readings, changes, known, errors, ages] = [100_000, 0, 0, [], [], []]
  things = follow({
    store,
    channels: ['things', 'others'],
    concerns: (channel, payload) => channel === 'things' || payload !== 'nothing of ours',
    what: 'which things there are',
    async read(sinceLast) {
      ages.push(sinceLast)
      const names = (await store.query('select name from thing order by name', [], anyRow)).map(({ name }) => name)
      const isNew = names.join() !== known.join()
      known = names
      readings++
      return isNew
    },
    monotonic: () => clock,
    onError: error => errors.push(error),
  })
  things.onChange(() => changes++)
})
afterEach(async () => {
  await things.stop()
  vi.useRealTimers()
})

const add = (name: string) => store.execute('insert into thing values ($1)', [name])
const aSecondPasses = () => vi.advanceTimersByTimeAsync(1_000)

it('what is there at the start is known when it has started; before, nothing is', async () => {
  await add('first')
  expect(() => things.assertFresh()).toThrow('the server does not know at the moment which things there are')
  await things.start()
  things.assertFresh()
  expect({ known, changes, ages }).toEqual({ known: ['first'], changes: 1, ages: [Number.POSITIVE_INFINITY] })
})

it('a change that is notified is read at once; a notification of what does not concern it reads nothing', async () => {
  await things.start()
  await add('told')
  await store.notify('others', 'nothing of ours')
  await store.notify('others', 'something')
  await expect.poll(() => changes).toBe(1)
  expect(readings).toBe(2)
  await add('more')
  await store.notify('things', 'nothing of ours')
  await expect.poll(() => known).toEqual(['more', 'told'])
  expect(changes).toBe(2)
})

it('a change whose notification was lost is read within a second; where nothing is new nobody is told', async () => {
  await things.start()
  await add('not told')
  await aSecondPasses()
  await expect.poll(() => known).toEqual(['not told'])
  clock += 700
  await aSecondPasses()
  await expect.poll(() => readings).toBe(3)
  expect({ changes, ages: ages.slice(1) }).toEqual({ changes: 1, ages: [0, 700] })
})

it('what was read more than five seconds ago is believed no more, until it was read anew; a reading counts from when it began', async () => {
  await things.start()
  clock += 5_000
  things.assertFresh()
  await store.execute('alter table thing rename to elsewhere', [])
  await aSecondPasses()
  await expect.poll(() => errors.length).toBeGreaterThan(0)
  clock += 1
  expect(things.isFresh()).toBe(false)
  expect(() => things.assertFresh()).toThrow(expect.objectContaining({ code: 'unavailable', retryAfter: 1 }))
  await expect(things.read()).rejects.toThrow()
  await store.execute('alter table elsewhere rename to thing', [])
  const reading = things.read()
  clock += 5_001
  await reading
  expect(things.isFresh()).toBe(false)
  await things.read()
  things.assertFresh()
})

it('a reading that failed is tried again without another notification', async () => {
  await things.start()
  await add('kept back')
  await store.execute('alter table thing rename to elsewhere', [])
  await store.notify('things', '')
  await expect.poll(() => errors.length).toBe(1)
  await store.execute('alter table elsewhere rename to thing', [])
  await expect.poll(() => known).toEqual(['kept back'])
})

it('whoever asks gets a reading that began afterwards, and nothing is read after the end', async () => {
  await things.start()
  const running = things.read()
  await add('meanwhile')
  await things.read()
  await running
  expect(known).toEqual(['meanwhile'])
  await things.stop()
  const before = readings
  await store.notify('things', '')
  await aSecondPasses()
  things.hear()
  await things.read()
  expect(readings).toBe(before + 1)
})
