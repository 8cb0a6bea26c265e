import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CallInput, type Connection, call } from '#cli/server/client.ts'
import { api, type Route } from '#shared/api/index.ts'
import { fromBase64Url } from '#shared/bytes.ts'
import { actionChallenge } from '#shared/login-challenge.ts'
import {
  type ApiPerson,
  type ApiSession,
  confirm,
  inviteAndEnrol,
  logIn,
  page,
  pageCall,
  untouched,
} from '#test/support/people/api-person.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import { openBrowser } from '#test/support/people/browser.ts'
import { requires } from '#test/support/requires.ts'
import { newKey } from '#test/support/trust-world.ts'
import {
  type AttackWorld,
  bodyOf,
  loginBody,
  machineCall,
  openAttackWorld,
  outcome,
  refusal,
} from '#test/support/worlds/attack-world.ts'

/** What one touch of a passkey gives, and what it doesn't. */

let world: AttackWorld
let alice: ApiPerson
/** Alice's client certificate and key, and nobody who would touch anything. */
let thief: Connection
beforeAll(async () => {
  world = await openAttackWorld()
  alice = world.alice.person
  thief = untouched(world.alice.connection)
})
afterAll(() => world?.close())

const invitation = (identity: string, other: Record<string, unknown> = {}) => ({
  body: bodyOf(api.persons.invite, { identity, ...other }),
})
const grant = (other: Record<string, unknown> = {}) => ({
  body: bodyOf(api.grants.add, {
    who: 'bob@example.com',
    login: 'deploy',
    hosts: { labels: { env: 'prod' } },
    ...other,
  }),
})
const team = (name: string, add: readonly string[]) => ({
  params: { name },
  body: bodyOf(api.teams.addMembers, { persons: add }),
})

/** The transaction that a request is answered with. */
async function asked<Query, Body, Answer>(
  connection: Connection,
  route: Route<Query, Body, Answer>,
  input: CallInput<Query, Body>,
): Promise<string> {
  const refused = await refusal(call(untouched(connection), route, input))
  expect(refused.code).toBe('assertion-required')
  return refused.transaction?.id ?? ''
}
const shownOf = async (transaction: string) =>
  Object.fromEntries(
    (await page(world.server, api.actions.show, { params: { transaction } })).shown.map(({ name, value }) => [
      name,
      value,
    ]),
  )
/** A touch by Alice for this request. */
async function touchFor<Query, Body, Answer>(route: Route<Query, Body, Answer>, input: CallInput<Query, Body>) {
  const transaction = await asked(thief, route, input)
  await confirm(world.server, alice, transaction)
  return transaction
}

describe('a stolen client certificate', () => {
  it('administers nothing by the touch of the login, nor by one for something else; by one for this very request it does', async () => {
    // Alice has just signed in, and touches her passkey for what takes something away.
    await call(world.alice.connection, api.persons.invite, invitation('ivy@example.com'))
    const { invitations } = await call(thief, api.persons.invitations)
    const id = invitations.find(({ identity }) => identity === 'ivy@example.com')?.id ?? ''
    const touch = await touchFor(api.persons.uninvite, { params: { id } })
    const evil = invitation('mallory@example.com', { owner: true })
    await asked(thief, api.persons.invite, evil)
    expect(await outcome(call(thief, api.persons.invite, { ...evil, touch }))).toBe('assertion-required')
    expect(await outcome(call(thief, api.persons.uninvite, { params: { id }, touch }))).toBe('done')
    // Used up, it serves nothing else either.
    expect(await outcome(call(thief, api.persons.invite, { ...evil, touch }))).toBe('assertion-required')
  })

  it('gets nothing confirmed by another person, nor with other lines than the page shows', async () => {
    const mallory = await inviteAndEnrol(world.server, world.alice, 'mal@example.com')
    const transaction = await asked(thief, api.persons.invite, invitation('frank@example.com'))
    const params = { transaction }
    const tryWith = async (person: ApiPerson, change: (nonce: Uint8Array) => Uint8Array | undefined) => {
      const { options } = await page(world.server, api.actions.options, { params })
      const challenge = change(fromBase64Url(String(options.challenge)))
      const assertion = person.authenticator.get(
        options,
        challenge === undefined ? {} : { challenge: challenge.toBase64({ alphabet: 'base64url', omitPadding: true }) },
      )
      return (await pageCall(world.server, api.actions.confirm, { params, body: { assertion } })).problem?.code
    }
    const otherLines = (nonce: Uint8Array) =>
      actionChallenge({
        nonce,
        action: 'person invite',
        request: new Uint8Array(32),
        shown: '[["Invited","frank@example.com"]]',
        session: world.alice.login.session.session,
        device: 'test',
        clientSpki: world.alice.keys.client.spki,
      })
    expect(await tryWith(mallory, () => undefined)).toBe('denied')
    expect(await tryWith(alice, otherLines)).toBe('denied')
    expect(await tryWith(alice, () => undefined)).toBe(undefined)
  })
})

