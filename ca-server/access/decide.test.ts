import { describe, expect, test } from 'vitest'
import { schemas } from '#shared/api/index.ts'
import { parseHostName, parseLogin, parsePersonIdentity, parseTeamName } from '#shared/names.ts'
import { decide } from './decide.ts'
import type { Action, Grant, PersonState, SelectableHost, Subject } from './port.ts'
import { principalsFor } from './principals.ts'
import { makeSnapshot, type Snapshot } from './snapshot.ts'

const now = new Date('2026-11-24T12:00:00Z')
const alice = parsePersonIdentity('alice@example.com', 'test')
const bob = parsePersonIdentity('bob@example.com', 'test')
const web1: SelectableHost = {
  name: parseHostName('web1.prod.example.com', 'test'),
  labels: { env: 'prod', role: 'web' },
}
const db1: SelectableHost = { name: parseHostName('db1.prod.example.com', 'test'), labels: { env: 'prod', role: 'db' } }
const person = (identity: typeof alice, other: Partial<PersonState> = {}): PersonState => ({
  identity,
  owner: false,
  state: 'active',
  ...other,
})
const asAlice: Subject = { kind: 'person', identity: alice }

let count = 0
const grant = (other: Record<string, unknown> = {}): Grant =>
  schemas.grant.parse({
    id: `grant_${String(++count).padStart(10, '0')}`,
    who: alice,
    login: 'deploy',
    hosts: { labels: { env: 'prod' } },
    maxLifetime: 8 * 3600,
    options: {},
    createdAt: now.toISOString(),
    createdBy: 'root@example.com',
    ...other,
  })
const world = (
  grants: readonly Grant[],
  { persons = [person(alice), person(bob)], teams = [] as [string, (typeof alice)[]][] } = {},
): Snapshot =>
  makeSnapshot({
    persons,
    teams: teams.map(([name, members]) => ({ name: parseTeamName(name, 'test'), members })),
    grants,
    epochs: new Map(persons.map((p, i) => [`person:${p.identity}`, BigInt(i + 7)])),
  })
const certificate = (snapshot: Snapshot, lifetime?: number, subject = asAlice) =>
  decide(snapshot, now, subject, { kind: 'ssh-certificate', ...(lifetime === undefined ? {} : { lifetime }) })
const loginOn = (snapshot: Snapshot, host: SelectableHost, login?: string) =>
  decide(snapshot, now, asAlice, {
    kind: 'ssh-login',
    host,
    ...(login === undefined ? {} : { login: parseLogin(login, 'test') }),
  })

