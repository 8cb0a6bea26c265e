import { afterAll, beforeAll, expect, it } from 'vitest'
import { parsePersonIdentity } from '#shared/names.ts'
import { insertSession } from '#test/support/worlds/insert-rows.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'

/** What is shown of the sessions that are open. */
const [alice, bob] = ['alice@example.com', 'bob@example.com'].map(name => parsePersonIdentity(name, 'test'))
let rooms: Rooms
beforeAll(async () => {
  rooms = await openRooms()
  for (const name of [alice, bob]) await rooms.addPerson(String(name))
})
afterAll(() => rooms.close())

it("of one person are those that are open, newest first, and nobody else's", async () => {
  const first = await rooms.addSession(String(alice))
  rooms.clock.now = new Date(rooms.clock.now.getTime() + 60_000)
  const second = await rooms.addSession(String(alice))
  await rooms.addSession(String(bob))
  const ids = async () => (await rooms.identity.sessions.list(alice)).sessions.map(({ id }) => id)
  expect(await ids()).toEqual([second.session, first.session])
  await rooms.authority.revoke({ session: await rooms.identity.sessions.find(second.session) }, undefined, {
    actor: { kind: 'operator' },
    requestId: 'req_1',
  })
  expect(await ids()).toEqual([first.session])
  await expect(rooms.identity.sessions.find(second.session)).rejects.toMatchObject({ code: 'not-found' })
  await expect(rooms.identity.sessions.find(first.session, bob)).rejects.toMatchObject({ code: 'not-found' })
})

it('a row that the log does not vouch for is no session, and is not found', async () => {
  const there = await rooms.addSession(String(bob))
  const row = `select '%', kind, person, 'forged', ssh_key, client_spki, started_at, ends_at, asserted_at, used_at from person_session`
  await rooms.store.execute(
    `insert into person_session (id, kind, person, device, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at)
     ${row.replace('%', 'session_forged0000000')} where id = $1`,
    [there.session],
  )
  expect((await rooms.identity.sessions.list(bob)).sessions.map(({ device }) => device)).not.toContain('forged')
  await expect(rooms.identity.sessions.find('session_forged0000000')).rejects.toMatchObject({ code: 'not-found' })
  expect((await rooms.identity.sessions.find(there.session)).person).toBe(bob)
})

it('of more than five hundred the newest are shown, and that there are more', async () => {
  const at = rooms.clock.now
  const given = { person: String(alice), at, endsAt: new Date(at.getTime() + 3_600_000) }
  for (let n = 0; n < 501; n += 50) await Promise.all(Array.from({ length: 50 }, () => insertSession(rooms, given)))
  const found = await rooms.identity.sessions.list(undefined)
  expect([found.sessions.length, found.more]).toEqual([500, true])
  expect((await rooms.identity.sessions.list(bob)).more).toBe(false)
})