describe('a touch', () => {
  it('serves no request that differs in one field, nor another session; the very same is served', async () => {
    await call(world.alice.connection, api.hosts.add, {
      body: bodyOf(api.hosts.add, { name: 'web1.keyman.localhost' }),
    })
    const shown = grant({ endsAt: '2030-01-01T00:00:00Z', options: { forceCommand: 'uptime' } })
    const touch = await touchFor(api.grants.add, shown)
    const other: Record<string, unknown>[] = [
      { who: 'mal@example.com' },
      { login: 'root' },
      { hosts: { labels: { env: 'prod', x: 'y' } } },
      { hosts: { host: 'web1.keyman.localhost' } },
      { maxLifetime: 3601 },
      { endsAt: '2031-01-01T00:00:00Z' },
      { options: {} },
      { options: { forceCommand: 'uptime', agentForwarding: true } },
    ]
    for (const change of other) {
      const changed = grant({ endsAt: '2030-01-01T00:00:00Z', options: { forceCommand: 'uptime' }, ...change })
      expect(await outcome(call(thief, api.grants.add, { ...changed, touch })), JSON.stringify(change)).toBe(
        'assertion-required',
      )
    }
    const elsewhere = untouched((await logIn(world.server, alice)).connection)
    expect(await outcome(call(elsewhere, api.grants.add, { ...shown, touch }))).toBe('assertion-required')
    expect(await outcome(call(thief, api.grants.add, { ...shown, touch }))).toBe('done')
  })

  it('serves no other method or address: a team is not another, and what names a host removes none', async () => {
    const touch = await touchFor(api.teams.addMembers, team('ops', ['bob@example.com']))
    const elsewhere = team('admins', ['bob@example.com'])
    expect(await outcome(call(thief, api.teams.addMembers, { ...elsewhere, touch }))).toBe('assertion-required')
    expect(await outcome(call(thief, api.teams.addMembers, { ...team('ops', ['bob@example.com']), touch }))).toBe(
      'done',
    )
    const input = { params: { identity: 'bob@example.com' } }
    const disabling = await touchFor(api.persons.disable, input)
    expect(await outcome(call(thief, api.persons.enable, { ...input, touch: disabling }))).toBe('assertion-required')
  })

  it('used twice: the second gets the first answer, and nothing is done a second time', async () => {
    const request = { body: bodyOf(api.hosts.add, { name: 'web7.keyman.localhost' }) }
    const touch = await touchFor(api.hosts.add, request)
    const first = await call(thief, api.hosts.add, { ...request, touch })
    expect(await call(thief, api.hosts.add, { ...request, touch })).toEqual(first)
    const query = { kind: 'host-added' as const, limit: 100 }
    const { records } = await call(thief, api.auditTrail.list, { query })
    expect(records.filter(({ record }) => record.includes('web7.keyman.localhost'))).toHaveLength(1)
    expect(JSON.parse(records.at(-1)?.record ?? '{}').actor.consent).toBe(touch)
  })

  it('sent many times at once is used once', async () => {
    const request = invitation('once@example.com')
    const touch = await touchFor(api.persons.invite, request)
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, () => outcome(call(thief, api.persons.invite, { ...request, touch }))),
    )
    expect(outcomes).toContain('done')
    for (const each of outcomes) expect(['done', 'conflict']).toContain(each)
    const { records } = await call(thief, api.auditTrail.list, { query: { kind: 'invitation-created', limit: 100 } })
    expect(records.filter(({ record }) => record.includes('once@example.com'))).toHaveLength(1)
  })

  it('is asked for anew where what an ID names has changed since it was shown', async () => {
    const request = team('moving', ['bob@example.com'])
    const touch = await touchFor(api.teams.addMembers, request)
    expect(await shownOf(touch)).toMatchObject({ 'The team moving is': 'nobody yet: the team is new' })
    await call(world.alice.connection, api.teams.addMembers, team('moving', ['alice@example.com']))
    const anew = await refusal(call(thief, api.teams.addMembers, { ...request, touch }))
    expect([anew.code, anew.transaction?.id === touch]).toEqual(['assertion-required', false])
    expect(await shownOf(anew.transaction?.id ?? '')).toMatchObject({
      'The team moving is': 'alice@example.com',
      'What the team moving gets': 'nothing yet',
    })
    await confirm(world.server, alice, anew.transaction?.id ?? '')
    expect(await outcome(call(thief, api.teams.addMembers, { ...request, touch: anew.transaction?.id ?? '' }))).toBe(
      'done',
    )
  })

  it('is asked for anew where another of as many has come in its place: a member, a grant, a host of the same name', async () => {
    const { connection } = world.alice
    const swapped = async <Query, Body, Answer>(
      route: Route<Query, Body, Answer>,
      request: CallInput<Query, Body>,
      swap: () => Promise<unknown>,
    ) => {
      const touch = await touchFor(route, request)
      await swap()
      const anew = await refusal(call(thief, route, { ...request, touch }))
      expect([anew.code, anew.transaction?.id === touch]).toEqual(['assertion-required', false])
      // As it is now it is shown, and with a touch for that it is done.
      const now = anew.transaction?.id ?? ''
      await confirm(world.server, alice, now)
      const shown = await shownOf(now)
      expect(await outcome(call(thief, route, { ...request, touch: now }))).toBe('done')
      return shown
    }
    await call(connection, api.teams.addMembers, team('swap', ['bob@example.com']))
    const toTeam = { login: 'root', hosts: { labels: { env: 'prod' } } }
    const granted = await swapped(api.grants.add, grant({ who: 'team:swap', ...toTeam }), async () => {
      await call(connection, api.teams.addMembers, team('swap', ['mallory@example.com']))
      const out = { params: { name: 'swap' }, body: bodyOf(api.teams.removeMembers, { persons: ['bob@example.com'] }) }
      await call(connection, api.teams.removeMembers, out)
    })
    expect(granted).toMatchObject({ 'The team swap is': 'mallory@example.com' })

    await call(connection, api.teams.addMembers, team('weak', ['bob@example.com']))
    const weak = grant({ who: 'team:weak', login: 'guest', hosts: { labels: { env: 'test' } } })
    const { id } = await call(connection, api.grants.add, weak)
    const joined = await swapped(api.teams.addMembers, team('weak', ['carol@example.com']), async () => {
      await call(connection, api.grants.add, grant({ who: 'team:weak', ...toTeam }))
      await call(connection, api.grants.remove, { params: { id } })
    })
    expect(joined).toMatchObject({ 'What the team weak gets': 'team:weak as root on env=prod for at most 8h' })

    const name = 'swapped.keyman.localhost'
    const host = { body: bodyOf(api.hosts.add, { name }) }
    await call(connection, api.hosts.add, host)
    const there = await swapped(api.grants.add, grant({ hosts: { host: name } }), async () => {
      await call(connection, api.hosts.remove, { params: { name } })
      await call(connection, api.hosts.add, host)
    })
    expect(there).toMatchObject({ 'Known here as': expect.stringMatching(/^host_/) })
  })

  it('for a team of more than can be read shows how many and a digest, which one other member changes', async () => {
    const names = (from: number) => Array.from({ length: 60 }, (_, i) => `${'a'.repeat(60)}${from + i}@example.com`)
    await call(world.alice.connection, api.teams.addMembers, team('large', names(100)))
    const shown = async () => await shownOf(await asked(thief, api.teams.addMembers, team('large', ['x@example.com'])))
    const before = await shown()
    expect(before['The team large is']).toMatch(/^60, too many to be shown, digest [A-Za-z0-9_-]{22}$/)
    await call(world.alice.connection, api.teams.addMembers, team('large', ['y@example.com']))
    const out = {
      params: { name: 'large' },
      body: bodyOf(api.teams.removeMembers, { persons: names(100).slice(0, 1) }),
    }
    await call(world.alice.connection, api.teams.removeMembers, out)
    const after = (await shown())['The team large is']
    expect([after?.slice(0, 3), after === before['The team large is']]).toEqual(['60,', false])
  })

  it('that nobody used in five minutes is worth nothing', async () => {
    const request = team('late', ['bob@example.com'])
    const touch = await touchFor(api.teams.addMembers, request)
    world.setClock(301)
    expect(await outcome(call(thief, api.teams.addMembers, { ...request, touch }))).toBe('assertion-required')
    world.setClock(0)
    expect(await outcome(call(thief, api.teams.addMembers, { ...request, touch }))).toBe('done')
  })

  it('is needed to rename a passkey, whose name people go by', async () => {
    const { passkeys } = await call(thief, api.passkeys.list)
    const input = { params: { id: passkeys[0]?.id ?? '' }, body: { name: 'phone' } }
    const transaction = await asked(thief, api.passkeys.rename, input)
    expect(await shownOf(transaction)).toMatchObject({ 'New name': '"phone"', Named: '"test"' })
    await confirm(world.server, alice, transaction)
    expect(await outcome(call(thief, api.passkeys.rename, { ...input, touch: transaction }))).toBe('done')
  })
})

