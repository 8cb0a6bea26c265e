import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type CallInput, call } from '#cli/server/client.ts'
import { api, type Route } from '#shared/api/index.ts'
import { type ApiSession, inviteAndEnrol, logIn, page, pageCall, untouched } from '#test/support/people/api-person.ts'
import { addWorkload, joinWorkload } from '#test/support/people/workload.ts'
import {
  type AttackWorld,
  bodyOf,
  machineCall,
  openAttackWorld,
  outcome,
  refusal,
} from '#test/support/worlds/attack-world.ts'

/** Roles that the organisation makes itself. Alice owns it. */

let world: AttackWorld
let ada: ApiSession
let dan: ApiSession
beforeAll(async () => {
  world = await openAttackWorld()
  for (const name of ['payments', 'web'])
    await as(world.alice, api.projects.add, { body: bodyOf(api.projects.add, { name, environments: ['prod', 'dev'] }) })
  ada = await newcomer('ada@example.com')
  await give('ada@example.com', 'administrator')
  dan = await newcomer('dan@example.com')
})
afterAll(() => world?.close())
afterEach(() => world.setClock(0))

const as = <Query, Body, Answer>(who: ApiSession, route: Route<Query, Body, Answer>, input: CallInput<Query, Body>) =>
  call(who.connection, route, input)
const newcomer = async (name: string) => logIn(world.server, await inviteAndEnrol(world.server, world.alice, name))
const give = (
  who: string,
  role: string,
  where?: string,
  { by = world.alice, endsAt }: { by?: ApiSession; endsAt?: string } = {},
) =>
  as(by, api.grants.add, {
    body: bodyOf(api.grants.add, {
      ...{ kind: 'role', who, role },
      ...(where === undefined ? {} : { in: where }),
      ...(endsAt === undefined ? {} : { endsAt }),
    }),
  })
const take = (id: string) => as(world.alice, api.grants.remove, { params: { id }, query: { wait: 0 } })

let number = 0
/** Makes one of a name that nothing else here has. */
const made = async (of: 'organisation' | 'place', ...actions: string[]) => {
  const name = `role${++number}`
  await as(world.alice, api.roles.add, { body: bodyOf(api.roles.add, { name, of, actions }) })
  return name
}
const change = (name: string, body: { add?: string[]; remove?: string[] }, by = world.alice) =>
  as(by, api.roles.change, { params: { name }, body: bodyOf(api.roles.change, body) })
const remove = (name: string, by = world.alice) => as(by, api.roles.remove, { params: { name } })
const addHost = (who: ApiSession, where: string) =>
  outcome(
    as(who, api.hosts.add, {
      body: bodyOf(api.hosts.add, { name: `h${++number}.keyman.localhost`, in: where }),
    }),
  )
const records = async (kind: string) => {
  const { records } = await as(world.alice, api.auditTrail.list, { query: { kind, limit: 1 } })
  return JSON.parse(records.at(-1)?.record ?? '{}')
}
const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString()