describe('a certificate', () => {
  test('is given for a grant: the principal is the identity and nothing else, extensions as the grant says', () => {
    expect(certificate(world([grant()]))).toEqual({
      allow: true,
      limits: {
        principals: ['alice@example.com'],
        maxLifetime: 28_800,
        limitedBy: expect.stringMatching(/^grant grant_\d+: deploy on env=prod for at most 8h$/),
        extensions: ['permit-port-forwarding', 'permit-pty'],
      },
      epochs: [{ subject: 'person:alice@example.com', epoch: 7n }],
    })
  })

  test.each<[string, Snapshot]>([
    ['no grant', world([])],
    ["somebody else's grant", world([grant({ who: bob })])],
    ['a grant to a team of others', world([grant({ who: 'team:sre' })], { teams: [['sre', [bob]]] })],
    ['a grant to a team without members', world([grant({ who: 'team:sre' })], { teams: [['sre', []]] })],
    ['a grant to a team that is not there', world([grant({ who: 'team:sre' })])],
    ['a grant that has ended', world([grant({ endsAt: '2026-11-24T11:59:59Z' })])],
    ['a grant that ends at this very moment', world([grant({ endsAt: now.toISOString() })])],
    ['a disabled person', world([grant()], { persons: [person(alice, { state: 'disabled' })] })],
    ['somebody who is no person here', world([grant()], { persons: [person(bob)] })],
    [
      'a person whose number is not known',
      makeSnapshot({ persons: [person(alice)], teams: [], grants: [grant()], epochs: new Map() }),
    ],
    ['an administrator without a grant', world([], { persons: [person(alice, { owner: true })] })],
  ])('is denied with a reason: %s', (_, snapshot) => {
    const decision = certificate(snapshot)
    expect(decision).toMatchObject({ allow: false, message: expect.any(String) })
    expect(decision.allow ? [] : decision.reasons).not.toHaveLength(0)
  })

  test('lasts as long as the shortest of all live grants lets it', () => {
    const decision = certificate(
      world([
        grant(),
        grant({ maxLifetime: 3600, login: 'root' }),
        grant({ maxLifetime: 60, endsAt: '2026-11-24T11:00:00Z' }),
      ]),
    )
    expect(decision).toMatchObject({
      allow: true,
      limits: { maxLifetime: 3600, limitedBy: expect.stringContaining('root') },
    })
  })

  test('a request that asks for more time than allowed gets what is allowed, one that asks for less gets less', () => {
    expect(certificate(world([grant()]), 999_999)).toMatchObject({ limits: { maxLifetime: 28_800 } })
    const less = certificate(world([grant()]), 600)
    expect(less).toMatchObject({ limits: { maxLifetime: 600 } })
    expect(less.allow && less.limits.limitedBy).toBe(undefined)
  })

  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('a lifetime of %d is denied', lifetime => {
    expect(certificate(world([grant()]), lifetime).allow).toBe(false)
  })

  test('ends with the last grant, where all of them end', () => {
    const soon = grant({ endsAt: '2026-11-24T13:00:00Z' })
    const later = grant({ endsAt: '2026-11-24T14:00:00Z' })
    expect(certificate(world([soon, later]))).toMatchObject({ limits: { endsAt: new Date('2026-11-24T14:00:00Z') } })
    const open = certificate(world([soon, later, grant()]))
    expect(open.allow && open.limits.endsAt).toBe(undefined)
  })

  test('agent forwarding is off unless a grant gives it (CVE-2023-38408)', () => {
    const plain = certificate(world([grant()]))
    expect(plain.allow && plain.limits.extensions).not.toContain('permit-agent-forwarding')
    const given = certificate(world([grant({ options: { agentForwarding: true, pty: false, portForwarding: false } })]))
    expect(given.allow && given.limits.extensions).toEqual(['permit-agent-forwarding'])
  })

  test('a team gives to its members', () => {
    const decision = certificate(world([grant({ who: 'team:sre' })], { teams: [['sre', [alice]]] }))
    expect(decision).toMatchObject({ allow: true, limits: { principals: ['alice@example.com'] } })
  })
})

describe('a login', () => {
  test('is allowed where a grant selects the host, by labels or by name', () => {
    expect(loginOn(world([grant()]), web1).allow).toBe(true)
    expect(loginOn(world([grant({ hosts: { host: web1.name } })]), web1).allow).toBe(true)
  })

  test.each<[string, Record<string, unknown>]>([
    ['another name', { hosts: { host: db1.name } }],
    ['one label of two', { hosts: { labels: { env: 'prod', role: 'db' } } }],
    ['a label that the host does not have', { hosts: { labels: { zone: 'a' } } }],
    ['a label of another value', { hosts: { labels: { env: 'pro' } } }],
    ["a label's name that every object has", { hosts: { labels: { constructor: 'x' } } }],
  ])('is denied where the selector is for %s', (_, other) => {
    const decision = loginOn(world([grant(other)]), web1)
    expect(decision).toMatchObject({ allow: false, message: expect.stringContaining(web1.name) })
  })

  test('a selector without labels, should one ever stand in the database, selects nothing', () => {
    const empty = { ...grant(), hosts: { labels: {} } }
    expect(loginOn(world([empty]), web1).allow).toBe(false)
  })

  test('as another Unix user is denied, and the reason names those that are allowed', () => {
    const decision = loginOn(world([grant()]), web1, 'root')
    expect(decision.allow ? '' : decision.reasons.join()).toMatch(/login root .* only deploy/)
    expect(loginOn(world([grant()]), web1, 'deploy').allow).toBe(true)
  })

  test('where the grants are for other hosts, the reason names them', () => {
    const decision = loginOn(world([grant({ hosts: { host: db1.name } })]), web1)
    expect(decision.allow ? '' : decision.reasons.join()).toContain(db1.name)
  })
})