describe('the page', () => {
  it('says all of a grant, a host and an invitation, with what is not given too', async () => {
    expect(
      await shownOf(await asked(thief, api.grants.add, grant({ options: { agentForwarding: true } }))),
    ).toMatchObject({
      To: 'bob@example.com',
      Login: 'deploy',
      'On every host with the labels': 'env=prod',
      'A certificate lives at most': '8h',
      'The grant ends': 'never',
      'With agent forwarding': 'yes',
      From: 'any address',
      Command: 'any',
    })
    const host = { name: 'web8.keyman.localhost', address: '198.51.100.7', port: 2222, tokenLifetime: 7200 }
    expect(await shownOf(await asked(thief, api.hosts.add, { body: bodyOf(api.hosts.add, host) }))).toMatchObject({
      Host: host.name,
      'Reached at': host.address,
      Port: '2222',
      'The join token is good for': '2h',
    })
    const long = invitation('guest@example.com', { lifetime: 30 * 86_400 })
    expect(await shownOf(await asked(thief, api.persons.invite, long))).toMatchObject({
      'As owner': 'no',
      'The link is good for': '30d',
    })
  })

  it('shows whom, what and whose an ID names', async () => {
    const { id } = await call(world.alice.connection, api.grants.add, grant())
    expect(await shownOf(await asked(thief, api.grants.remove, { params: { id } }))).toMatchObject({
      ID: id,
      'It gives': 'bob@example.com as deploy on env=prod for at most 8h',
    })
    expect(
      await shownOf(await asked(thief, api.persons.disable, { params: { identity: 'alice@example.com' } })),
    ).toMatchObject({ 'Who alice@example.com is': expect.stringContaining('owner, active') })
    // What is not there is said before anybody is asked to touch anything.
    expect(await outcome(call(thief, api.grants.remove, { params: { id: 'grant_0123456789' } }))).toBe('not-found')
  })

  it('is not asked for what would be refused: a host that is there, or of another organisation; a grant that is there, or to nobody', async () => {
    const host = (name: string) => ({ body: bodyOf(api.hosts.add, { name }) })
    await call(world.alice.connection, api.hosts.add, host('there.keyman.localhost'))
    const given = grant({ login: 'twice' })
    await call(world.alice.connection, api.grants.add, given)
    const asks = (route: Route, input: object) => outcome(call(untouched(thief), route, input))
    expect(await asks(api.hosts.add, host('there.keyman.localhost'))).toBe('conflict')
    expect(await asks(api.hosts.add, host('web1.example.org'))).toBe('invalid-input')
    expect(await asks(api.grants.add, given)).toBe('conflict')
    expect(await asks(api.grants.add, grant({ who: 'team:nobodys' }))).toBe('not-found')
    expect(await asks(api.hosts.add, host('new.keyman.localhost'))).toBe('assertion-required')
    expect(await asks(api.grants.add, grant({ login: 'once' }))).toBe('assertion-required')
  })

  it('shows a secret by its length and a digest, and never itself', async () => {
    const session = await browserOf(alice)
    const { options } = await page(world.server, api.passkeys.addOptions, { cookie: session })
    const registration = new Authenticator(world.server.pagesUrl).create(options)
    const body = { name: 'new "one"', registration }
    const { problem } = await pageCall(world.server, api.passkeys.add, { cookie: session, body })
    const shown = await shownOf(problem?.transaction?.id ?? '')
    expect(shown).toEqual({
      Name: '"new \\"one\\""',
      Passkey: expect.stringMatching(/^[0-9]+ characters, digest [A-Za-z0-9_-]{22}$/),
    })
  })

  it('is not asked to show what is too long to be read: it is refused; half of it is asked for', async () => {
    const names = (count: number) =>
      Array.from({ length: count }, (_, i) => `${'a'.repeat(70)}${100 + i}@${'b'.repeat(30)}.example.com`)
    const many = (count: number) => ({
      params: { name: 'many' },
      body: bodyOf(api.teams.addMembers, { persons: names(count) }),
    })
    expect(await outcome(call(thief, api.teams.addMembers, many(200)))).toBe('too-large')
    await asked(thief, api.teams.addMembers, many(100))
  })

  it('never shows a machine that calls itself like an address: such a name is refused; another one is taken', async () => {
    const lookAlikes = [
      '１０.０.０.１',
      '10\u20240\u20240\u20241',
      '٣.٣.٣.٣',
      '2001\u02d0db8\u02d0\u02d01',
      '\u3164',
      'שלום',
    ]
    for (const device of ['10.0.0.1', 'laptop (from 192.0.2.7)', '2001:db8::1', 'fe80::1 alice', ...lookAlikes]) {
      const { body } = await loginBody(world.stranger)
      const refused = await machineCall(world.stranger, 'POST', '/v1/login', { body: { ...body, device } })
      expect([device, refused.code]).toEqual([device, 'invalid-input'])
    }
    const { body } = await loginBody(world.stranger)
    const taken = await machineCall(world.stranger, 'POST', '/v1/login', {
      body: { ...body, device: 'laptop 2.1: new' },
    })
    expect(taken.status).toBe(201)
  })
})

