import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { schemas } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseHostName, parsePersonIdentity, parseTeamName } from '#shared/names.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { assertFits } from './fits.ts'
import type { Grant } from './port.ts'
import { makeSnapshot } from './snapshot.ts'

const person = (n: number) => parsePersonIdentity(`person${n}@example.com`, 'test')
const web1 = { name: parseHostName('web1.prod.example.com', 'test'), labels: { env: 'prod' } }
const web2 = { name: parseHostName('web2.test.example.com', 'test'), labels: { env: 'test' } }
const sre = parseTeamName('sre', 'test')
const all = parseTeamName('all', 'test')
const grant = (id: string, other: Record<string, unknown>): Grant => ({
  ...schemas.newGrant.parse({ login: 'deploy', hosts: { labels: { env: 'prod' } }, who: 'team:all', ...other }),
  id,
  createdAt: '2026-01-01T00:00:00Z',
  createdBy: 'operator',
})
/** The longest line that a grant can make, some 2 kB. */
const longest = {
  forceCommand: 'x'.repeat(500),
  sourceAddress: Array.from({ length: 32 }, (_, n) => `2001:db8:ffff:ffff:ffff:ffff:ffff:${(0xff00 + n).toString(16)}`),
}

describe('what one host would be told', () => {
  const refused = (members: number, grants: readonly Grant[]) => {
    const team = { name: all, members: Array.from({ length: members }, (_, n) => person(n)) }
    const snapshot = makeSnapshot({ persons: [], teams: [team], grants, epochs: new Map() })
    try {
      assertFits(snapshot, [web2, web1], new Date(), 'who')
      return ''
    } catch (error) {
      return error instanceof KeymanError ? error.message : String(error)
    }
  }

  it('is 5,000 persons for one login, whoever names them, enrolled or not; of one more it says where', () => {
    expect(refused(5_000, [grant('a', {})])).toBe('')
    expect(refused(5_001, [grant('a', {})])).toBe(
      'web1.prod.example.com would let 5001 persons in as deploy; it can be told of 5000 for one login',
    )
    expect(refused(4_999, [grant('a', {}), grant('b', { who: person(7_000) })])).toBe('')
    expect(refused(5_000, [grant('a', {}), grant('b', { who: person(7_000) })])).toContain('5001 persons')
    // For two logins, or on a host that nobody has, it fits.
    expect(refused(5_000, [grant('a', {}), grant('b', { who: person(7_000), login: 'root' })])).toBe('')
    expect(refused(5_001, [grant('a', { hosts: { labels: { env: 'none' } } })])).toBe('')
  })

  it('is 8 MiB in all', () => {
    const logins = (many: number) =>
      Array.from({ length: many }, (_, n) => grant(`g${n}`, { login: `login${n}`, options: longest }))
    expect(refused(1_000, logins(4))).toBe('')
    expect(refused(1_000, logins(5))).toMatch(/^web1.prod.example.com would be told \d+ bytes .* it takes 8388608$/)
  })
})

describe('a change that would make more of it than a host can be told is refused, and changes nothing:', () => {
  let rooms: Rooms
  const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_${Math.random()}` })
  const add = (login: string) =>
    rooms.access.addGrant(
      schemas.newGrant.parse({ who: 'team:sre', login, hosts: { host: web1.name }, options: longest }),
      by(),
    )
  beforeAll(async () => {
    rooms = await openRooms({ hosts: [web1.name], living: [web1] })
    for (let n = 0; n < 40; n++) {
      await rooms.addPerson(person(n))
      if (n < 39) await rooms.access.changeTeam(sre, { add: [person(n)], remove: [] }, by())
    }
  })
  afterAll(() => rooms.close())

  it('a grant, then a member of a team; with less of something else they are taken', async () => {
    const granted: Grant[] = []
    const refusal = await (async () => {
      for (let n = 0; n < 200; n++) granted.push(await add(`login${n}`))
    })().then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(refusal).toMatchObject({
      code: 'invalid-input',
      fields: [{ field: 'who', message: expect.stringContaining('web1.prod.example.com would be told') }],
    })
    expect(await rooms.access.listGrants()).toHaveLength(granted.length)
    const put = () => rooms.access.changeTeam(sre, { add: [person(39)], remove: [] }, by())
    await expect(put()).rejects.toMatchObject({ fields: [{ field: 'persons' }] })
    expect(rooms.access.teamsOf(person(39))).toEqual([])
    for (const { id } of granted.slice(0, 4)) await rooms.access.removeGrant(id, by())
    expect((await put()).members).toHaveLength(40)
  })
})
