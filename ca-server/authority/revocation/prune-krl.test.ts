import { afterEach, beforeEach, expect, test } from 'vitest'
import { schemas } from '#shared/api/index.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { decodeKrl } from '#shared/ssh/index.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { KEPT_AFTER_END, pruneKrl } from './prune-krl.ts'

const alice = parsePersonIdentity('alice@example.com', 'test')
const DAY = 86_400_000
let requests = 0
const newRequestId = () => `req_prune_${++requests}`
const by = () => ({ actor: { kind: 'operator' as const }, requestId: newRequestId() })
const alarms: string[] = []
let rooms: Rooms

/** A certificate of an hour that was issued and revoked so many days ago; its serial. */
async function revokedDaysAgo(days: number): Promise<bigint> {
  rooms.clock.now = new Date(Date.now() - days * DAY)
  const caller = await rooms.addSession(alice)
  const { serial } = await rooms.authority.issueUserCertificate(caller, { requestId: newRequestId(), lifetime: 3600 })
  await rooms.authority.revoke({ person: alice }, undefined, by())
  return BigInt(serial)
}
/** `hostClocks`: how many seconds each host's clock is ahead of the server's. */
const prune = (now: Date, hostClocks: readonly number[] = []) => {
  rooms.clock.now = now
  const deps = { now: () => now, newRequestId, hostClocks: () => hostClocks }
  return pruneKrl({ ...rooms, ...deps, fence: async () => {}, alarm: message => alarms.push(message) })
}
/** Something else that happened, at the test's clock. */
const recordSomething = () =>
  rooms.ledger.append({ requestId: newRequestId(), kind: 'server-started', actor: { kind: 'server' } })
const isOnList = async (serial: bigint) =>
  decodeKrl((await rooms.authority.currentKrl()).bytes).certificates.some(({ serials }) =>
    serials.some(({ from, to }) => from <= serial && serial <= to),
  )

beforeEach(async () => {
  alarms.length = 0
  rooms = await openRooms()
  await rooms.addPerson(alice)
  const grant = { who: alice, login: 'deploy', hosts: { labels: { env: 'prod' } }, maxLifetime: 3600 }
  await rooms.access.addGrant(schemas.newGrant.parse(grant), by())
})
afterEach(() => rooms.close())

test('what ended thirty days ago leaves the KRL with a new version; what ended later stays, and the canary for ever', async () => {
  const [old, newer] = [await revokedDaysAgo(32), await revokedDaysAgo(29)]
  const before = (await rooms.authority.currentKrl()).version
  rooms.clock.now = new Date()
  await recordSomething()
  // The certificate's serial, and the key of its session.
  expect(await prune(new Date())).toBe(2)
  expect([await isOnList(old), await isOnList(newer), await isOnList(1n)]).toEqual([false, true, true])
  expect((await rooms.authority.currentKrl()).version).toBe(before + 1n)
  expect(await prune(new Date())).toBe(0)
})

test('a clock of the server that is days ahead, or of the database, takes nothing off, and is told', async () => {
  const serial = await revokedDaysAgo(29)
  rooms.clock.now = new Date(Date.now() + 3 * DAY)
  await recordSomething()
  expect(await prune(rooms.clock.now)).toBe(0)
  expect(alarms).toEqual([expect.stringMatching(/clocks of server and database are 2592\d\d seconds apart/)])
  expect(await isOnList(serial)).toBe(true)
})

test('clocks of most hosts that disagree with the server take nothing off, and are told; that of one host never counts', async () => {
  const serial = await revokedDaysAgo(32)
  rooms.clock.now = new Date()
  await recordSomething()
  const days = 3 * 86_400
  expect(await prune(new Date(), [-days, -days, 2])).toBe(0)
  expect(await prune(new Date(), [days, -61])).toBe(0)
  expect(alarms).toEqual([
    expect.stringMatching(/the clocks of 2 of 3 hosts are more than 60 seconds from the server's/),
    expect.stringMatching(/the clocks of 2 of 2 hosts/),
  ])
  expect(await isOnList(serial)).toBe(true)
  expect(await prune(new Date(), [days])).toBe(2)
  // Half of them are not most.
  expect(await prune(new Date(), [days, -days, 1, 0])).toBe(0)
  expect(alarms).toHaveLength(2)
})

test('nothing is taken off before the log holds a record that is as much newer than the end', async () => {
  const serial = await revokedDaysAgo(32)
  expect(await prune(new Date())).toBe(0)
  expect(await isOnList(serial)).toBe(true)
  await recordSomething()
  expect(await prune(new Date())).toBe(2)
})

test('a row that says that it ended long ago, or that is gone, takes nothing off: the log says when it ends', async () => {
  const serial = await revokedDaysAgo(0)
  await rooms.store.execute('update revoked_certificate set until = 1', [])
  await recordSomething()
  expect(await prune(new Date())).toBe(0)
  await rooms.store.execute('delete from revoked_certificate', [])
  await rooms.store.execute('update krl_state set version = 1', [])
  expect(await isOnList(serial)).toBe(true)
  // And the next version is above all that hosts may have.
  const { version } = await rooms.authority.currentKrl()
  await rooms.authority.revoke({ person: alice }, undefined, by())
  expect((await rooms.authority.currentKrl()).version).toBeGreaterThan(version)
})

test('of two that prune at once one does it: the version goes up once', async () => {
  const serial = await revokedDaysAgo(32)
  rooms.clock.now = new Date()
  await recordSomething()
  const before = (await rooms.authority.currentKrl()).version
  const taken = await Promise.all([prune(new Date()), prune(new Date())])
  expect(taken.toSorted()).toEqual([0, 2])
  expect((await rooms.authority.currentKrl()).version).toBe(before + 1n)
  expect(await isOnList(serial)).toBe(false)
})

test('thirty days are kept', () => {
  expect(KEPT_AFTER_END).toBe(2_592_000n)
})