describe('text that is not seen, or turns about what stands beside it', () => {
  it('is no reason and no name; what is seen is one', async () => {
    const revoke = async (reason: string) => {
      const body = { target: { serial: '1' }, reason, wait: 0 }
      return (await machineCall(thief, 'POST', '/v1/revocations', { body })).code
    }
    for (const reason of ['\u3164', 'a\u115fb', '\u2800', 'a\u202eb'])
      expect(await revoke(reason)).toBe('invalid-input')
    expect(await revoke('Zoë lost it')).toBe('assertion-required')
  })

  it('behind a key that is to be revoked is escaped, and in quotes', async () => {
    const { line } = newKey()
    const body = bodyOf(api.revocations.create, { target: { publicKey: `${line} a\u202eb\u200bc` } })
    expect(await shownOf(await asked(thief, api.revocations.create, { body }))).toMatchObject({
      'The key': `"${line} a\\u202eb\\u200bc"`,
    })
  })

  it.skipIf(!requires('chromium'))(
    'is none in Chromium: each blank of a command is seen, and a long name covers nothing, on a small screen either',
    async () => {
      const forceCommand = `/bin/run  '${' '.repeat(20)}x'`
      const who = `${'m'.repeat(70)}@example.com`
      const refused = await refusal(call(thief, api.grants.add, grant({ who, options: { forceCommand } })))
      const browser = await openBrowser()
      try {
        const { page } = await browser.person()
        for (const width of [1000, 320]) {
          await page.setViewportSize({ width, height: 700 })
          await page.goto(refused.transaction?.url ?? '')
          const command = page.locator('dd', { hasText: '/bin/run' })
          await command.waitFor()
          // biome-ignore lint/performance/useDomNodeTextContent: as it is laid out is what a person sees.
          expect(await command.innerText()).toBe(JSON.stringify(forceCommand))
          // What is wider than its own box is painted over its neighbour, or outside of the page.
          const tooWide =
            '[...document.querySelectorAll("html, dt, dd")].filter(e => e.scrollWidth > e.clientWidth).length'
          expect(await page.evaluate(tooWide)).toBe(0)
        }
      } finally {
        await browser.close()
      }
    },
  )
})

