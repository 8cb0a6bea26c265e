import { afterAll, beforeAll, expect, it } from 'vitest'
import { schemas } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseHostName, parsePersonIdentity, parsePlace } from '#shared/names.ts'
import { parseTlsName, type TlsName } from '#shared/tls-names/index.ts'
import { recorded } from '#test/support/worlds/insert-rows.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { grantFact } from './facts.ts'
import type { Grant } from './port.ts'
import { insertGrant } from './records.ts'

/** Nobody gives a grant of names yet: what such rows are worth is tried with rows that are recorded as a route will do it. */
const alice = parsePersonIdentity('alice@example.com', 'test')
const asAlice = { kind: 'person', identity: alice } as const
const web1 = { name: parseHostName('web1.payments.example.com', 'test'), labels: { env: 'prod' } }
const web = parseTlsName({ dns: 'web1.payments.example.com' }, 'test')
const payments = parsePlace('payments', 'test')
let requests = 0
const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_${++requests}` })

let rooms: Rooms
beforeAll(async () => {
  rooms = await openRooms({ hosts: [web1.name] })
  await rooms.addPerson(alice)
  await rooms.access.places.add({ name: payments, environments: [] }, by())
})
afterAll(() => rooms.close())

let count = 0
const names = (other: object = {}): Grant =>
  schemas.grant.parse({
    ...{ kind: 'names', id: `grant_names${String(++count).padStart(5, '0')}`, who: alice, profile: 'server' },
    ...{ names: ['*.payments.example.com', '10.0.0.0/8'], wildcards: false, maxLifetime: 86_400 },
    ...{ createdAt: rooms.clock.now.toISOString(), createdBy: 'root@example.com', ...other },
  })
async function give(grant: Grant): Promise<Grant> {
  await recorded(rooms, [grantFact(grant)], t => insertGrant(t, grant))
  await rooms.access.reload()
  return grant
}
const write = async (text: string, ...values: string[]): Promise<void> => {
  await rooms.store.execute(text, values)
  await rooms.access.reload()
}
/** What alice gets: a certificate, a login, a role. */
function gets(name: TlsName = web, where: typeof payments | undefined = undefined) {
  const action = { kind: 'tls-certificate', profile: 'server', names: [name], in: where } as const
  const certificate = rooms.access.decide(asAlice, action)
  return {
    names: certificate.allow && certificate.limits.maxLifetime,
    login: rooms.access.decide(asAlice, { kind: 'ssh-login', host: web1 }).allow,
    role:
      rooms.access.may(asAlice, { action: 'audit.read' }) ||
      rooms.access.may(asAlice, { action: 'grant.read', in: payments }),
  }
}
const NOTHING = { names: false, login: false, role: false }
const NAMES = { names: 86_400, login: false, role: false }

it('a grant of names that the log vouches for is read whole, decided by, and is neither a login nor a role', async () => {
  const grant = await give(
    names({ endsAt: '2099-01-01T00:00:00.000Z', wildcards: true, profile: 'both', in: payments }),
  )
  expect(await rooms.access.listGrants()).toEqual([grant])
  expect(rooms.access.placeOf(grant)).toBe(payments)
  expect([gets(), gets(web, payments)]).toEqual([NOTHING, NAMES])
  expect(await rooms.access.words.person(rooms.store, alice)).toContainEqual({
    name: 'What alice@example.com gets',
    value:
      'alice@example.com the names *.payments.example.com 10.0.0.0/8, with wildcards, for server and client certificates on payments for at most 1d, until 2099-01-01T00:00:00.000Z',
  })
  expect(await rooms.access.places.remove(payments, by()).catch(String)).toContain(grant.id)
  await rooms.access.removeGrant(grant.id, by())
  expect([await rooms.access.listGrants(), gets(web, payments)]).toEqual([[], NOTHING])
})

it('its longest time and its end can be changed, and options, which it does not have, not', async () => {
  const { id } = await give(names())
  const { grant } = await rooms.access.changeGrant(id, { maxLifetime: 600, endsAt: '2099-01-01T00:00:00Z' }, by())
  expect(await rooms.access.listGrants()).toEqual([grant])
  expect(gets()).toEqual({ ...NAMES, names: 600 })
  const refused = await rooms.access.changeGrant(id, { options: { pty: true } }, by()).catch((error: unknown) => error)
  expect(refused instanceof KeymanError && refused.message).toMatch(/^options: names let nobody log in/)
  await rooms.access.removeGrant(id, by())
})

it('a grant of names that nobody recorded gives nothing; the same, recorded, gives', async () => {
  const grant = names()
  await insertGrant(rooms.store, grant)
  await rooms.access.reload()
  expect([gets(), await rooms.access.listGrants()]).toEqual([NOTHING, []])
  await recorded(rooms, [grantFact(grant)], async () => {})
  await rooms.access.reload()
  expect(gets()).toEqual(NAMES)
  await rooms.access.removeGrant(grant.id, by())
})

it.each<[string, string]>([
  ['more names', `names = '["**.example.com", "*.payments.example.com", "10.0.0.0/8"]'`],
  ['fewer', `names = '["*.payments.example.com"]'`],
  ['names in another order', `names = '["10.0.0.0/8", "*.payments.example.com"]'`],
  ['a name in another spelling', `names = '["*.PAYMENTS.example.com", "10.0.0.0/8"]'`],
  ['no name', `names = '[]'`],
  ['JSON that is no list', `names = '{"a": 1}'`],
  ["JSON's null", `names = 'null'`],
  ['another profile', `profile = 'both'`],
  ['a profile that nobody knows', `profile = 'ca'`],
  ['wildcards', `wildcards = true`],
  ['more time', `max_lifetime = 864000`],
  ['another place', `place = 'payments'`],
  ['an end', `ends_at = '2099-01-01T00:00:00Z'`],
  [
    'a login instead',
    `kind = 'login', login = 'root', hosts = '{"labels": {"env": "prod"}}', options = '{}', names = null, profile = null, wildcards = null`,
  ],
  [
    'a role instead',
    `kind = 'role', role = 'administrator', names = null, profile = null, wildcards = null, max_lifetime = null`,
  ],
])('a row of names that somebody gave %s is none, and no login and no role; as it was it gives', async (_, change) => {
  const grant = await give(names())
  await write('create table kept as select * from access_grant where id = $1', grant.id)
  await write(`update access_grant set ${change} where id = $1`, grant.id)
  expect([gets(), gets(web, payments)]).toEqual([NOTHING, NOTHING])
  await write('delete from access_grant where id = $1', grant.id)
  await write('insert into access_grant select * from kept')
  await write('drop table kept')
  expect(gets()).toEqual(NAMES)
  await rooms.access.removeGrant(grant.id, by())
})

it.each<[string, object, string]>([
  ['login', { login: 'deploy', hosts: { labels: { env: 'prod' } } }, `login = null, hosts = null, options = null`],
  ['role', { kind: 'role', role: 'auditor' }, `role = null, max_lifetime = 86400`],
])('a %s whose row somebody made one of names gives neither; as it was it gives', async (kind, gives, none) => {
  const grant = await rooms.access.addGrant(schemas.newGrant.parse({ who: alice, ...gives }), by())
  const whole = { ...NOTHING, [kind]: true }
  expect(gets()).toEqual(whole)
  await write('create table kept as select * from access_grant where id = $1', grant.id)
  await write(
    `update access_grant set kind = 'names', ${none}, names = '["*.payments.example.com"]', profile = 'server', wildcards = true where id = $1`,
    grant.id,
  )
  expect(gets()).toEqual(NOTHING)
  await write('delete from access_grant where id = $1', grant.id)
  await write('insert into access_grant select * from kept')
  await write('drop table kept')
  expect(gets()).toEqual(whole)
  await rooms.access.removeGrant(grant.id, by())
})

it('the database keeps of each kind just its own columns', async () => {
  const columns = {
    ...{ login: `'deploy'`, hosts: `'{}'`, options: `'{}'`, max_lifetime: '60', role: `'auditor'` },
    ...{ names: `'["a.example"]'`, profile: `'server'`, wildcards: 'false' },
  }
  const OWN: Readonly<Record<string, readonly string[]>> = {
    login: ['login', 'hosts', 'options', 'max_lifetime'],
    role: ['role'],
    names: ['names', 'profile', 'wildcards', 'max_lifetime'],
  }
  const insert = (kind: string, has: readonly string[]) => {
    const values = Object.entries(columns).map(([name, value]) => (has.includes(name) ? value : 'null'))
    return rooms.store
      .execute(
        `insert into access_grant (id, who, created_at, created_by, kind, ${Object.keys(columns).join(', ')})
           values ('grant_columns0000', 'alice@example.com', now(), 'test', '${kind}', ${values.join(', ')})`,
        [],
      )
      .then(
        () => 'taken',
        (error: unknown) => (error instanceof Error ? error.message : String(error)),
      )
  }
  for (const [kind, own] of Object.entries(OWN)) {
    expect(await insert(kind, own)).toBe('taken')
    await write(`delete from access_grant where id = 'grant_columns0000'`)
    for (const name of Object.keys(columns)) {
      const other = own.includes(name) ? own.filter(each => each !== name) : [...own, name]
      expect(await insert(kind, other), `${kind}, ${name}`).not.toBe('taken')
    }
  }
  expect(await insert('other', OWN.names ?? [])).not.toBe('taken')
})
