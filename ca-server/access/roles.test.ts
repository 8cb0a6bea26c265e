import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  ACTIONS,
  type ActionName,
  allRoutes,
  isActionName,
  ORGANISATION_ROLES,
  PLACE_ROLES,
  ROLES,
  schemas,
} from '#shared/api/index.ts'
import { type Place, parseHostName, parsePersonIdentity, parsePlace, parseTeamName } from '#shared/names.ts'
import { decide } from './decide.ts'
import type { Grant, Subject, Want } from './port.ts'
import { powersOf } from './roles.ts'
import { makeSnapshot } from './snapshot.ts'

const now = new Date('2026-11-24T12:00:00Z')
const alice = parsePersonIdentity('alice@example.com', 'test')
const bob = parsePersonIdentity('bob@example.com', 'test')
const place = (text: string): Place => parsePlace(text, 'test')

let count = 0
const role = (name: string, where?: string, more: object = {}): Grant =>
  schemas.grant.parse({
    ...{ kind: 'role', id: `grant_${String(++count).padStart(10, '0')}`, who: alice, role: name },
    ...(where === undefined ? {} : { in: where }),
    ...{ createdAt: now.toISOString(), createdBy: 'root@example.com', ...more },
  })
const world = (
  grants: readonly Grant[],
  { owner = false, state = 'active' as const, team = [] as (typeof alice)[] } = {},
) =>
  makeSnapshot({
    persons: [
      { identity: alice, owner, state },
      { identity: bob, owner: false, state: 'active' },
    ],
    teams: [{ name: parseTeamName('sre', 'test'), members: team }],
    grants,
    epochs: new Map([alice, bob].map(identity => [`person:${identity}`, 7n])),
  })
const may = (
  snapshot: ReturnType<typeof world>,
  wants: readonly Want[],
  subject: Subject = { kind: 'person', identity: alice },
) => decide(snapshot, now, subject, { kind: 'do', wants }).allow

const actions = Object.keys(ACTIONS).filter(isActionName)
const byRole = actions.filter(name => ACTIONS[name].by === 'role')

/** Written down once more, by hand: a role gets nothing by an oversight. */
const ADMINISTRATOR_NOT = ['owner.change', 'trust.propose', 'trust.publish']
const IN_PLACES = [
  ...['host.read', 'host.add', 'host.change', 'host.remove', 'project.read', 'project.add', 'project.remove'],
  ...['grant.read', 'grant.add', 'grant.change', 'grant.remove'],
  ...['workload.read', 'workload.add', 'workload.change', 'workload.token', 'workload.end', 'workload.remove'],
]
const KEEPING = [
  ...['host.add', 'host.change', 'host.remove'],
  ...['workload.add', 'workload.change', 'workload.token', 'workload.end', 'workload.remove'],
]
const READS = [
  ...['audit.read', 'person.read', 'invitation.read', 'team.read', 'session.read', 'revocation.read'],
  ...['host.read', 'project.read', 'grant.read', 'workload.read'],
]
const TABLE: Readonly<Record<string, (action: ActionName) => boolean>> = {
  owner: () => true,
  administrator: action => !ADMINISTRATOR_NOT.includes(action),
  operator: action => [...READS, 'access.explain', ...KEEPING, 'certificate.revoke'].includes(action),
  auditor: action => action === 'audit.read',
  admin: action => IN_PLACES.includes(action),
  editor: action => ['host.read', 'project.read', 'grant.read', 'workload.read', ...KEEPING].includes(action),
  viewer: action => ['host.read', 'project.read', 'grant.read', 'workload.read'].includes(action),
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

describe('whatever grants there are', () => {
  const places = ['payments', 'payments/prod', 'payments/dev', 'web']
  const anyRole = fc.oneof(
    fc.constantFrom(...ORGANISATION_ROLES).map(name => role(name)),
    fc.tuple(fc.constantFrom(...PLACE_ROLES), fc.constantFrom(...places)).map(([name, where]) => role(name, where)),
    fc.constantFrom(...ORGANISATION_ROLES).map(name => role(name, undefined, { who: 'team:sre' })),
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
              fc.constantFrom(...ORGANISATION_ROLES).map(name => [name, undefined] as const),
              fc.tuple(fc.constantFrom(...PLACE_ROLES), fc.constantFrom(...places)),
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