describe('a mandate', () => {
  const begin = (session: ApiSession, lifetime = 600) =>
    call(session.connection, api.mandates.begin, { body: bodyOf(api.mandates.begin, { lifetime }) })

  it('is asked for as what it is, is a touch of its own, and gives neither roles, invitations, persons, passkeys nor trust', async () => {
    const transaction = await asked(thief, api.mandates.begin, { body: { lifetime: 600 } })
    expect(await shownOf(transaction)).toEqual({
      For: '10m',
      Allows: 'everything that you may administer but the following, from this session',
      'But not':
        'admin, invitation remove, passkey add, passkey remove, passkey rename, person change, person disable, person enable, person invite, person reset, role add, role change, role remove, trust publish, workload token, giving a role, by a grant or a team',
    })
    const session = await logIn(world.server, alice)
    const own = untouched(session.connection)
    await asked(own, api.teams.addMembers, team('quick', ['bob@example.com']))
    const { id } = await begin(session)
    expect(await outcome(call(own, api.teams.addMembers, team('quick', ['bob@example.com'])))).toBe('done')
    const { records } = await call(own, api.auditTrail.list, { query: { kind: 'team-changed', limit: 1 } })
    expect(JSON.parse(records[0]?.record ?? '{}').actor).toMatchObject({ consent: id })
    await asked(own, api.persons.invite, invitation('eve@example.com'))
    await asked(own, api.persons.disable, { params: { identity: 'bob@example.com' } })
    await asked(own, api.mandates.begin, { body: { lifetime: 600 } })
    const role = { body: bodyOf(api.grants.add, { kind: 'role', who: 'team:mighty', role: 'administrator' }) }
    const login = { body: bodyOf(api.grants.add, { who: 'team:mighty', login: 'x', hosts: { labels: { env: 'x' } } }) }
    expect(await outcome(call(own, api.teams.addMembers, team('mighty', ['bob@example.com'])))).toBe('done')
    expect(await outcome(call(own, api.grants.add, login))).toBe('done')
    await asked(own, api.grants.add, role)
    const given = await call(session.connection, api.grants.add, role)
    // Whoever comes into the team has its role.
    await asked(own, api.teams.addMembers, team('mighty', ['mal@example.com']))
    await asked(own, api.grants.change, { params: { id: given.id }, body: { endsAt: null } })
    expect(await outcome(call(own, api.grants.remove, { params: { id: given.id } }))).toBe('done')
    // Nor from any other session of the same person.
    await asked(thief, api.teams.addMembers, team('quick', ['mal@example.com']))
  })

  it('makes no request good that names a touch which is none: it is refused, and done without that header', async () => {
    const session = await logIn(world.server, alice)
    const own = untouched(session.connection)
    await begin(session)
    const { params, body } = team('named', ['bob@example.com'])
    const add = (touch?: string) =>
      machineCall(own, 'POST', `/v1/teams/${params.name}/members`, {
        body,
        ...(touch === undefined ? {} : { headers: { 'keyman-touch': touch } }),
      })
    for (const none of ['', 'yes', 'action_short', `action_${'a'.repeat(65)}`, `action_${'a'.repeat(22)}, b`]) {
      const { status, code, text } = await add(none)
      expect([none, status, code]).toEqual([none, 400, 'invalid-input'])
      expect(text).toContain('keyman-touch')
    }
    expect((await add()).status).toBe(200)
    // Where no touch is wanted, the header is nobody's.
    const show = await machineCall(own, 'GET', '/v1/session', { headers: { 'keyman-touch': 'yes' } })
    expect(show.status).toBe(200)
  })

  it('ends by itself, by --end and with its session; before that it counts', async () => {
    const session = await logIn(world.server, alice)
    const own = untouched(session.connection)
    const add = (n: number) => outcome(call(own, api.teams.addMembers, team(`ending${n}`, ['bob@example.com'])))
    await begin(session)
    world.setClock(599)
    expect(await add(1)).toBe('done')
    world.setClock(601)
    expect(await add(2)).toBe('assertion-required')
    world.setClock(0)
    await begin(session)
    expect(await add(3)).toBe('done')
    await call(own, api.mandates.end)
    expect(await add(4)).toBe('assertion-required')
    await begin(session)
    await call(own, api.session.end)
    expect(await add(5)).toBe('not-signed-in')
  })
})

/** The cookie of a browser that a person has signed in. */
async function browserOf(person: ApiPerson): Promise<string | undefined> {
  const { options } = await page(world.server, api.signIn.options, {})
  const body = { assertion: person.authenticator.get(options) }
  return (await pageCall(world.server, api.signIn.complete, { body })).cookie
}
