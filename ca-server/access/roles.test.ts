import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ACTION_NAMES,
  ACTIONS,
  type ActionName,
  allRoutes,
  ORGANISATION_ROLES,
  PLACE_ROLES,
  ROLES,
  schemas,
} from '#shared/api/index.ts'
import {
  type Place,
  parseHostName,
  parsePersonIdentity,
  parsePlace,
  parseTeamName,
  parseWorkloadName,
  workloadPrincipal,
} from '#shared/names.ts'
import { decide } from './decide.ts'
import type { Grant, OwnRole, Subject, Want } from './port.ts'
import { givenBy, powersOf } from './roles.ts'
import { makeSnapshot } from './snapshot.ts'
import { whyDo } from './why.ts'

const now = new Date('2026-11-24T12:00:00Z')
const alice = parsePersonIdentity('alice@example.com', 'test')
const bob = parsePersonIdentity('bob@example.com', 'test')
const robot = parseWorkloadName('payments/robot', 'test')
const place = (text: string): Place => parsePlace(text, 'test')

let count = 0
const role = (name: string, where?: string, more: object = {}): Grant =>
  schemas.grant.parse({
    ...{ kind: 'role', id: `grant_${String(++count).padStart(10, '0')}`, who: alice, role: name },
    ...(where === undefined ? {} : { in: where }),
    ...{ createdAt: now.toISOString(), createdBy: 'root@example.com', ...more },
  })
const own = (name: string, of: OwnRole['of'], ...actions: string[]): OwnRole => ({
  ...{ name, of, actions },
  ...{ createdAt: now, createdBy: 'root@example.com' },
})
/** The organisation's own roles, beside which a grant may name any other, which is not there. */
const DEPLOYER = own('deployer', 'place', 'host.read', 'host.change')
const HELPER = own('helper', 'organisation', 'person.read', 'host.read', 'host.change')
const GUARD = own('guard', 'organisation', 'person.invite', 'grant.add')
const OWN = [DEPLOYER, HELPER, GUARD]
const world = (
  grants: readonly Grant[],
  {
    owner = false,
    state = 'active' as const,
    team = [] as (typeof alice)[],
    roles = OWN,
    workloads = [] as (typeof robot)[],
  } = {},
) =>
  makeSnapshot({
    roles,
    workloads,
    persons: [
      { identity: alice, owner, state },
      { identity: bob, owner: false, state: 'active' },
    ],
    teams: [{ name: parseTeamName('sre', 'test'), members: team }],
    grants,
    epochs: new Map([...[alice, bob].map(identity => `person:${identity}`), `workload:${robot}`].map(key => [key, 7n])),
  })
const may = (
  snapshot: ReturnType<typeof world>,
  wants: readonly Want[],
  subject: Subject = { kind: 'person', identity: alice },
) => decide(snapshot, now, subject, { kind: 'do', wants }).allow

const actions = ACTION_NAMES
const byRole = actions.filter(name => ACTIONS[name].by === 'role')

/** Written down once more, by hand: a role gets nothing by an oversight. */
const ADMINISTRATOR_NOT = ['owner.change', 'trust.propose', 'trust.publish']
const IN_PLACES = [
  ...[
    'role.read',
    'host.read',
    'host.add',
    'host.change',
    'host.remove',
    'login.read',
    'project.read',
    'project.add',
    'project.remove',
  ],
  ...['grant.read', 'grant.add', 'grant.change', 'grant.remove'],
  ...['workload.read', 'workload.add', 'workload.change', 'workload.token', 'workload.end', 'workload.remove'],
]
const IN_PLACES_ORDERED = byRole.filter(name => IN_PLACES.includes(name))
const KEEPING = [
  ...['host.add', 'host.change', 'host.remove'],
  ...['workload.add', 'workload.change', 'workload.token', 'workload.end', 'workload.remove'],
]
const READS = [
  ...['audit.read', 'person.read', 'invitation.read', 'team.read', 'session.read', 'revocation.read'],
  ...['role.read', 'host.read', 'login.read', 'project.read', 'grant.read', 'workload.read'],
]
const TABLE: Readonly<Record<string, (action: ActionName) => boolean>> = {
  owner: () => true,
  administrator: action => !ADMINISTRATOR_NOT.includes(action),
  operator: action => [...READS, 'access.explain', ...KEEPING, 'certificate.revoke'].includes(action),
  auditor: action => ['audit.read', 'login.read'].includes(action),
  admin: action => IN_PLACES.includes(action),
  editor: action =>
    ['role.read', 'host.read', 'login.read', 'project.read', 'grant.read', 'workload.read', ...KEEPING].includes(
      action,
    ),
  viewer: action =>
    ['role.read', 'host.read', 'login.read', 'project.read', 'grant.read', 'workload.read'].includes(action),
  nobody: () => false,
}

