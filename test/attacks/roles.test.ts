import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CallInput, call } from '#cli/server/client.ts'
import { ACTIONS, allRoutes, api, type Route } from '#shared/api/index.ts'
import { parseJoinToken } from '#shared/join-token.ts'
import { parseHostName, parsePlace } from '#shared/names.ts'
import { type ApiSession, inviteAndEnrol, logIn, page, pageCall, touchedPage } from '#test/support/people/api-person.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import { pathOf, routeInputs } from '#test/support/route-inputs.ts'
import {
  type AttackWorld,
  bodyOf,
  joinBody,
  joinHost,
  machineCall,
  openAttackWorld,
  outcome,
  refusal,
} from '#test/support/worlds/attack-world.ts'

/** What somebody does with a role that is not enough for it. Alice owns the organisation. */

let world: AttackWorld
beforeAll(async () => {
  world = await openAttackWorld()
  await as(world.alice, api.projects.add, {
    body: bodyOf(api.projects.add, { name: 'payments', environments: ['prod', 'dev'] }),
  })
  await as(world.alice, api.projects.add, { body: bodyOf(api.projects.add, { name: 'web' }) })
})
afterAll(() => world?.close())

const as = <Query, Body, Answer>(who: ApiSession, route: Route<Query, Body, Answer>, input: CallInput<Query, Body>) =>
  call(who.connection, route, input)
const give = (who: string, role: string, where?: string, by = world.alice) =>
  as(by, api.grants.add, {
    body: bodyOf(api.grants.add, { kind: 'role', who, role, ...(where === undefined ? {} : { in: where }) }),
  })
const newcomer = async (name: string) => logIn(world.server, await inviteAndEnrol(world.server, world.alice, name))
const person = (identity: string) => ({ params: { identity } })
const invite = (identity: string, owner = false) => ({
  body: bodyOf(api.persons.invite, { identity, owner }),
})
const host = (name: string, where?: string) => ({
  body: bodyOf(api.hosts.add, {
    name: parseHostName(`${name}.keyman.localhost`, 'name'),
    ...(where === undefined ? {} : { in: parsePlace(where, 'in') }),
  }),
})
const login = (more: object) => ({ body: bodyOf(api.grants.add, { who: 'bob@example.com', login: 'deploy', ...more }) })

describe('a role', () => {
  it('goes on after a change of its person that says nothing of roles: a passkey added, all of their certificates revoked', async () => {
    const ola = await newcomer('ola@example.com')
    await give('ola@example.com', 'administrator')
    const add = async (name: string) => outcome(as(ola, api.hosts.add, host(name)))
    expect(await add('before')).toBe('done')
    const signIn = await page(world.server, api.signIn.options)
    const assertion = ola.person.authenticator.get(signIn.options)
    const { cookie } = await pageCall(world.server, api.signIn.complete, { body: { assertion } })
    const { options } = await page(world.server, api.passkeys.addOptions, { cookie })
    const body = { name: 'second', registration: new Authenticator(world.server.pagesUrl).create(options) }
    expect((await touchedPage(world.server, ola.person, api.passkeys.add, { cookie, body })).answer.status).toBe(201)
    expect(await add('after-a-passkey')).toBe('done')
    await as(world.alice, api.revocations.create, {
      body: bodyOf(api.revocations.create, { target: { person: 'ola@example.com' }, wait: 0 }),
    })
    const again = await logIn(world.server, ola.person)
    expect(await outcome(as(again, api.hosts.add, host('after-a-revocation')))).toBe('done')
  })
})

describe('an auditor', () => {
  it('reads the log and who logged in, and nothing else that takes a role', async () => {
    const eve = await newcomer('eve@example.com')
    const inputs = routeInputs(world, await joinHost(world, 'web1.keyman.localhost'))
    const walk = allRoutes.filter(({ action }) => ACTIONS[action].by === 'role')
    const ask = async (route: (typeof walk)[number]) => {
      const input = inputs[route.id] ?? {}
      const { body } = input
      return machineCall(eve.connection, route.method, pathOf(route.path, input), body === undefined ? {} : { body })
    }
    for (const route of walk) expect([route.id, (await ask(route)).code]).toEqual([route.id, 'denied'])
    await give('eve@example.com', 'auditor')
    for (const route of walk) {
      const { code, status } = await ask(route)
      if (route.action === 'audit.read' || route.action === 'login.read')
        expect([route.id, status]).toEqual([route.id, 200])
      else expect([route.id, code]).toEqual([route.id, 'denied'])
    }
  })
})