describe('an own role', () => {
  it('gives what it is made of, where it is given, from its grant on and until that is taken away', async () => {
    const role = await made('place', 'host.read', 'host.add')
    expect(await addHost(dan, 'payments/prod')).toBe('denied')
    const { id } = await give('dan@example.com', role, 'payments')
    expect([await addHost(dan, 'payments/prod'), await addHost(dan, 'web')]).toEqual(['done', 'denied'])
    expect(await outcome(as(dan, api.grants.list, {}))).toBe('denied')
    await take(id)
    expect(await addHost(dan, 'payments/prod')).toBe('denied')
  })

  it('is shown with all that there are to whoever reads anything, somewhere; to nobody else', async () => {
    const role = await made('organisation', 'audit.read', 'access.explain')
    expect(await outcome(as(dan, api.roles.list, {}))).toBe('denied')
    const { id } = await give('dan@example.com', 'viewer', 'web')
    const { roles } = await as(dan, api.roles.list, {})
    expect(roles.slice(0, 2).map(({ name }) => name)).toEqual(['owner', 'administrator'])
    expect(roles.find(({ name }) => name === role)).toEqual({
      ...{ name: role, of: 'organisation', builtIn: false, actions: ['audit.read', 'access.explain'], lapsed: [] },
      ...{ createdAt: expect.any(String), createdBy: 'alice@example.com' },
    })
    expect(await records('role-added')).toMatchObject({
      ...{ target: role, details: { of: 'organisation', actions: ['audit.read', 'access.explain'] } },
      actor: { identity: 'alice@example.com' },
    })
    await take(id)
  })

  it.each<[string, object, object]>([
    ['a name that is built in', { name: 'viewer' }, {}],
    ['the name of an owner', { name: 'owner' }, {}],
    ['a name that is kept for later', { name: 'issuer' }, {}],
    ['a name that is none', { name: 'Deployer' }, {}],
    ['nothing that it may', { actions: [] }, {}],
    ['an action that is none', { actions: ['host.bless'] }, {}],
    ['what takes no role', { actions: ['passkey.add'] }, { actions: ['person.read'], of: 'organisation' }],
    [
      'what owners do alone',
      { actions: ['owner.change'], of: 'organisation' },
      { actions: ['person.reset'], of: 'organisation' },
    ],
    ['trust', { actions: ['trust.publish'], of: 'organisation' }, { actions: ['role.add'], of: 'organisation' }],
    [
      'what is done to the organisation, of a place',
      { actions: ['person.read'] },
      { actions: ['person.read'], of: 'organisation' },
    ],
    ['one action twice', { actions: ['host.read', 'host.read'] }, {}],
    ['another field', { until: inAnHour() }, {}],
  ])('is not made with %s', async (_, wrong, right) => {
    const add = async (body: object) =>
      (await machineCall(world.alice.connection, 'POST', '/v1/roles', { body })).status
    const whole = () => ({ name: `role${++number}`, of: 'place', actions: ['host.read'] })
    expect(await add({ ...whole(), ...wrong })).toBe(400)
    expect(await add({ ...whole(), ...right })).toBe(201)
  })

  it('is made, changed and taken away by whoever may alone: an operator may not, an administrator may', async () => {
    const role = await made('place', 'host.read')
    const { id } = await give('dan@example.com', 'operator')
    const tries = (who: ApiSession) => [
      () =>
        as(who, api.roles.add, {
          body: bodyOf(api.roles.add, { name: `${role}x`, of: 'place', actions: ['host.read'] }),
        }),
      () => change(role, { add: ['host.add'] }, who),
      () => remove(role, who),
    ]
    for (const attempt of tries(dan)) expect(await outcome(attempt())).toBe('denied')
    for (const attempt of tries(ada)) expect(await outcome(attempt())).toBe('done')
    expect(await outcome(remove(role, ada))).toBe('not-found')
    await take(id)
  })

  it('is given for what it is made for, and where it is there; nothing is given by a name that is not', async () => {
    const [ofPlace, ofAll] = [await made('place', 'host.read'), await made('organisation', 'audit.read')]
    const given = (role: string, where?: string) => outcome(give('dan@example.com', role, where))
    expect([await given(ofPlace), await given(ofPlace, 'payments')]).toEqual(['invalid-input', 'done'])
    expect([await given(ofAll, 'payments'), await given(ofAll)]).toEqual(['invalid-input', 'done'])
    expect(await given('nobodys')).toBe('not-found')
    expect((await refusal(give('dan@example.com', 'nobodys'))).hint).toContain('keyman role list')
    const owner = { body: { kind: 'role', who: 'dan@example.com', role: 'owner' } }
    expect((await machineCall(world.alice.connection, 'POST', '/v1/grants', owner)).code).toBe('invalid-input')
    expect(
      await outcome(
        as(world.alice, api.roles.add, {
          body: bodyOf(api.roles.add, { name: ofAll, of: 'place', actions: ['host.read'] }),
        }),
      ),
    ).toBe('conflict')
  })

  it('is not taken away while a grant gives it, though that has ended; without any it is, and is given no more', async () => {
    const role = await made('place', 'host.read')
    const { id } = await give('dan@example.com', role, 'web', { endsAt: new Date(Date.now() + 60_000).toISOString() })
    expect((await refusal(remove(role))).message).toContain(`the role ${role} is given by ${id}`)
    world.setClock(61)
    expect(await outcome(remove(role))).toBe('conflict')
    world.setClock(0)
    await take(id)
    expect(await outcome(remove(role))).toBe('done')
    expect(await outcome(give('dan@example.com', role, 'web'))).toBe('not-found')
    expect(await records('role-removed')).toMatchObject({ target: role, facts: { [`role:${role}`]: null } })
    await as(world.alice, api.roles.add, {
      body: bodyOf(api.roles.add, { name: role, of: 'organisation', actions: ['audit.read'] }),
    })
    expect(await outcome(give('dan@example.com', role))).toBe('done')
  })
})