describe('who may do what', () => {
  const of = (name: string, where: string | undefined) =>
    name === 'owner' ? world([], { owner: true }) : world(name === 'nobody' ? [] : [role(name, where)])
  const everyRole = ['owner', ...ORGANISATION_ROLES, ...PLACE_ROLES, 'nobody']

  test('the table names every role, and every route an action that is in the catalogue', () => {
    expect(Object.keys(TABLE).sort()).toEqual([...everyRole].sort())
    expect(Object.keys(ROLES).sort()).toEqual(everyRole.filter(name => name !== 'nobody').sort())
    for (const { id, action, caller } of allRoutes) {
      const { by } = ACTIONS[action]
      const callers = {
        anyone: ['anyone'],
        host: ['host'],
        person: ['person', 'browser'],
        role: ['person'],
        workload: ['workload'],
        session: ['session'],
      }[by]
      expect(callers, id).toContain(caller)
    }
    // An action that nothing does is a word too many; this one is asked for beside others.
    const done = new Set(allRoutes.map(({ action }) => action))
    expect(actions.filter(name => !done.has(name))).toEqual(['session.read', 'access.explain'])
  })

  describe.each(everyRole)('%s', name => {
    const isOfPlace = PLACE_ROLES.some(known => known === name)
    const snapshot = of(name, isOfPlace ? 'payments' : undefined)
    test.each(byRole)('%s', action => {
      const expected = TABLE[name]?.(action) ?? false
      const { by, ...rest } = ACTIONS[action]
      const isInPlace = by === 'role' && 'in' in rest && rest.in === 'place'
      expect(may(snapshot, [{ action }]), 'on the organisation').toBe(expected && !isOfPlace)
      expect(may(snapshot, [{ action, in: 'anywhere' }]), 'anywhere').toBe(expected)
      if (!isInPlace) return
      expect(may(snapshot, [{ action, in: place('payments') }]), 'in its project').toBe(expected)
      expect(may(snapshot, [{ action, in: place('payments/prod') }]), 'in an environment of it').toBe(expected)
      expect(may(snapshot, [{ action, in: place('payments2') }]), 'elsewhere').toBe(expected && !isOfPlace)
    })
    test('no host, no other person and nobody who is disabled by it', () => {
      for (const action of byRole) {
        const want = [{ action, in: place('payments') }]
        expect(may(snapshot, want, { kind: 'host', name: parseHostName('web1.example.com', 'test') })).toBe(false)
        expect(may(snapshot, want, { kind: 'person', identity: bob })).toBe(false)
      }
    })
  })

  test('a role on an environment is none on its project, nor on another', () => {
    const snapshot = world([role('admin', 'payments/prod')])
    const on = (where: string) => may(snapshot, [{ action: 'host.add', in: place(where) }])
    expect([on('payments/prod'), on('payments'), on('payments/dev'), on('payments/prod2')]).toEqual([
      true,
      false,
      false,
      false,
    ])
  })

  test('a team gives its roles to its members; one that has ended gives nothing, nor does one of somebody disabled', () => {
    const want: Want[] = [{ action: 'audit.read' }]
    expect(may(world([role('auditor', undefined, { who: 'team:sre' })], { team: [alice] }), want)).toBe(true)
    expect(may(world([role('auditor', undefined, { who: 'team:sre' })], { team: [bob] }), want)).toBe(false)
    expect(may(world([role('auditor', undefined, { endsAt: now.toISOString() })]), want)).toBe(false)
    expect(may(world([role('auditor', undefined, { endsAt: '2026-11-24T12:00:01Z' })]), want)).toBe(true)
    const disabled = makeSnapshot({
      persons: [{ identity: alice, owner: true, state: 'disabled' }],
      teams: [],
      grants: [role('auditor')],
      epochs: new Map([[`person:${alice}`, 7n]]),
    })
    expect(may(disabled, want)).toBe(false)
    // But whoever got that person's place would have all of it.
    expect(powersOf(disabled, alice, now)).toContainEqual({ action: 'owner.change', until: Number.POSITIVE_INFINITY })
  })

  test('the reason names what somebody has, the message only what it takes', () => {
    const decision = decide(
      world([role('viewer', 'payments')]),
      now,
      { kind: 'person', identity: alice },
      {
        kind: 'do',
        wants: [{ action: 'host.add', in: place('payments/prod') }],
      },
    )
    expect(decision).toEqual({
      allow: false,
      reasons: [
        'alice@example.com has only the roles viewer on payments by alice@example.com: none gives host.add on payments/prod',
      ],
      message: 'this takes a role that you do not have: host.add',
    })
  })
})