describe('an administrator who is no owner', () => {
  let adam: ApiSession
  beforeAll(async () => {
    adam = await newcomer('adam@example.com')
    await give('adam@example.com', 'administrator')
  })

  it('gives what they have', async () => {
    expect(await outcome(give('bob@example.com', 'auditor', undefined, adam))).toBe('done')
    expect(await outcome(as(adam, api.persons.invite, invite('new1@example.com')))).toBe('done')
    expect(await outcome(as(adam, api.persons.invite, invite('new1@example.com')))).toBe('done')
    const { invitations } = await as(adam, api.persons.invitations, {})
    const id = invitations.find(({ identity }) => identity === 'new1@example.com')?.id ?? ''
    expect(await outcome(as(adam, api.persons.uninvite, { params: { id } }))).toBe('done')
    expect(
      await outcome(as(adam, api.persons.reset, { ...person('bob@example.com'), body: bodyOf(api.persons.reset, {}) })),
    ).toBe('done')
  })

  it.each<[string, (adam: ApiSession) => Promise<unknown>]>([
    [
      'makes themselves an owner',
      adam => as(adam, api.persons.change, { ...person('adam@example.com'), body: { owner: true } }),
    ],
    ['invites an owner', adam => as(adam, api.persons.invite, invite('new2@example.com', true))],
    [
      'resets an owner',
      adam => as(adam, api.persons.reset, { ...person('alice@example.com'), body: bodyOf(api.persons.reset, {}) }),
    ],
    ['disables an owner', adam => as(adam, api.persons.disable, person('alice@example.com'))],
    ['says yes to an owner', adam => as(adam, api.persons.enable, person('alice@example.com'))],
    [
      "puts their own invitation in an owner's place",
      async adam => {
        await as(world.alice, api.persons.invite, invite('new3@example.com', true))
        return as(adam, api.persons.invite, invite('new3@example.com'))
      },
    ],
    [
      'takes the invitation of an owner away',
      async adam => {
        await as(world.alice, api.persons.invite, invite('new4@example.com', true))
        const { invitations } = await as(adam, api.persons.invitations, {})
        const id = invitations.find(({ identity }) => identity === 'new4@example.com')?.id ?? ''
        return as(adam, api.persons.uninvite, { params: { id } })
      },
    ],
    ['publishes a trust bundle', adam => as(adam, api.trust.publish, { body: { document: '{}', signatures: [] } })],
  ])('nobody %s without being one', async (_, attack) => {
    const { code, message } = await refusal(attack(adam))
    expect([code, message]).toEqual(['denied', expect.stringMatching(/owner\.change|trust\.publish/)])
  })

  it('invites nobody under a name that has more than they have, by its own grant or its team, nor is such an invitation good', async () => {
    const ends = new Date(Date.now() + 3_600_000).toISOString()
    const tim = await newcomer('tim@example.com')
    await as(world.alice, api.grants.add, {
      body: bodyOf(api.grants.add, { kind: 'role', who: 'tim@example.com', role: 'administrator', endsAt: ends }),
    })
    const open = await as(tim, api.persons.invite, invite('later@example.com'))
    const opened = async () =>
      (await pageCall(world.server, api.enrolment.open, { body: { secret: new URL(open.link).hash.slice(1) } })).status
    expect(await opened()).toBe(200)
    await give('later@example.com', 'administrator')
    expect(await opened()).toBe(410)
    await as(world.alice, api.teams.addMembers, {
      params: { name: 'chiefs' },
      body: bodyOf(api.teams.addMembers, { persons: ['chief@example.com'] }),
    })
    await give('team:chiefs', 'administrator')
    for (const name of ['later@example.com', 'chief@example.com']) {
      expect(await outcome(as(tim, api.persons.invite, invite(name)))).toBe('denied')
      expect(await outcome(as(world.alice, api.persons.invite, invite(name)))).toBe('done')
    }
  })

  it('loses with the role what they prepared by it: an invitation that was sent is good no more, and again good with the role', async () => {
    const sender = await newcomer('frank@example.com')
    const grant = await give('frank@example.com', 'administrator')
    const { link } = await as(sender, api.persons.invite, invite('guest@example.com'))
    const secret = new URL(link).hash.slice(1)
    const opened = async () => (await pageCall(world.server, api.enrolment.open, { body: { secret } })).status
    expect(await opened()).toBe(200)
    await as(world.alice, api.grants.remove, { params: { id: grant.id } })
    expect(await opened()).toBe(410)
    await give('frank@example.com', 'administrator')
    expect(await opened()).toBe(200)
  })
})