describe('nobody gives what they do not have', () => {
  it('by an own role: whoever may grant there and has all of it gives it there, and not elsewhere nor for longer', async () => {
    const pia = await newcomer('pia@example.com')
    const [granting, role] = [await made('place', 'grant.add'), await made('place', 'host.read', 'host.add')]
    await give('pia@example.com', granting, 'payments')
    const given = (where: string, more = {}) => outcome(give('dan@example.com', role, where, { by: pia, ...more }))
    expect(await given('payments/prod')).toBe('denied')
    await give('pia@example.com', role, 'payments/prod', { endsAt: inAnHour() })
    expect(await given('payments/prod')).toBe('denied')
    expect(await given('payments/dev')).toBe('denied')
    expect(await given('payments/prod', { endsAt: new Date(Date.now() + 3_000_000).toISOString() })).toBe('done')
    const { grants } = await as(world.alice, api.grants.list, {})
    const id = grants.find(grant => grant.kind === 'role' && grant.who === 'dan@example.com' && grant.role === role)?.id
    await take(id ?? '')
  })

  it('by a change of a role: what is added they have wherever the role was given, and for as long', async () => {
    const kim = await newcomer('kim@example.com')
    const [keeping, role] = [await made('organisation', 'role.change'), await made('place', 'host.read')]
    await give('kim@example.com', keeping)
    // Nobody has it yet.
    expect(await outcome(change(role, { add: ['host.change'] }, kim))).toBe('done')
    const { id } = await give('dan@example.com', role, 'payments/prod')
    const tried = () => outcome(change(role, { add: ['host.add'] }, kim))
    expect(await tried()).toBe('denied')
    const elsewhere = await give('kim@example.com', 'editor', 'payments/dev')
    expect(await tried()).toBe('denied')
    const shorter = await give('kim@example.com', 'editor', 'payments', { endsAt: inAnHour() })
    expect(await tried()).toBe('denied')
    expect(await outcome(change(role, { remove: ['host.change'] }, kim))).toBe('done')
    expect(await addHost(dan, 'payments/prod')).toBe('denied')
    await give('kim@example.com', 'editor', 'payments/prod')
    expect(await tried()).toBe('done')
    expect(await addHost(dan, 'payments/prod')).toBe('done')
    expect(await records('role-changed')).toMatchObject({
      ...{ target: role, actor: { identity: 'kim@example.com' } },
      details: { of: 'place', actions: ['host.read', 'host.add'], added: ['host.add'], removed: [] },
    })
    for (const each of [id, elsewhere.id, shorter.id]) await take(each)
  })

  it('by a role that they have themselves, or by a team that has it', async () => {
    const mo = await newcomer('mo@example.com')
    const role = await made('organisation', 'role.change', 'host.read')
    await as(world.alice, api.teams.addMembers, {
      params: { name: 'keepers' },
      body: bodyOf(api.teams.addMembers, { persons: ['mo@example.com'] }),
    })
    await give('team:keepers', role)
    expect(await outcome(change(role, { add: ['person.reset'] }, mo))).toBe('denied')
    expect(await outcome(change(role, { remove: ['host.read'] }, mo))).toBe('done')
    expect(await outcome(change(role, { add: ['host.read'] }, mo))).toBe('denied')
  })

  it('by a login that a person, a name or a team has: whoever may bring others in, and not grant there, brings nobody into it', async () => {
    const helping = await made('organisation', 'person.invite', 'person.reset', 'person.enable', 'team.add')
    const hal = await newcomer('hal@example.com')
    for (const name of ['lea@example.com', 'len@example.com']) await newcomer(name)
    await give('hal@example.com', helping)
    const login = (who: string, more = {}) =>
      as(world.alice, api.grants.add, {
        body: bodyOf(api.grants.add, { who, login: 'root', hosts: { in: 'web/prod' }, ...more }),
      })
    const add = (team: string, person: string, by: ApiSession) =>
      as(by, api.teams.addMembers, {
        params: { name: team },
        body: bodyOf(api.teams.addMembers, { persons: [person] }),
      })
    for (const team of ['rooters', 'readers']) await add(team, 'bob@example.com', world.alice)
    for (const who of ['team:rooters', 'lea@example.com', 'soon@example.com']) await login(who)
    const named = (identity: string) => ({ params: { identity } })
    const invite = (identity: string) => as(hal, api.persons.invite, { body: bodyOf(api.persons.invite, { identity }) })
    const reset = (identity: string) =>
      outcome(as(hal, api.persons.reset, { ...named(identity), body: bodyOf(api.persons.reset, {}) }))
    const enable = async (identity: string) => {
      await as(world.alice, api.persons.disable, { ...named(identity), query: { wait: 0 } })
      return outcome(as(hal, api.persons.enable, named(identity)))
    }
    const team = (name: string) => outcome(add(name, 'hal@example.com', hal))
    expect([await team('rooters'), await team('readers')]).toEqual(['denied', 'done'])
    expect([await reset('lea@example.com'), await reset('len@example.com')]).toEqual(['denied', 'done'])
    expect([await enable('lea@example.com'), await enable('len@example.com')]).toEqual(['denied', 'done'])
    await as(world.alice, api.persons.enable, named('lea@example.com'))
    expect([await outcome(invite('soon@example.com')), await outcome(invite('other@example.com'))]).toEqual([
      ...['denied', 'done'],
    ])
    // Nor is one good under a name that gets a login before it is used.
    const later = await invite('later@example.com')
    const { id } = await login('later@example.com')
    const secret = new URL(later.link).hash.slice(1)
    const opened = async () => (await pageCall(world.server, api.enrolment.open, { body: { secret } })).status
    expect(await opened()).toBe(410)
    await take(id)
    expect(await opened()).toBe(200)
    // Whoever may grant there could give it.
    const granting = await give('hal@example.com', await made('place', 'grant.add'), 'web/dev')
    expect([await team('rooters'), await reset('lea@example.com')]).toEqual(['denied', 'denied'])
    const there = await give('hal@example.com', await made('place', 'grant.add'), 'web')
    expect([await team('rooters'), await reset('lea@example.com'), await enable('lea@example.com')]).toEqual([
      ...['done', 'done', 'done'],
    ])
    expect(await outcome(invite('soon@example.com'))).toBe('done')
    for (const grant of [granting, there]) await take(grant.id)
  })

  it('by a wider login: whoever may change grants, and not grant there, makes them narrower alone', async () => {
    const kit = await newcomer('kit@example.com')
    await give('kit@example.com', await made('place', 'grant.change'), 'web')
    const options = { forceCommand: '/bin/backup', pty: false, sourceAddress: ['10.0.0.0/8', '192.0.2.1'] }
    const { id } = await as(world.alice, api.grants.add, {
      body: bodyOf(api.grants.add, {
        ...{ who: 'kit@example.com', login: 'root', hosts: { in: 'web' }, endsAt: inAnHour(), options },
      }),
    })
    const tried = (body: object) =>
      outcome(as(kit, api.grants.change, { params: { id }, query: { wait: 0 }, body: bodyOf(api.grants.change, body) }))
    const wider = [
      ...[{ endsAt: null }, { maxLifetime: 9 * 3600 }, { options: { pty: true } }, { options: { forceCommand: null } }],
      ...[{ options: { forceCommand: '/bin/sh' } }, { options: { sourceAddress: null } }],
      { options: { sourceAddress: ['192.0.2.1', '198.51.100.1'] } },
    ]
    for (const body of wider) expect(await tried(body), JSON.stringify(body)).toBe('denied')
    const narrower = [
      ...[{ endsAt: new Date(Date.now() + 600_000).toISOString() }, { maxLifetime: 3600 }],
      ...[{ options: { portForwarding: false } }, { options: { sourceAddress: ['192.0.2.1'] } }],
    ]
    for (const body of narrower) expect(await tried(body), JSON.stringify(body)).toBe('done')
    const there = await give('kit@example.com', await made('place', 'grant.add'), 'web')
    for (const body of wider) expect(await tried(body), JSON.stringify(body)).toBe('done')
    for (const each of [id, there.id]) await take(each)
  })
})

