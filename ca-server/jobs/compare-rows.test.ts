import { afterEach, beforeEach, expect, it } from 'vitest'
import { accessRows } from '#server/access/index.ts'
import { identityRows } from '#server/identity/index.ts'
import { schemas } from '#shared/api/index.ts'
import { parsePersonIdentity, parseTeamName } from '#shared/names.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { compareRows } from './index.ts'

const alice = parsePersonIdentity('alice@example.com', 'test')
const sre = parseTeamName('sre', 'test')
let requests = 0
const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_compare_${++requests}` })
let rooms: Rooms
let alarms: string[]
let comparing: ReturnType<typeof compareRows>

beforeEach(async () => {
  rooms = await openRooms()
  await rooms.addPerson(alice)
  await rooms.access.changeTeam(sre, { add: [alice], remove: [] }, by())
  const grant = { who: 'team:sre', login: 'deploy', hosts: { labels: { env: 'prod' } }, maxLifetime: 3600 }
  await rooms.access.addGrant(schemas.newGrant.parse(grant), by())
  alarms = []
  comparing = compareRows({
    ...rooms,
    tables: [...identityRows, ...accessRows],
    alarm: message => alarms.push(message),
    onError: error => {
      throw error
    },
  })
})
afterEach(() => rooms.close())

it('what the log says and the rows say is the same, and told of nobody', async () => {
  await comparing.run()
  expect(alarms).toEqual([])
})

it('a row that was added, changed or taken away is told, once for as long as it lasts', async () => {
  await rooms.store.execute(`update person set administrator = true`, [])
  await rooms.store.execute(`insert into team_member (team, person) values ('sre', 'mallory@example.com')`, [])
  await rooms.store.execute('delete from access_grant', [])
  await comparing.run()
  await comparing.run()
  expect(alarms.toSorted()).toEqual([
    expect.stringMatching(/^grant:grant_\S+ is not in the database any more, but nothing in the audit log removed it/),
    'member:sre mallory@example.com in the database is not what the audit log says',
    'person:alice@example.com in the database is not what the audit log says',
  ])
  await rooms.store.execute(`update person set administrator = false`, [])
  await comparing.run()
  await rooms.store.execute(`update person set administrator = true`, [])
  await comparing.run()
  expect(alarms).toHaveLength(4)
})

it('a change that is being made is no difference', async () => {
  const changes = Array.from({ length: 20 }, async (_, n) => {
    const person = parsePersonIdentity(`person${n}@example.com`, 'test')
    await rooms.addPerson(person)
    await rooms.access.changeTeam(sre, { add: [person], remove: [] }, by())
  })
  for (let n = 0; n < 10; n++) await comparing.run()
  await Promise.all(changes)
  expect(alarms).toEqual([])
})