describe('everything else', () => {
  const admin = world([], { persons: [person(alice, { owner: true }), person(bob)] })
  test('a host gets a certificate for its own name and its aliases, and nothing else', () => {
    const host: Subject = { kind: 'host', name: web1.name }
    expect(decide(admin, now, host, { kind: 'ssh-host-certificate' })).toMatchObject({
      allow: true,
      limits: { principals: [web1.name] },
    })
    const called: Subject = { ...host, aliases: [parseHostName('www.prod.example.com', 'test')] }
    expect(decide(admin, now, called, { kind: 'ssh-host-certificate' })).toMatchObject({
      allow: true,
      limits: { principals: [web1.name, 'www.prod.example.com'] },
    })
    expect(decide(admin, now, asAlice, { kind: 'ssh-host-certificate' }).allow).toBe(false)
    for (const action of [
      { kind: 'ssh-certificate' },
      { kind: 'ssh-login', host: web1 },
      { kind: 'do', wants: [{ action: 'grant.add' }] },
      { kind: 'do', wants: [] },
    ] as const)
      expect(decide(admin, now, host, action).allow).toBe(false)
  })

  test('an unknown action is denied', () => {
    const unknown: Action = JSON.parse('{ "kind": "ssh-certificates", "what": "x" }')
    expect(decide(admin, now, asAlice, unknown)).toEqual({
      allow: false,
      reasons: ['this action is not known'],
      message: 'this action is not known',
    })
  })
})

describe('principals files', () => {
  const line = (principal: string) => ({
    principal,
    pty: true,
    portForwarding: true,
    agentForwarding: false,
    x11Forwarding: false,
  })

  test('name persons, never teams; a team is expanded', () => {
    const snapshot = world([grant({ who: 'team:sre', login: 'deploy' }), grant({ who: bob, login: 'root' })], {
      teams: [['sre', [alice, bob]]],
    })
    expect(principalsFor(snapshot, web1, now)).toEqual({
      deploy: [line('alice@example.com'), line('bob@example.com')],
      root: [line('bob@example.com')],
    })
  })

  test('a person taken out of a team, disabled, or whose grant has ended has no line', () => {
    const teams: [string, (typeof alice)[]][] = [['sre', [bob]]]
    expect(principalsFor(world([grant({ who: 'team:sre' })], { teams }), web1, now)).toEqual({
      deploy: [line('bob@example.com')],
    })
    const persons = [person(alice, { state: 'disabled' })]
    expect(principalsFor(world([grant()], { persons }), web1, now)).toEqual({})
    expect(principalsFor(world([grant({ endsAt: '2026-11-24T11:00:00Z' })]), web1, now)).toEqual({})
    expect(principalsFor(world([grant()], { persons: [person(bob)] }), web1, now)).toEqual({})
  })

  test('hold the end, addresses and command of the grant', () => {
    const snapshot = world([
      grant({
        endsAt: '2026-11-25T00:00:00.000Z',
        options: { pty: false, sourceAddress: ['10.0.0.0/8'], forceCommand: 'uptime' },
      }),
    ])
    expect(principalsFor(snapshot, web1, now)).toEqual({
      deploy: [
        {
          ...line('alice@example.com'),
          pty: false,
          sourceAddress: ['10.0.0.0/8'],
          forceCommand: 'uptime',
          expiresAt: '2026-11-25T00:00:00.000Z',
        },
      ],
    })
  })

  test('of two grants the wider makes the one line, since sshd reads no second; nothing of them is mixed', () => {
    const narrow = grant({ options: { forceCommand: 'uptime', agentForwarding: true } })
    const wide = grant({ endsAt: '2026-11-25T00:00:00.000Z' })
    for (const grants of [
      [narrow, wide],
      [wide, narrow],
    ])
      expect(principalsFor(world(grants), web1, now)).toEqual({
        deploy: [{ ...line('alice@example.com'), expiresAt: '2026-11-25T00:00:00.000Z' }],
      })
  })

  test('are made once for all hosts that the same grants choose, and anew when one of these has ended', () => {
    const ending = grant({ who: bob, endsAt: '2026-11-24T13:00:00Z' })
    const snapshot = world([grant(), ending, grant({ login: 'root', hosts: { host: db1.name } })])
    const web2 = { ...web1, name: parseHostName('web2.prod.example.com', 'test') }
    const files = principalsFor(snapshot, web1, now)
    expect(principalsFor(snapshot, web2, now)).toBe(files)
    expect(Object.keys(principalsFor(snapshot, db1, now))).toEqual(['deploy', 'root'])
    expect(principalsFor(snapshot, web1, new Date('2026-11-24T13:00:00Z'))).toEqual({ deploy: [line(alice)] })
  })

  test('of a host that no grant selects are none', () => {
    expect(principalsFor(world([grant({ hosts: { host: db1.name } })]), web1, now)).toEqual({})
  })
})