describe('what a role may do no more', () => {
  it('is done no more by anybody who has it, in a session that is open: by its own grant or a team', async () => {
    const tom = await newcomer('tom@example.com')
    const role = await made('place', 'host.read', 'host.add')
    await as(world.alice, api.teams.addMembers, {
      params: { name: 'hosters' },
      body: bodyOf(api.teams.addMembers, { persons: ['tom@example.com'] }),
    })
    const grants = [await give('dan@example.com', role, 'web'), await give('team:hosters', role, 'web')]
    expect([await addHost(dan, 'web'), await addHost(tom, 'web')]).toEqual(['done', 'done'])
    await change(role, { remove: ['host.add'] })
    expect([await addHost(dan, 'web'), await addHost(tom, 'web')]).toEqual(['denied', 'denied'])
    expect(await outcome(as(dan, api.hosts.list, {}))).toBe('done')
    await change(role, { add: ['host.add'] })
    expect([await addHost(dan, 'web'), await addHost(tom, 'web')]).toEqual(['done', 'done'])
    for (const { id } of grants) await take(id)
  })

  it('is refused where nothing would be otherwise, nothing would be left, or it is of no such role', async () => {
    const role = await made('place', 'host.read')
    expect(await outcome(change(role, { add: ['host.read'] }))).toBe('conflict')
    expect(await outcome(change(role, { remove: ['host.read'] }))).toBe('invalid-input')
    expect(await outcome(change(role, { add: ['person.read'] }))).toBe('invalid-input')
    expect(await outcome(change('nobodys', { add: ['host.read'] }))).toBe('not-found')
    expect(await outcome(change('viewer', { add: ['host.add'] }))).toBe('not-found')
    expect(await outcome(change(role, { add: ['host.add'], remove: ['host.read'] }))).toBe('done')
  })
})

