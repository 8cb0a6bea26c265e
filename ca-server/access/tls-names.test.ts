import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { schemas } from '#shared/api/index.ts'
import { parseHostName, parsePersonIdentity, parsePlace, parseTeamName } from '#shared/names.ts'
import { covers, isWildcard, parseTlsName, type TlsName, tlsNameText } from '#shared/tls-names/index.ts'
import { decide } from './decide.ts'
import type { Grant, NamesGrant, Subject, TlsCertificateAction } from './port.ts'
import { givenBy, powersOf } from './roles.ts'
import { makeSnapshot } from './snapshot.ts'
import { whyNames } from './why.ts'

const now = new Date('2026-11-24T12:00:00Z')
const alice = parsePersonIdentity('alice@example.com', 'test')
const bob = parsePersonIdentity('bob@example.com', 'test')
const asAlice: Subject = { kind: 'person', identity: alice }
const place = (text: string) => parsePlace(text, 'test')
const dns = (text: string) => parseTlsName({ dns: text }, 'test')

let count = 0
const names = (patterns: readonly string[], other: Record<string, unknown> = {}): Grant =>
  schemas.grant.parse({
    ...{ kind: 'names', id: `grant_${String(++count).padStart(10, '0')}`, who: alice, profile: 'server' },
    ...{ names: [...patterns].sort(), wildcards: false, maxLifetime: 90 * 86_400 },
    ...{ createdAt: now.toISOString(), createdBy: 'root@example.com', ...other },
  })
const role = (name: string, where?: string): Grant =>
  schemas.grant.parse({
    ...{ kind: 'role', id: `grant_${String(++count).padStart(10, '0')}`, who: alice, role: name, in: where },
    ...{ createdAt: now.toISOString(), createdBy: 'root@example.com' },
  })
const login = (): Grant =>
  schemas.grant.parse({
    ...{ id: `grant_${String(++count).padStart(10, '0')}`, who: alice, login: 'deploy', options: {} },
    ...{ hosts: { host: 'db.payments.example.com' }, maxLifetime: 3600 },
    ...{ createdAt: now.toISOString(), createdBy: 'root@example.com' },
  })