describe('a role of the organisation itself', () => {
  const everything = byRole.flatMap(action => [
    { action },
    { action, in: place('payments') },
    { action, in: place('payments/prod') },
    { action, in: place('web') },
  ])
  const gets = (snapshot: ReturnType<typeof world>, subject?: Subject) =>
    everything
      .filter(want => may(snapshot, [want], subject))
      .map(want => `${want.action}${'in' in want ? ` ${want.in}` : ''}`)

  test('gives what it was made with, and where it was given, as one that is built in does', () => {
    expect(gets(world([role('deployer', 'payments')]))).toEqual(
      ['host.read', 'host.change'].flatMap(action => [`${action} payments`, `${action} payments/prod`]),
    )
    expect(gets(world([role('deployer', 'payments/prod')]))).toEqual([
      'host.read payments/prod',
      'host.change payments/prod',
    ])
    const everywhere = (action: string) => ['', ' payments', ' payments/prod', ' web'].map(where => `${action}${where}`)
    expect(gets(world([role('helper')]))).toEqual(['person.read', 'host.read', 'host.change'].flatMap(everywhere))
    const team = world([role('helper', undefined, { who: 'team:sre' })], { team: [alice] })
    expect(gets(team)).toEqual(gets(world([role('helper')])))
    expect(gets(world([role('helper', undefined, { endsAt: now.toISOString() })]))).toEqual([])
  })

  test('that is not there, or was given for what it is not for, gives nothing', () => {
    for (const grant of [role('nobodys'), role('nobodys', 'payments'), role('deployer'), role('helper', 'payments')]) {
      expect(gets(world([grant]))).toEqual([])
      expect(givenBy(world([]), grant)).toEqual([])
    }
    expect(gets(world([role('deployer', 'payments')], { roles: [] }))).toEqual([])
  })

  test('gives nothing that this release does not have, has in no such role, or leaves to owners', () => {
    const written = [
      own('deployer', 'place', 'host.read', 'host.bless', 'person.read', 'toString'),
      own('helper', 'organisation', 'host.read', 'owner.change', 'trust.publish', 'passkey.add'),
    ]
    const snapshot = world([role('deployer', 'payments'), role('helper')], { roles: written })
    expect(new Set(gets(snapshot).map(text => text.split(' ')[0]))).toEqual(new Set(['host.read']))
    // Another release may give what this one has not: whoever gives it on has all that a grant can give.
    const { administrator } = ROLES
    expect(powersOf(snapshot, alice, now).map(({ action }) => action)).toEqual([
      ...['host.read', 'host.read'],
      ...administrator,
    ])
  })

  test('is never what is built in by another name of it', () => {
    const written = [own('viewer', 'place', ...IN_PLACES), own('owner', 'organisation', ...byRole)]
    expect(gets(world([role('viewer', 'payments')], { roles: written }))).toEqual(
      gets(world([role('viewer', 'payments')])),
    )
    expect(schemas.grant.safeParse({ ...role('helper'), role: 'owner' }).success).toBe(false)
  })

  test('gives a workload nothing where it lets others in; another one does', () => {
    const who = workloadPrincipal(robot)
    const asRobot = { kind: 'workload', name: robot } as const
    const to = (name: string, where?: string) => world([role(name, where, { who })], { workloads: [robot] })
    expect(gets(to('deployer', 'payments'), asRobot)).toEqual(gets(world([role('deployer', 'payments')])))
    expect(gets(to('guard'), asRobot)).toEqual([])
    expect(powersOf(to('guard'), who, now)).toEqual([])
    expect(gets(world([role('guard')]))).not.toEqual([])
  })
})