describe('a workload', () => {
  it('gets no own role by which others are let in, nor such an action by a role that it has; another it gets', async () => {
    const name = 'payments/prod/robot'
    const robot = await joinWorkload(world.stranger, name, await addWorkload(world.alice, name, {}))
    const [lets, role] = [await made('place', 'host.add', 'grant.add'), await made('place', 'host.read')]
    const who = `workload:${name}`
    expect(await refusal(give(who, lets, 'payments'))).toMatchObject({
      ...{ code: 'invalid-input', message: expect.stringContaining('no workload gets it') },
    })
    const { id } = await give(who, role, 'payments/prod')
    expect((await refusal(change(role, { add: ['grant.change'] }))).message).toContain(
      `${id} gives ${role} to a workload`,
    )
    // Nobody is asked to touch a passkey for what would be refused.
    const letting = { params: { name: role }, body: bodyOf(api.roles.change, { add: ['grant.change'] }) }
    expect(await outcome(call(untouched(world.alice.connection), api.roles.change, letting))).toBe('conflict')
    expect(await outcome(change(role, { add: ['host.add'] }))).toBe('done')
    const body = bodyOf(api.hosts.add, { name: 'by-robot.keyman.localhost', in: 'payments/prod' })
    expect(await outcome(call(robot.connection, api.hosts.add, { body }))).toBe('done')
    await change(role, { remove: ['host.add'] })
    const more = bodyOf(api.hosts.add, { name: 'by-robot2.keyman.localhost', in: 'payments/prod' })
    expect(await outcome(call(robot.connection, api.hosts.add, { body: more }))).toBe('denied')
    await take(id)
    expect(await outcome(change(role, { add: ['grant.change'] }))).toBe('done')
  })
})

