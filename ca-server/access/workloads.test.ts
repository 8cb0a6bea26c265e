import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ACTION_NAMES, ACTIONS, lettingIn, ORGANISATION_ROLES, PLACE_ROLES, ROLES, schemas } from '#shared/api/index.ts'
import {
  parseHostName,
  parsePersonIdentity,
  parsePlace,
  parseTeamName,
  parseWorkloadName,
  workloadPrincipal,
} from '#shared/names.ts'
import { decide } from './decide.ts'
import type { Grant, SelectableHost, Subject, Want } from './port.ts'
import { principalsFor } from './principals.ts'
import { makeSnapshot } from './snapshot.ts'
import { why } from './why.ts'

/** A workload is given things as a person is, by its own name alone. */

const now = new Date('2026-11-24T12:00:00Z')
const alice = parsePersonIdentity('alice@example.com', 'test')
const backup = parseWorkloadName('payments/prod/backup', 'test')
const other = parseWorkloadName('payments/prod/backup2', 'test')
const WHO = `workload:${backup}`
const asBackup: Subject = { kind: 'workload', name: backup }
const web1: SelectableHost = { name: parseHostName('web1.prod.example.com', 'test'), labels: { env: 'prod' } }
const byRole = ACTION_NAMES.filter(name => ACTIONS[name].by === 'role')

let count = 0
const grant = (more: Record<string, unknown>): Grant =>
  schemas.grant.parse({
    ...{ id: `grant_${String(++count).padStart(10, '0')}`, who: WHO },
    ...{ createdAt: now.toISOString(), createdBy: alice, ...more },
  })
const login = (more: Record<string, unknown> = {}) =>
  grant({ login: 'backup', hosts: { labels: { env: 'prod' } }, maxLifetime: 3600, options: {}, ...more })
const role = (name: string, more: Record<string, unknown> = {}) =>
  grant({ kind: 'role', role: name, ...(PLACE_ROLES.some(known => known === name) ? { in: 'payments' } : {}), ...more })
const world = (grants: readonly Grant[], workloads = [backup, other]) =>
  makeSnapshot({
    persons: [{ identity: alice, owner: true, state: 'active' }],
    workloads,
    teams: [{ name: parseTeamName('sre', 'test'), members: [alice] }],
    grants,
    epochs: new Map([[`person:${alice}`, 7n], ...[backup, other].map(name => [`workload:${name}`, 9n] as const)]),
  })
const may = (snapshot: ReturnType<typeof world>, want: Want, subject = asBackup) =>
  decide(snapshot, now, subject, { kind: 'do', wants: [want] }).allow

describe('a workload', () => {
  test('gets a certificate for its own principal, by its own number', () => {
    expect(decide(world([login()]), now, asBackup, { kind: 'ssh-certificate' })).toMatchObject({
      allow: true,
      limits: { principals: [WHO], maxLifetime: 3600 },
      epochs: [{ subject: WHO, epoch: 9n }],
    })
  })

  test.each([
    ['no grant', world([])],
    ["a person's grant", world([login({ who: alice })])],
    ["a team's", world([login({ who: 'team:sre' })])],
    ['that of another whose name begins as its does', world([login({ who: `workload:${other}` })])],
    ['one that has ended', world([login({ endsAt: '2026-11-24T11:00:00Z' })])],
    ['one of its own, where it is not there', world([login()], [other])],
  ])('gets none by %s', (_, snapshot) => {
    expect(decide(snapshot, now, asBackup, { kind: 'ssh-certificate' }).allow).toBe(false)
    expect(decide(snapshot, now, asBackup, { kind: 'ssh-login', host: web1 }).allow).toBe(false)
  })

  test('stands in the files of the hosts that its grants choose, while it is there', () => {
    expect(principalsFor(world([login()]), web1, now)).toEqual({
      backup: [expect.objectContaining({ principal: WHO })],
    })
    expect(principalsFor(world([login()], [other]), web1, now)).toEqual({})
    expect(principalsFor(world([login()]), { ...web1, labels: {} }, now)).toEqual({})
  })

  test.each([...ORGANISATION_ROLES, ...PLACE_ROLES])(
    'does by the role %s what it gives, unless others are let in by it',
    name => {
      const snapshot = world([role(name)])
      for (const action of byRole) {
        const expected = ROLES[name].includes(action) && lettingIn(ROLES[name]).length === 0
        expect([action, may(snapshot, { action, in: 'anywhere' })]).toEqual([action, expected])
        expect([action, may(snapshot, { action, in: 'anywhere' }, { kind: 'workload', name: other })]).toEqual([
          action,
          false,
        ])
      }
    },
  )

  test('more grants never take away, their order is all the same, and why says what is decided', () => {
    const anyGrant = fc.oneof(
      fc.constantFrom(...ORGANISATION_ROLES, ...PLACE_ROLES).map(name => role(name)),
      fc.constantFrom(WHO, `workload:${other}`, alice, 'team:sre').map(who => login({ who })),
      fc.constantFrom('root', 'backup').map(name => login({ login: name })),
    )
    fc.assert(
      fc.property(fc.array(anyGrant, { maxLength: 5 }), anyGrant, fc.constantFrom(...byRole), (some, one, action) => {
        const want: Want = { action, in: parsePlace('payments', 'test') }
        const [before, after, turned] = [world(some), world([...some, one]), world([one, ...some].reverse())]
        if (may(before, want)) expect(may(after, want)).toBe(true)
        expect(may(turned, want)).toBe(may(after, want))
        const logins = (snapshot: typeof after) => {
          const decision = decide(snapshot, now, asBackup, { kind: 'ssh-login', host: web1 })
          return decision.allow ? [...decision.limits.logins] : []
        }
        expect(logins(after)).toEqual(expect.arrayContaining(logins(before)))
        const said = why(after, now, { asker: alice, person: workloadPrincipal(backup), name: web1.name, host: web1 })
        expect(said.allowed).toEqual(logins(after))
      }),
    )
  })
})