const world = (
  grants: readonly Grant[],
  { owner = false, state = 'active' as 'active' | 'disabled', team = [alice] as (typeof alice)[] } = {},
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
const want = (asked: readonly TlsName[], other: Partial<TlsCertificateAction> = {}): TlsCertificateAction => ({
  kind: 'tls-certificate',
  profile: 'server',
  names: asked,
  ...other,
})
const ask = (snapshot: ReturnType<typeof world>, action: TlsCertificateAction, subject: Subject = asAlice) =>
  decide(snapshot, now, subject, action)
const reasonsOf = (decision: ReturnType<typeof ask>) => (decision.allow ? [] : decision.reasons)

const db = dns('db.payments.example.com')
const PAYMENTS = '*.payments.example.com'

describe('a TLS certificate', () => {
  test('is given by a grant of names: those that were asked for and by which grant, the profile, the longest time', () => {
    const grant = names([PAYMENTS, '10.0.0.0/8'])
    const address = parseTlsName({ ip: '10.1.2.3' }, 'test')
    expect(ask(world([grant]), want([db, address]))).toEqual({
      allow: true,
      limits: {
        profile: 'server',
        names: [db, address].map(name => ({ name, grant: grant.id, via: alice })),
        maxLifetime: 90 * 86_400,
        limitedBy: `grant ${grant.id}: alice@example.com the names ${PAYMENTS} 10.0.0.0/8 for server certificates on the organisation for at most 90d`,
      },
      epochs: [{ subject: 'person:alice@example.com', epoch: 7n }],
    })
  })

  test.each<[string, readonly Grant[], Parameters<typeof world>[1]?]>([
    ['no grant', []],
    ["somebody else's grant", [names([PAYMENTS], { who: bob })]],
    ['a grant to a team of others', [names([PAYMENTS], { who: 'team:sre' })], { team: [bob] }],
    ['a grant to a team that is not there', [names([PAYMENTS], { who: 'team:ops' })]],
    ['a grant that has ended', [names([PAYMENTS], { endsAt: '2026-11-24T11:59:59Z' })]],
    ['a grant that ends at this very moment', [names([PAYMENTS], { endsAt: now.toISOString() })]],
    ['a grant that ends within this second', [names([PAYMENTS], { endsAt: '2026-11-24T12:00:00.900Z' })]],
    ['a disabled person', [names([PAYMENTS])], { state: 'disabled' }],
    ['a grant for another profile', [names([PAYMENTS], { profile: 'client' })]],
    ['a grant that holds in another place', [names([PAYMENTS], { in: 'payments' })]],
    ['every role that there is, on the organisation', [role('administrator'), role('operator'), role('auditor')]],
    ['every role on a place', [role('admin', 'payments'), role('editor', 'payments')]],
    ['an owner without a grant', [], { owner: true }],
    ['a login on the host of that name', [login()]],
  ])('is denied with a reason that names it: %s', (_, grants, other) => {
    const decision = ask(world(grants, other), want([db]))
    expect(decision.allow).toBe(false)
    expect(reasonsOf(decision).join()).toMatch(/db\.payments\.example\.com|is disabled/)
    expect(ask(world([...grants, names([PAYMENTS])], { ...other, state: 'active' }), want([db])).allow).toBe(true)
  })

  test('is not given to a host, nor to somebody who is no person here', () => {
    const snapshot = world([names([PAYMENTS])])
    const host: Subject = { kind: 'host', name: parseHostName('db.payments.example.com', 'test') }
    const carol: Subject = { kind: 'person', identity: parsePersonIdentity('carol@example.com', 'test') }
    expect([ask(snapshot, want([db]), host), ask(snapshot, want([db]), carol)]).toMatchObject([
      { allow: false },
      { allow: false },
    ])
    expect(ask(snapshot, want([db])).allow).toBe(true)
  })

  test('is given by several grants together, and is no longer than the shortest of those that it takes', () => {
    const short = names(['api.example.com'], { maxLifetime: 3600 })
    const unused = names(['other.example.com'], { maxLifetime: 60 })
    const decision = ask(world([names([PAYMENTS]), short, unused]), want([db, dns('api.example.com')]))
    expect(decision).toMatchObject({
      allow: true,
      limits: { maxLifetime: 3600, limitedBy: expect.stringContaining(short.id) },
    })
    // By the one that lets it be longest, where two give the same name.
    const long = names(['api.example.com'], { maxLifetime: 7200, who: 'team:sre' })
    expect(ask(world([long, short]), want([dns('api.example.com')]))).toMatchObject({
      limits: { maxLifetime: 7200, names: [{ grant: long.id, via: 'team:sre' }] },
    })
  })

  test('ends with the first of its grants to end, and says so', () => {
    const ends = names([PAYMENTS], { endsAt: '2026-11-24T13:00:00.500Z' })
    const later = names(['api.example.com'], { endsAt: '2026-11-24T14:00:00Z' })
    expect(ask(world([ends, later]), want([db, dns('api.example.com')]))).toMatchObject({
      limits: {
        maxLifetime: 3600,
        endsAt: new Date('2026-11-24T13:00:00.500Z'),
        limitedBy: expect.stringContaining(ends.id),
      },
    })
    const open = ask(world([names([PAYMENTS])]), want([db]))
    expect(open.allow && open.limits.endsAt).toBe(undefined)
  })

  test('that is asked for longer than allowed gets what is allowed, one that is asked for less gets less', () => {
    const snapshot = world([names([PAYMENTS], { maxLifetime: 3600 })])
    expect(ask(snapshot, want([db], { lifetime: 999_999 }))).toMatchObject({ limits: { maxLifetime: 3600 } })
    const less = ask(snapshot, want([db], { lifetime: 600 }))
    expect(less).toMatchObject({ limits: { maxLifetime: 600 } })
    expect(less.allow && less.limits.limitedBy).toBe(undefined)
    for (const lifetime of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
      expect(ask(snapshot, want([db], { lifetime })).allow).toBe(false)
  })

  test('with one name that no grant gives is denied whole, and the reason names that one', () => {
    const grant = names([PAYMENTS])
    const decision = ask(world([grant]), want([db, dns('db.other.example.com')]))
    expect(decision).toEqual({
      allow: false,
      reasons: [
        `the name db.other.example.com is covered by no pattern of the grant ${grant.id}: *.payments.example.com covers one label below payments.example.com`,
      ],
      message: 'no grant gives you a server certificate for db.other.example.com',
    })
  })

  test('names that are refused for the same share a reason', () => {
    const client = names(['a.example.com'], { profile: 'client' })
    const asked = ['b.example.com', 'a.example.com', 'c.example.com', 'db.payments.example.com'].map(dns)
    const decision = ask(world([names([PAYMENTS]), client]), want(asked))
    expect(reasonsOf(decision)).toEqual([
      expect.stringMatching(
        /^the names b\.example\.com, c\.example\.com are covered by no pattern of the grant .*; nor of /,
      ),
      `the name a.example.com is covered, but not given: the grant ${client.id} is for client certificates`,
    ])
    expect(decision).toMatchObject({
      message: 'no grant gives you a server certificate for b.example.com, a.example.com, c.example.com',
    })
  })

  test.each<[string, Record<string, unknown>, Partial<TlsCertificateAction>, RegExp]>([
    [
      'for another profile',
      { profile: 'client' },
      {},
      /covered, but not given: the grant grant_\d+ is for client certificates/,
    ],
    ['of another place', { in: 'payments/prod' }, {}, /holds in payments\/prod alone/],
    ['ended', { endsAt: '2026-11-24T11:00:00Z' }, {}, /has ended, 2026-11-24T11:00:00Z/],
    ['without wildcards', {}, { names: [dns(PAYMENTS)] }, /gives no wildcard/],
  ])('says of a grant that covers a name why it gives none: %s', (_, other, asked, why) => {
    expect(reasonsOf(ask(world([names([PAYMENTS], other)]), want([db], asked))).join()).toMatch(why)
    expect(ask(world([names([PAYMENTS], { wildcards: true })]), want([db], asked)).allow).toBe(true)
  })

  test('a grant on a project holds for its environments, and for nothing outside of it', () => {
    const snapshot = world([names([PAYMENTS], { in: 'payments' })])
    const isGiven = (where?: string) => ask(snapshot, want([db], where === undefined ? {} : { in: place(where) })).allow
    expect(['payments', 'payments/prod', 'payments2', 'other/payments', undefined].map(isGiven)).toEqual([
      ...[true, true, false, false, false],
    ])
    expect(ask(world([names([PAYMENTS])]), want([db], { in: place('other') })).allow).toBe(true)
  })

  test.each(['server', 'client', 'both'] as const)('a grant for both gives a certificate for %s', profile => {
    expect(ask(world([names([PAYMENTS], { profile: 'both' })]), want([db], { profile })).allow).toBe(true)
    expect(ask(world([names([PAYMENTS], { profile })]), want([db], { profile })).allow).toBe(true)
  })

  test('two grants, for servers and for clients, are none for both; nor is there a profile that nobody knows', () => {
    const two = world([names([PAYMENTS]), names([PAYMENTS], { profile: 'client' })])
    expect(ask(two, want([db], { profile: 'both' })).allow).toBe(false)
    const both = world([names([PAYMENTS], { profile: 'both' })])
    for (const profile of ['ca', '', 'constructor', '__proto__']) {
      const raw: TlsCertificateAction = JSON.parse(JSON.stringify({ ...want([db]), profile }))
      expect(ask(both, raw)).toMatchObject({ allow: false, reasons: ['this profile of certificates is not known'] })
    }
  })

  test('without a name is denied; a name that is asked for twice is in it once', () => {
    const snapshot = world([names([PAYMENTS])])
    expect(ask(snapshot, want([])).allow).toBe(false)
    const twice = ask(snapshot, want([db, dns('DB.payments.example.com')]))
    expect(twice.allow && twice.limits.names).toHaveLength(1)
  })

  test.each([
    'db\n.payments.example.com',
    'DB.payments.example.com',
    'b*.payments.example.com',
    '.payments.example.com',
  ])('with a name that nobody read is denied, though it ends as the pattern does: %j', text => {
    const raw: TlsCertificateAction = JSON.parse(JSON.stringify({ ...want([]), names: [{ dns: text }] }))
    const snapshot = world([names(['**.example.com'], { wildcards: true })])
    expect(ask(snapshot, raw)).toMatchObject({ allow: false, reasons: [expect.stringMatching(/is no name/)] })
    expect(ask(snapshot, want([db])).allow).toBe(true)
  })

  test('names are no role: whoever has them may do nothing by them', () => {
    const snapshot = world([names(['**.example.com'], { profile: 'both', wildcards: true })])
    expect(powersOf(snapshot, alice, now)).toEqual([])
    expect(givenBy(world([]), names([PAYMENTS]))).toEqual([])
    expect(decide(snapshot, now, asAlice, { kind: 'do', wants: [{ action: 'grant.read' }] }).allow).toBe(false)
    expect(decide(snapshot, now, asAlice, { kind: 'ssh-certificate' }).allow).toBe(false)
    const host = { name: parseHostName('db.payments.example.com', 'test'), labels: {} }
    expect(decide(snapshot, now, asAlice, { kind: 'ssh-login', host }).allow).toBe(false)
  })
})

describe('why', () => {
  test('reasons in full, and those of others, are for whoever may explain', () => {
    const grant = names([PAYMENTS])
    const snapshot = world([grant])
    const action = want([dns('db.other.example.com')])
    const own = whyNames(snapshot, now, { asker: alice, person: alice, action })
    expect(own.reasons).toEqual(['no grant gives you a server certificate for db.other.example.com'])
    expect(() => whyNames(snapshot, now, { asker: bob, person: alice, action })).toThrow(/takes a role/)
    const looks = world([grant, role('operator')])
    expect(whyNames(looks, now, { asker: alice, person: alice, action }).reasons.join()).toContain(grant.id)
    expect(whyNames(looks, now, { asker: alice, person: bob, action }).reasons).toEqual([
      'the name db.other.example.com is covered by no pattern of any grant',
    ])
    expect(whyNames(snapshot, now, { asker: alice, person: alice, action: want([db]) })).toMatchObject({
      allowed: true,
      names: [`db.payments.example.com by ${grant.id} to alice@example.com`],
      maxLifetime: 90 * 86_400,
      limitedBy: expect.stringContaining(grant.id),
    })
  })
})

describe('of all grants and questions', () => {
  const patterns = [
    'a.example.com',
    '*.example.com',
    '**.example.com',
    '*.a.example.com',
    '10.0.0.0/8',
    'spiffe://example.org/a/',
  ]
  const asked: readonly TlsName[] = [
    ...['a.example.com', 'b.a.example.com', '*.example.com', '*.a.example.com', 'example.com'].map(dns),
    parseTlsName({ ip: '10.0.0.1' }, 'test'),
    parseTlsName({ uri: 'spiffe://example.org/a/b' }, 'test'),
  ]
  const profile = fc.constantFrom('server', 'client', 'both')
  const where = fc.constantFrom(undefined, 'payments', 'payments/prod')
  const grants = fc.array(
    fc
      .record({
        who: fc.constantFrom(alice, 'team:sre', bob),
        patterns: fc.uniqueArray(fc.constantFrom(...patterns), { minLength: 1, maxLength: 3 }),
        profile,
        wildcards: fc.boolean(),
        maxLifetime: fc.constantFrom(60, 3600, 86_400),
        in: where,
        endsAt: fc.constantFrom(undefined, '2026-11-24T11:00:00Z', '2026-11-24T12:10:00Z', '2027-01-01T00:00:00Z'),
      })
      .map(({ patterns, ...other }) => names(patterns, other)),
    { maxLength: 5 },
  )
  const question = fc
    .record({ names: fc.uniqueArray(fc.constantFrom(...asked), { minLength: 1, maxLength: 3 }), profile, in: where })
    .map(({ in: where, ...other }) => want(other.names, { profile: other.profile, in: where && place(where) }))
  /** Unix milliseconds, at which a certificate of this decision ends at the latest; never where there is none. */
  const endOf = (decision: ReturnType<typeof ask>): number =>
    decision.allow
      ? Math.min(now.getTime() + decision.limits.maxLifetime * 1000, decision.limits.endsAt?.getTime() ?? Infinity)
      : -Infinity
  /** Those that a reason is of. */
  const namesOf = (reason: string): string[] => /^the names? (.+?) (?:is|are) /.exec(reason)?.[1]?.split(', ') ?? []
  const said = (decision: ReturnType<typeof ask>) =>
    decision.allow
      ? { ...decision.limits, names: decision.limits.names.map(each => JSON.stringify(each)).sort() }
      : { refused: decision.reasons.flatMap(namesOf).sort() }

  test('what is allowed is what grants say, name by name, written down once more; both happen', () => {
    const seen = { yes: 0, no: 0 }
    fc.assert(
      fc.property(grants, question, (given, action) => {
        const gives = (name: TlsName) => (grant: Grant) =>
          grant.kind === 'names' &&
          [alice, 'team:sre'].includes(grant.who) &&
          (grant.endsAt === undefined || grant.endsAt > '2026-11-24T12:00:01Z') &&
          (grant.profile === 'both' || grant.profile === action.profile) &&
          (grant.in === undefined || grant.in === action.in || (grant.in === 'payments' && action.in !== undefined)) &&
          (grant.wildcards || !isWildcard(name)) &&
          grant.names.some(pattern => covers(pattern, name))
        const ends = action.names.map(name =>
          Math.max(
            ...given
              .filter(gives(name))
              .filter((grant): grant is NamesGrant => grant.kind === 'names')
              .map(({ maxLifetime, endsAt = '9999-01-01T00:00:00Z' }) =>
                Math.min(now.getTime() + maxLifetime * 1000, Date.parse(endsAt)),
              ),
          ),
        )
        const decision = ask(world(given), action)
        expect(endOf(decision)).toBe(Math.min(...ends))
        seen[decision.allow ? 'yes' : 'no']++
      }),
      { numRuns: 3000 },
    )
    expect(Math.min(seen.yes, seen.no)).toBeGreaterThan(100)
  })

  test('more grants never take a name or a second away, fewer never give', () => {
    fc.assert(
      fc.property(grants, grants, question, (given, more, action) => {
        const few = ask(world(given), action)
        const many = ask(world([...given, ...more]), action)
        expect(endOf(many)).toBeGreaterThanOrEqual(endOf(few))
      }),
      { numRuns: 2000 },
    )
  })

  test('fewer names are never refused where more are given, nor for less time', () => {
    fc.assert(
      fc.property(grants, question, question, (given, some, more) => {
        const all = [...some.names, ...more.names]
        expect(endOf(ask(world(given), some))).toBeGreaterThanOrEqual(endOf(ask(world(given), { ...some, names: all })))
      }),
      { numRuns: 2000 },
    )
  })

  test('the order of grants and of names says nothing', () => {
    fc.assert(
      fc.property(grants, question, fc.nat(), (given, action, turn) => {
        const turned = <T>(all: readonly T[]): T[] => {
          const at = all.length === 0 ? 0 : turn % all.length
          return [...all.slice(at), ...all.slice(0, at)].reverse()
        }
        const other = ask(world(turned(given)), { ...action, names: turned(action.names) })
        expect(said(other)).toEqual(said(ask(world(given), action)))
      }),
      { numRuns: 2000 },
    )
  })

  test('a request only narrows: nothing is in a decision that was not asked for, and no second more', () => {
    fc.assert(
      fc.property(grants, question, fc.integer({ min: 1, max: 100_000 }), (given, action, lifetime) => {
        const decision = ask(world(given), { ...action, lifetime })
        if (!decision.allow) return
        expect(decision.limits.maxLifetime).toBeLessThanOrEqual(lifetime)
        expect(decision.limits.profile).toBe(action.profile)
        expect(decision.limits.names.map(({ name }) => name)).toEqual(action.names)
      }),
      { numRuns: 2000 },
    )
  })

  test('why and decide agree', () => {
    const looks = (given: readonly Grant[]) => world([...given, role('operator')])
    fc.assert(
      fc.property(grants, question, (given, action) => {
        const decision = ask(looks(given), action)
        const why = whyNames(looks(given), now, { asker: alice, person: alice, action })
        expect(why.allowed).toBe(decision.allow)
        expect(why.reasons).toEqual(reasonsOf(decision))
        // Of each refused name there is one reason, and of no other.
        expect(why.names).toHaveLength(decision.allow ? action.names.length : 0)
        if (decision.allow) return
        const refused = action.names.filter(name => !ask(looks(given), { ...action, names: [name] }).allow)
        expect(why.reasons.flatMap(namesOf).sort()).toEqual(refused.map(tlsNameText).sort())
      }),
      { numRuns: 2000 },
    )
  })
})