describe('whatever grants there are', () => {
  const places = ['payments', 'payments/prod', 'payments/dev', 'web']
  const ofOrganisation = fc.constantFrom(...ORGANISATION_ROLES, 'helper', 'guard', 'nobodys')
  const ofPlaces = fc.constantFrom(...PLACE_ROLES, 'deployer', 'nobodys')
  const anyRole = fc.oneof(
    ofOrganisation.map(name => role(name)),
    fc.tuple(ofPlaces, fc.constantFrom(...places)).map(([name, where]) => role(name, where)),
    ofOrganisation.map(name => role(name, undefined, { who: 'team:sre' })),
  )
  const anyWant: fc.Arbitrary<Want> = fc
    .tuple(fc.constantFrom(...byRole), fc.constantFrom(undefined, ...places))
    .map(([action, where]) => ({ action, ...(where === undefined ? {} : { in: place(where) }) }))
  const grants = fc.array(anyRole, { maxLength: 6 })

  test('more of them never take away, fewer never give, their order is all the same', () => {
    fc.assert(
      fc.property(grants, anyRole, anyWant, (some, one, want) => {
        const before = may(world(some, { team: [alice] }), [want])
        const after = may(world([...some, one], { team: [alice] }), [want])
        if (before) expect(after).toBe(true)
        expect(may(world([one, ...some].reverse(), { team: [alice] }), [want])).toBe(after)
      }),
      { numRuns: 500 },
    )
  })

  test('an own role that has more gives all that it gave, and what is added to each who has it; why and decide agree', () => {
    const someActions = fc.uniqueArray(fc.constantFrom(...byRole), { maxLength: 8 })
    const seen = { yes: 0, no: 0 }
    fc.assert(
      fc.property(grants, someActions, someActions, anyWant, (some, has, more, want) => {
        const with_ = (actions: readonly string[]) =>
          world(some, {
            team: [alice],
            roles: [own('deployer', 'place', ...actions), own('helper', 'organisation', ...actions), GUARD],
          })
        const [before, after] = [with_(has), with_([...more, ...has])]
        if (may(before, [want])) expect(may(after, [want])).toBe(true)
        const gained = givenBy(after, role('deployer', 'payments')).map(({ action }) => action)
        const all = [...has, ...more]
        expect(gained).toEqual([
          ...IN_PLACES_ORDERED.filter(action => all.includes(action)),
          ...(all.every(action => IN_PLACES_ORDERED.includes(action)) ? [] : ROLES.administrator),
        ])
        const why = whyDo(after, now, { asker: alice, person: alice, want })
        expect(why.allowed).toBe(may(after, [want]))
        expect(why.roles.length > 0).toBe(why.allowed)
        seen[why.allowed ? 'yes' : 'no']++
      }),
      { numRuns: 300 },
    )
    expect(Math.min(seen.yes, seen.no)).toBeGreaterThan(20)
  })

  test('several things are allowed at once where each of them is', () => {
    fc.assert(
      fc.property(grants, fc.array(anyWant, { maxLength: 4 }), (some, wants) => {
        const snapshot = world(some, { team: [alice] })
        expect(may(snapshot, wants)).toBe(wants.every(want => may(snapshot, [want])))
      }),
    )
  })

  test('whoever has all that somebody else has may do whatever that one may; who lacks any of it, not all of that', () => {
    const ends = ['2026-11-24T13:00:00Z', '2026-11-24T14:00:00Z', undefined]
    const everyWant: Want[] = byRole.flatMap(action =>
      [undefined, ...places.map(place)].flatMap(where =>
        ends.map(end => ({
          ...{ action, until: end === undefined ? Number.POSITIVE_INFINITY : Date.parse(end) },
          ...(where === undefined ? {} : { in: where }),
        })),
      ),
    )
    const roles = (who: string) =>
      fc.array(
        fc
          .tuple(
            fc.oneof(
              ofOrganisation.map(name => [name, undefined] as const),
              fc.tuple(ofPlaces, fc.constantFrom(...places)),
            ),
            fc.constantFrom(...ends),
          )
          .map(([[name, where], endsAt]) => role(name, where, { who, ...(endsAt === undefined ? {} : { endsAt }) })),
        { maxLength: 3 },
      )
    // Says nothing where nobody has all of it, or everybody.
    const seen = { all: 0, less: 0 }
    fc.assert(
      fc.property(roles(alice), roles(bob), (hers, his) => {
        const snapshot = world([...hers, ...his])
        const hasAll = may(snapshot, powersOf(snapshot, bob, now))
        const lacking = everyWant.filter(
          want => may(snapshot, [want], { kind: 'person', identity: bob }) && !may(snapshot, [want]),
        )
        expect(lacking.length === 0).toBe(hasAll)
        if (his.length > 0) seen[hasAll ? 'all' : 'less']++
      }),
      { numRuns: 200 },
    )
    expect(Math.min(seen.all, seen.less)).toBeGreaterThan(5)
  })
})