describe('the touch', () => {
  const shown = async (
    connection: ApiSession['connection'],
    route: Route<never, never, unknown> | Route,
    input: object,
  ) => {
    const refused = await refusal(call(untouched(connection), route, input))
    expect(refused.code).toBe('assertion-required')
    const params = { transaction: refused.transaction?.id ?? '' }
    const lines = (await page(world.server, api.actions.show, { params })).shown
    return Object.fromEntries(lines.map(({ name, value }) => [name, value]))
  }

  it('for a grant to a workload says who made a token of it that is open: they may have kept it', async () => {
    const name = 'web/prod/kept'
    const token = await addWorkload(world.alice, name)
    const grant = { kind: 'login', who: `workload:${name}`, login: 'root', hosts: { in: 'web/prod' } }
    const open = async () =>
      (await shown(world.alice.connection, api.grants.add, { body: grant }))['Who has this token becomes it']
    expect(await open()).toMatch(/^made by alice@example\.com, good until \d{4}-/)
    await joinWorkload(world.stranger, name, token)
    expect(await open()).toBeUndefined()
    await call(world.alice.connection, api.workloads.remove, { params: { name }, query: { wait: 0 } })
  })

  it('shows what a role is, what whoever has it gains and loses, and who that is', async () => {
    const role = await made('place', 'host.read', 'host.add')
    const { connection } = world.alice
    const given = await give('dan@example.com', role, 'web/prod')
    const body = { name: 'another', of: 'place', actions: ['host.read', 'host.add'] }
    expect(await shown(connection, api.roles.add, { body })).toEqual({
      ...{ Role: 'another', 'Is given for': 'place', May: 'host.read, host.add' },
    })
    const params = { name: role }
    const whose = { 'Given by': `dan@example.com the role ${role} on web/prod` }
    const input = { params, body: { add: ['host.change'], remove: ['host.add'] } }
    expect(await shown(connection, api.roles.change, input)).toEqual({
      ...{ Name: role, 'May from now on': 'host.change', 'May no more': 'host.add' },
      ...{ 'Is given for': 'a project or environment', 'It may now': 'host.read, host.add' },
      ...{ 'It may then': 'host.read, host.change' },
      ...{ 'Whoever has it gains': 'host.change', 'Whoever has it loses': 'host.add', ...whose },
    })
    // By a grant of it, a team that has it, and a person of that: the name of an own role says nothing.
    await as(world.alice, api.teams.addMembers, {
      params: { name: 'namers' },
      body: bodyOf(api.teams.addMembers, { persons: ['dan@example.com'] }),
    })
    const { id } = await give('team:namers', role, 'web/dev')
    const may = { 'Own roles may': expect.stringContaining(`${role}: host.read, host.add`) }
    const one = { persons: ['bob@example.com'] }
    expect(await shown(connection, api.teams.addMembers, { params: { name: 'namers' }, body: one })).toMatchObject(may)
    expect(
      await shown(connection, api.persons.reset, { params: { identity: 'dan@example.com' }, body: {} }),
    ).toMatchObject(may)
    expect(await shown(connection, api.grants.change, { params: { id }, body: { endsAt: inAnHour() } })).toMatchObject(
      may,
    )
    await take(id)
    const grant = { kind: 'role', who: 'bob@example.com', role, in: 'web' }
    expect(await shown(connection, api.grants.add, { body: grant })).toMatchObject({
      ...{ Role: role, 'The role may': 'host.read, host.add' },
    })
    expect(await outcome(call(untouched(connection), api.roles.remove, { params }))).toBe('conflict')
    await take(given.id)
    expect(await shown(connection, api.roles.remove, { params })).toEqual({
      ...{ Name: role, 'Is given for': 'a project or environment', 'It may': 'host.read, host.add' },
    })
  })

  it('is one of its own: under a mandate no role is made, changed, given or taken away', async () => {
    const role = await made('place', 'host.read')
    const session = await logIn(world.server, world.alice.person)
    await as(session, api.mandates.begin, { body: bodyOf(api.mandates.begin, { lifetime: 600 }) })
    const own = { ...session, connection: untouched(session.connection) }
    expect(await addHost(own, 'web')).toBe('done')
    const newRole = { name: 'mandated', of: 'place', actions: ['host.read'] }
    for (const attempt of [
      () => as(own, api.roles.add, { body: bodyOf(api.roles.add, newRole) }),
      () => change(role, { add: ['host.add'] }, own),
      () => give('bob@example.com', role, 'web', { by: own }),
      () => remove(role, own),
    ])
      expect(await outcome(attempt())).toBe('assertion-required')
  })
})
