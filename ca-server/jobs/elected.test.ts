import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type Lease, openLease } from '#server/store/index.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { doElected, type ElectedJob } from './index.ts'

let rooms: Rooms
let said: string[]
let errors: unknown[]
const started: { stop(): Promise<void> }[] = []
beforeEach(async () => {
  rooms = await openRooms()
  said = []
  errors = []
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
})
afterEach(async () => {
  vi.useRealTimers()
  for (const one of started.splice(0)) await one.stop()
  await rooms.close()
})

const leaseOf = (name: string) => openLease(rooms.store, 'common work', name)
async function server(name: string, run: ElectedJob['run'], lease: Lease = leaseOf(name)) {
  const jobs = [{ everyMs: 1_000, run }]
  const elected = doElected({
    lease,
    jobs,
    say: message => said.push(`${name}: ${message}`),
    onError: error => errors.push(error),
  })
  await elected.start()
  started.push(elected)
  return elected
}
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)

it('one of two servers does the work; when it stops the other goes on, and says so', async () => {
  const done: string[] = []
  const one = await server('one', async () => void done.push('one'))
  await server('two', async () => void done.push('two'))
  expect(done).toEqual([])
  await pass(2_000)
  expect(done).toEqual(['one', 'one'])
  await one.stop()
  await pass(1_000)
  await expect.poll(() => said).toEqual(['two: this server does the common work from now on (fence 2)'])
  await pass(1_000)
  expect(done).toEqual(['one', 'one', 'two'])
  expect(errors).toEqual([])
})

it('work that hangs while another server takes over writes nothing when it goes on; that one writes', async () => {
  const wakes = Promise.withResolvers<void>()
  const write = (fence: Parameters<ElectedJob['run']>[0], who: string) =>
    rooms.store.transaction({ name: 'work', deadlineMs: 5_000 }, async t => {
      await t.execute(`insert into access_epoch (subject, epoch) values ($1, 1)`, [`test:${who}`])
      await fence(t)
    })
  const written = async () =>
    (
      await rooms.store.query(`select subject from access_epoch where subject like 'test:%'`, [], {
        parse: row => String(Reflect.get(Object(row), 'subject')),
      })
    ).toSorted()
  let begun = 0
  const one = leaseOf('one')
  await server(
    'one',
    async fence => {
      if (++begun > 1) return
      await wakes.promise
      await write(fence, 'one')
    },
    one,
  )
  await pass(1_000)
  expect(begun).toBe(1)
  await rooms.store.execute('update lease set ends_at = now()', [])
  let n = 0
  const two = await server('two', async fence => void (n++ === 0 && (await write(fence, 'two'))))
  await pass(1_000)
  await expect.poll(written).toEqual(['test:two'])
  // The first believes that it has it still.
  expect(one.fence()).toBeDefined()
  wakes.resolve()
  await expect
    .poll(() => said)
    .toEqual(['one: another server does the common work by now: nothing was written under fence 1'])
  expect(await written()).toEqual(['test:two'])
  expect(errors).toEqual([])
  // The twin: the same server, the same work, under a fence that it has.
  await two.stop()
  expect(await one.take()).toBe(3n)
  const fence = one.fence()
  if (fence) await write(fence, 'one')
  expect(await written()).toEqual(['test:one', 'test:two'])
})

it('a server that was refused under its fence begins nothing more before it has the lease again, and says when it has', async () => {
  let begun = 0
  await server('one', async fence => {
    begun++
    await rooms.store.transaction({ name: 'work', deadlineMs: 5_000 }, fence)
  })
  await rooms.store.execute('update lease set ends_at = now()', [])
  await pass(1_000)
  await expect.poll(() => said.length).toBe(1)
  await pass(2_000)
  expect(begun).toBe(1)
  await pass(500)
  await expect
    .poll(() => said)
    .toEqual([
      'one: another server does the common work by now: nothing was written under fence 1',
      'one: this server does the common work from now on (fence 1)',
    ])
  await pass(500)
  expect(begun).toBe(2)
})

it('a job that fails is told, and runs again; one that still runs is not begun twice', async () => {
  const ends = Promise.withResolvers<void>()
  let begun = 0
  await server('one', async () => {
    begun++
    if (begun === 1) throw new Error('the first fails')
    await ends.promise
  })
  await pass(1_000)
  await pass(3_000)
  expect({ begun, errors: errors.map(String) }).toEqual({ begun: 2, errors: ['Error: the first fails'] })
  ends.resolve()
})