describe('an admin of one environment', () => {
  let pia: ApiSession
  beforeAll(async () => {
    pia = await newcomer('pia@example.com')
    await give('pia@example.com', 'admin', 'payments/prod')
    await as(world.alice, api.hosts.add, host('elsewhere', 'web'))
    await as(world.alice, api.hosts.add, host('nowhere'))
  })

  it('adds hosts there, lets people in there, gives roles there; and sees what is there', async () => {
    expect(await outcome(as(pia, api.hosts.add, host('pay1', 'payments/prod')))).toBe('done')
    expect(await outcome(as(pia, api.grants.add, login({ hosts: { in: 'payments/prod' } })))).toBe('done')
    expect(await outcome(as(pia, api.grants.add, login({ hosts: { host: 'pay1.keyman.localhost' } })))).toBe('done')
    expect(await outcome(give('bob@example.com', 'viewer', 'payments/prod', pia))).toBe('done')
    const { hosts } = await as(pia, api.hosts.list, {})
    expect(hosts.map(({ name }) => name)).toEqual(['pay1.keyman.localhost'])
    const { grants } = await as(pia, api.grants.list, {})
    expect(grants).toHaveLength(4)
    expect(await as(pia, api.projects.list, {})).toMatchObject({
      projects: [{ name: 'payments', environments: ['payments/prod'] }],
    })
  })

  it('an editor changes a port there, and neither labels nor place: by these it is chosen who gets in', async () => {
    const ed = await newcomer('ed@example.com')
    await give('ed@example.com', 'editor', 'payments/prod')
    const change = (who: ApiSession, body: object) =>
      outcome(
        as(who, api.hosts.change, {
          params: { name: 'pay1.keyman.localhost' },
          body: bodyOf(api.hosts.change, body),
        }),
      )
    expect([await change(ed, { port: 2222 }), await change(ed, { labels: { env: 'prod' } })]).toEqual([
      'done',
      'denied',
    ])
    expect([await change(ed, { in: null }), await change(pia, { labels: { env: 'prod' } })]).toEqual(['denied', 'done'])
  })

  it('a role that ends gives none that lasts longer, neither to others nor to themselves', async () => {
    const ends = new Date(Date.now() + 3_600_000).toISOString()
    const tom = await newcomer('tom@example.com')
    const body = (more: object) =>
      bodyOf(api.grants.add, { kind: 'role', who: 'tom@example.com', role: 'admin', in: 'payments/dev', ...more })
    const { id } = await as(world.alice, api.grants.add, { body: body({ endsAt: ends }) })
    const add = (more: object) => outcome(as(tom, api.grants.add, { body: body({ who: 'bob@example.com', ...more }) }))
    expect([await add({}), await add({ endsAt: new Date(Date.parse(ends) + 60_000).toISOString() })]).toEqual([
      'denied',
      'denied',
    ])
    expect(await add({ endsAt: new Date(Date.parse(ends) - 60_000).toISOString() })).toBe('done')
    const change = (endsAt: string | null) => outcome(as(tom, api.grants.change, { params: { id }, body: { endsAt } }))
    expect([await change(null), await change(new Date(Date.parse(ends) - 60_000).toISOString())]).toEqual([
      'denied',
      'done',
    ])
  })

  it.each<[string, (pia: ApiSession) => Promise<unknown>]>([
    ['in its project', pia => as(pia, api.hosts.add, host('pay2', 'payments'))],
    ['in another environment', pia => as(pia, api.hosts.add, host('pay2', 'payments/dev'))],
    ['in another project', pia => as(pia, api.hosts.add, host('pay2', 'web'))],
    ['in none', pia => as(pia, api.hosts.add, host('pay2'))],
    [
      'by a login for labels, wherever they are',
      pia => as(pia, api.grants.add, login({ hosts: { labels: { env: 'test' } } })),
    ],
    [
      "by a login on another's host",
      pia => as(pia, api.grants.add, login({ hosts: { host: 'elsewhere.keyman.localhost' } })),
    ],
    [
      'by a login on a host in no project',
      pia => as(pia, api.grants.add, login({ hosts: { host: 'nowhere.keyman.localhost' } })),
    ],
    ['by a role on its project', pia => give('pia@example.com', 'admin', 'payments', pia)],
    ['by a role on the organisation', pia => give('pia@example.com', 'auditor', undefined, pia)],
    [
      'by removing a host elsewhere',
      pia => as(pia, api.hosts.remove, { params: { name: 'elsewhere.keyman.localhost' } }),
    ],
    [
      'by taking a host of theirs elsewhere',
      pia =>
        as(pia, api.hosts.change, {
          params: { name: 'pay1.keyman.localhost' },
          body: bodyOf(api.hosts.change, { in: 'web' }),
        }),
    ],
    [
      'by taking a host from elsewhere',
      pia =>
        as(pia, api.hosts.change, {
          params: { name: 'elsewhere.keyman.localhost' },
          body: bodyOf(api.hosts.change, { in: 'payments/prod' }),
        }),
    ],
    ['by looking at it', pia => as(pia, api.hosts.show, { params: { name: 'elsewhere.keyman.localhost' } })],
    [
      'by a grant that is not theirs',
      async pia => {
        const grant = await give('bob@example.com', 'viewer', 'web')
        return as(pia, api.grants.remove, { params: { id: grant.id } })
      },
    ],
  ])('does nothing %s', async (_, attack) => {
    expect(await outcome(attack(pia))).toBe('denied')
  })
})

