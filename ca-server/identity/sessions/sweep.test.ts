import { X509Certificate } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parsePersonIdentity } from '#shared/names.ts'
import { anyRow } from '#test/support/contract/store.ts'
import { insertSession } from '#test/support/worlds/insert-rows.ts'
import { namedSession, openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { announceChange, sweep } from '../records/session-records.ts'

const alice = parsePersonIdentity('alice@example.com', 'test')
const DAY = 86_400_000
const daysFromNow = (days: number) => new Date(Date.now() + days * DAY)
let rooms: Rooms

const endedDaysAgo = (days: number) =>
  insertSession(rooms, { person: alice, at: daysFromNow(-days - 0.5), endsAt: daysFromNow(-days) })
const sweepAt = (now: Date) => sweep(rooms.store, now, async () => {}, rooms.ledger)
const left = async () => (await rooms.store.query('select id from person_session', [], anyRow)).length

beforeEach(async () => {
  rooms = await openRooms()
  await rooms.addPerson(alice)
})
afterEach(() => rooms.close())

test('a session that ended thirty days ago is forgotten, one that ended later is not', async () => {
  const [old, other] = [await endedDaysAgo(31), await endedDaysAgo(29)]
  const numbered = [`session:${old}`, `session:${other}`, `person:${alice}`]
  await rooms.store.transaction({ name: 'test', deadlineMs: 5_000 }, t => rooms.ledger.bumpEpochs(t, numbered))
  await sweepAt(daysFromNow(0))
  expect(await left()).toBe(1)
  // Its number goes with it, and no other.
  const numbers = await rooms.ledger.readEpochs(numbered)
  expect(numbered.map(subject => numbers.get(subject))).toEqual([1n, 2n, expect.any(BigInt)])
  expect(numbers.get(`person:${alice}`)).toBeGreaterThan(1n)
})

test('a clock of the server that is three days ahead makes nothing be forgotten; one that is behind forgets later', async () => {
  await endedDaysAgo(29)
  await sweepAt(daysFromNow(3))
  expect(await left()).toBe(1)
  await endedDaysAgo(31)
  await sweepAt(daysFromNow(-3))
  expect(await left()).toBe(2)
  await sweepAt(daysFromNow(0))
  expect(await left()).toBe(1)
})

test('a session that a clock three days ahead takes for ended is good again when the clock is, and ended is ended', async () => {
  const caller = await rooms.addSession(alice)
  const at = { requestId: 'req_1' }
  const { pem } = await rooms.authority.issueSessionClientCertificate(caller, at)
  const der = new Uint8Array(new X509Certificate(pem).raw)
  const forget = async () => {
    await rooms.store.transaction({ name: 'test', deadlineMs: 5_000 }, t =>
      announceChange(t, [`session:${caller.session}`]),
    )
    await rooms.identity.stop()
    await rooms.identity.start()
  }
  /** By its certificate, and as an issue that is decided anew reads it. */
  const standing = async () => {
    const said: string[] = []
    // First as a request asks, which may believe what is in memory.
    for (const ask of [
      () => rooms.identity.callerFromClientCertificate(der, true),
      () => rooms.identity.reload(caller),
    ])
      said.push(
        await (async () => ask())().then(
          () => 'in',
          () => 'out',
        ),
      )
    return said.join()
  }
  const today = rooms.clock.now
  const after = async (days: number) => {
    rooms.clock.now = new Date(today.getTime() + days * DAY)
    await forget()
    return standing()
  }
  expect(await after(0)).toBe('in,in')
  expect(await after(3)).toBe('out,out')
  expect(await after(0)).toBe('in,in')
  // Its certificate is not good yet; its session is.
  expect(await after(-3)).toBe('out,in')
  expect(await after(0)).toBe('in,in')
  const by = { actor: { kind: 'operator' as const }, requestId: 'req_2' }
  await rooms.authority.revoke({ session: namedSession(caller) }, undefined, by)
  for (const days of [-3, 0, 3]) expect(await after(days), `${days} days`).toBe('out,out')
})