describe('a project', () => {
  it('is not taken away while something is in it, which is named; empty it is', async () => {
    const remove = () => as(world.alice, api.projects.remove, { params: { project: 'shop' } })
    await as(world.alice, api.projects.add, {
      body: bodyOf(api.projects.add, { name: 'shop', environments: ['prod'] }),
    })
    await as(world.alice, api.hosts.add, host('shop1', 'shop/prod'))
    const { id } = await give('bob@example.com', 'viewer', 'shop')
    const refused = await refusal(remove())
    expect(refused.code).toBe('conflict')
    expect(refused.message).toContain(`shop is not empty: shop/prod, host shop1.keyman.localhost, ${id}`)
    await as(world.alice, api.hosts.remove, { params: { name: 'shop1.keyman.localhost' } })
    await as(world.alice, api.grants.remove, { params: { id } })
    await as(world.alice, api.projects.removeEnvironment, { params: { project: 'shop', environment: 'prod' } })
    await remove()
    expect(await outcome(as(world.alice, api.hosts.add, host('shop2', 'shop')))).toBe('not-found')
    expect(await outcome(give('bob@example.com', 'viewer', 'shop'))).toBe('not-found')
  })
})

describe('somebody who may add hosts', () => {
  const join = async (secret: string) =>
    call(world.stranger, api.hostSelf.join, { body: await joinBody(world.stranger, secret) })
  const shown = (name: string) => as(world.alice, api.hosts.show, { params: { name: `${name}.keyman.localhost` } })
  const added = async (who: ApiSession, name: string, where?: string) =>
    parseJoinToken((await as(who, api.hosts.add, host(name, where))).token).secret

  it('loses with the role the join tokens that they made: good no more, recorded, and shown; again good with the role', async () => {
    const lou = await newcomer('lou@example.com')
    const { id } = await give('lou@example.com', 'operator')
    const [early, late] = [await added(lou, 'lou1'), await added(lou, 'lou2')]
    expect(await outcome(join(early))).toBe('done')
    await as(world.alice, api.grants.remove, { params: { id } })
    expect(await refusal(join(late))).toMatchObject({
      code: 'denied',
      message: expect.stringContaining('the join token of lou2.keyman.localhost is good no more'),
      hint: expect.stringContaining('keyman host remove lou2.keyman.localhost, then keyman host add'),
    })
    const { records } = await as(world.alice, api.auditTrail.list, { query: { kind: 'denied', limit: 1 } })
    expect(JSON.parse(records.at(-1)?.record ?? '{}')).toMatchObject({
      actor: { kind: 'host', name: 'lou2.keyman.localhost' },
      target: 'host.add',
      reason: expect.stringContaining('lou@example.com has no role'),
    })
    expect((await shown('lou2')).message).toMatch(/^whoever made its join token may not add hosts there any more/)
    const { hosts } = await as(world.alice, api.hosts.list, {})
    const remarked = hosts.filter(({ name, message }) => name.startsWith('lou') && message !== undefined)
    expect(remarked.map(({ name }) => name)).toEqual(['lou2.keyman.localhost'])
    // A flood of tries is no flood of records.
    const tries = await Promise.all(Array.from({ length: 40 }, () => outcome(join(late))))
    expect(new Set(tries)).toEqual(new Set(['denied', 'too-many-requests']))
    await give('lou@example.com', 'operator')
    expect((await shown('lou2')).message).toBe(undefined)
  })

  it('in one place adds none elsewhere by a host that is moved there, whose role it was; in that place it joins', async () => {
    const gil = await newcomer('gil@example.com')
    await give('gil@example.com', 'editor', 'payments')
    const [moved, stays] = [await added(gil, 'gil1', 'payments/prod'), await added(gil, 'gil2', 'payments/prod')]
    const change = (name: string, where: string) =>
      as(world.alice, api.hosts.change, {
        params: { name: `${name}.keyman.localhost` },
        body: bodyOf(api.hosts.change, { in: parsePlace(where, 'in') }),
      })
    await change('gil1', 'web')
    await change('gil2', 'payments/dev')
    expect([await outcome(join(moved)), await outcome(join(stays))]).toEqual(['denied', 'done'])
  })
})
