import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { endedFact, type Fact, Facts, failedFact } from '#shared/audit/index.ts'
import { type Entry, encodeRecord } from '../entry.ts'
import { isSealed, type Sealable, sealOf } from '../log/seal.ts'

const AT = '2026-01-01T00:00:00.000Z'
const record = (after: bigint, facts: readonly Fact[], more: Partial<Entry> = {}) =>
  encodeRecord({ requestId: 'r', kind: 'grant-added', actor: { kind: 'server' }, facts, ...more }, AT, { after })

describe('what the log says', () => {
  it('is what the newest record about a thing says, and nothing else', () => {
    const facts = Facts.none()
    facts.take(0n, record(0n, [{ id: 'grant:1', is: { login: 'alice' } }]))
    expect(facts.holds({ id: 'grant:1', is: { login: 'alice' } })).toBe(true)
    expect(facts.holds({ id: 'grant:1', is: { login: 'root' } })).toBe(false)
    expect(facts.holds({ id: 'grant:2', is: { login: 'alice' } })).toBe(false)
    facts.take(1n, record(1n, [{ id: 'grant:1', is: { login: 'bob' } }]))
    expect(facts.holds({ id: 'grant:1', is: { login: 'alice' } })).toBe(false)
    expect(facts.holds({ id: 'grant:1', is: { login: 'bob' } })).toBe(true)
  })

  it('ends: what is gone holds no more, and null is nothing that could hold', () => {
    const facts = Facts.none()
    facts.take(0n, record(0n, [{ id: 'grant:1', is: 'x' }]))
    facts.take(1n, record(1n, [{ id: 'grant:1', is: null }]))
    expect(facts.has('grant:1')).toBe(false)
    expect(facts.holds({ id: 'grant:1', is: 'x' })).toBe(false)
    expect(facts.holds({ id: 'grant:1', is: null })).toBe(false)
    expect([...facts.ids('grant:')]).toEqual([])
  })

  it('is not said by an old record that somebody puts there once more', () => {
    const facts = Facts.none()
    const added = record(0n, [{ id: 'grant:1', is: 'x' }])
    facts.take(0n, added)
    facts.take(1n, record(1n, [{ id: 'grant:1', is: null }]))
    expect(() => facts.take(2n, added)).toThrow('made to be record 0')
    expect(facts.has('grant:1')).toBe(false)
  })

  it('is said at the place that a record was made for, alone or with others, and at no other', () => {
    const facts = Facts.none()
    const made = (place: number) =>
      encodeRecord(
        { requestId: 'r', kind: 'team-changed', actor: { kind: 'server' }, facts: [{ id: 'member:a', is: 'x' }] },
        AT,
        { after: 5n, place },
      )
    for (const [index, place] of [
      [4n, 0],
      [6n, 0],
      [5n, 1],
      [7n, 1],
    ] as const)
      expect(() => facts.take(index, made(place))).toThrow('made to be record')
    facts.take(5n, made(0))
    facts.take(6n, made(1))
    expect(facts.has('member:a')).toBe(true)
  })

  it('is said after the very records that it was made for, and after no others; a record of before says nothing of them', () => {
    const facts = Facts.none()
    const made = (root?: string) =>
      encodeRecord(
        { requestId: 'r', kind: 'team-changed', actor: { kind: 'server' }, facts: [{ id: 'member:a', is: 'x' }] },
        AT,
        { after: 5n, root },
      )
    expect(() => facts.take(5n, made('aa'), () => 'bb')).toThrow('made to come after other records')
    expect(facts.has('member:a')).toBe(false)
    facts.take(5n, made('aa'), () => 'aa')
    facts.take(5n, made(), () => 'bb')
    expect(facts.has('member:a')).toBe(true)
  })

  it.each(['session:1', 'passkey:1', 'link:1', 'grant:1', 'host:1', 'join-token:1', 'touch:1'])(
    'of %s is over once it is gone; of what has a name it comes back',
    id => {
      const facts = Facts.none()
      for (const each of [id, 'member:a b']) facts.take(0n, record(0n, [{ id: each, is: 'x' }]))
      for (const each of [id, 'member:a b']) facts.take(1n, record(1n, [{ id: each, is: null }]))
      expect(() => facts.take(2n, record(2n, [{ id, is: 'x' }]))).toThrow(`there is ${id}, which was gone`)
      facts.take(2n, record(2n, [{ id: 'member:a b', is: 'x' }]))
      expect([facts.has(id), facts.has('member:a b')]).toEqual([false, true])
    },
  )

  it.each<[string, Fact]>([
    ['a host', { id: 'host:1', is: { name: 'web1.example.com', place: 'alpha' } }],
    ['a login', { id: 'grant:1', is: { login: 'root', hosts: { in: 'alpha' } } }],
    ['a role', { id: 'grant:1', is: { role: 'admin', in: 'alpha' } }],
    ['a workload', { id: 'workload:1', is: { name: 'alpha/robot', idle: 1, lifetime: 2 } }],
    ['an environment', { id: 'place:alpha/prod', is: 'place' }],
  ])('of %s in a place is over with that, and not said of the next one of its name; said since, it is', (_, fact) => {
    const facts = Facts.none()
    const place = (is: 'place' | null) => ({ id: 'place:alpha', is })
    const say = (at: bigint, ...said: Fact[]) => {
      facts.take(at, record(at, said))
      return [facts, Facts.from(facts.kept())].map(each => each.holds(fact))
    }
    // Before there is one it is of none, as is what comes when that has just gone.
    expect(say(0n, fact)).toEqual([false, false])
    expect(say(1n, place('place'))).toEqual([false, false])
    expect(say(2n, fact)).toEqual([true, true])
    expect(say(3n, { id: 'place:other', is: 'place' })).toEqual([true, true])
    expect(say(4n, place(null))).toEqual([false, false])
    expect(say(5n, fact)).toEqual([false, false])
    expect(say(6n, place('place'))).toEqual([false, false])
    expect(say(7n, fact)).toEqual([true, true])
    // That it is there is another matter: nobody else gets its name or ID, and it is taken away by the log.
    say(8n, place(null))
    expect(facts.has(fact.id)).toBe(true)
  })

  it('of a project and its environment is said by one record, and so of what is in no place', () => {
    const facts = Facts.none()
    const [project, environment] = ['alpha', 'alpha/prod'].map(name => ({ id: `place:${name}`, is: 'place' }))
    const free = { id: 'host:1', is: { name: 'web1.example.com' } }
    if (!project || !environment) throw new Error('there are two')
    facts.take(0n, record(0n, [project, environment, free]))
    for (const fact of [project, environment, free]) expect(facts.holds(fact)).toBe(true)
  })

  it.each(['assertion:1', 'touch-used:1'])('of %s is said once: it is used once', id => {
    const facts = Facts.none()
    facts.take(0n, record(0n, [{ id, is: 'used' }]))
    expect(() => facts.take(1n, record(1n, [{ id, is: 'used' }]))).toThrow('used before')
    facts.take(1n, record(1n, [{ id: `${id}0`, is: 'used' }]))
  })

  it.each(['enrolled', 'host-joined'] as const)('by a record of %s uses up what is there, once', kind => {
    const facts = Facts.none()
    const use = (at: bigint) => facts.take(at, record(at, [{ id: 'link:1', is: null }], { kind }))
    expect(() => use(0n)).toThrow('not there')
    facts.take(0n, record(0n, [{ id: 'link:1', is: 'x' }]))
    use(1n)
    expect(() => use(2n)).toThrow('not there')
    // That it is gone may be said again by whoever takes it away.
    facts.take(2n, record(2n, [{ id: 'link:1', is: null }], { kind: 'invitation-removed' }))
  })

  it('by an invitation is not said once all that its maker had was ended; by one of another it is', () => {
    const facts = Facts.none()
    for (const [n, id] of ['link:1', 'link:2'].entries()) facts.take(BigInt(n), record(BigInt(n), [{ id, is: 'x' }]))
    facts.take(2n, record(2n, [endedFact('maker@b.c')]))
    const enrol = (id: string, invitedBy: string) =>
      facts.take(3n, record(3n, [{ id, is: null }], { kind: 'enrolled', details: { invitedBy } }))
    expect(() => enrol('link:1', 'maker@b.c')).toThrow('uses link:1')
    enrol('link:2', 'other@b.c')
  })

  it('by a link for a new passkey is not said once anything else was said of its person; by a link since, or of whoever is new, it is', () => {
    const facts = Facts.none()
    const person = { id: 'person:a@b.c', is: 'active' }
    facts.take(0n, record(0n, [person, { id: 'link:2', is: 'x' }]))
    facts.take(1n, record(1n, [{ id: 'link:1', is: 'x' }]))
    facts.take(2n, record(2n, [person, { id: 'link:3', is: 'x' }]))
    const enrol = (id: string, more: readonly Fact[] = []) => {
      const actor = { kind: 'person', identity: 'a@b.c' } as const
      facts.take(3n, record(3n, [{ id, is: null }, ...more], { kind: 'enrolled', actor }))
    }
    expect(() => enrol('link:1')).toThrow('made before something was said of person:a@b.c')
    enrol('link:3')
    enrol('link:2', [person])
  })

  it('by an older link of a reset is not said once there is a newer one; by the newest it is', () => {
    const facts = Facts.none()
    for (const [at, id] of ['link:1', 'link:2'].entries())
      facts.take(
        BigInt(at),
        record(BigInt(at), [
          { id: 'reset-link:a@b.c', is: id },
          { id, is: 'x' },
        ]),
      )
    const enrol = (id: string) =>
      facts.take(2n, record(2n, [{ id, is: null }], { kind: 'enrolled', actor: { kind: 'person', identity: 'a@b.c' } }))
    expect(() => enrol('link:1')).toThrow('made before something was said of reset-link:a@b.c')
    enrol('link:2')
  })

  it('as a yes to passkeys is not said where there is another one; where there are these alone, or another was taken away, it is', () => {
    const facts = Facts.none()
    const make = (at: bigint, person: string, id: string) =>
      facts.take(
        at,
        record(at, [
          { id: `passkey:${id}`, is: 'x' },
          { id: `passkey-of:${person} ${id}`, is: 'x' },
        ]),
      )
    make(0n, 'a@b.c', '1')
    make(1n, 'a@b.c', '2')
    make(2n, 'aa@b.c', '3')
    const yes = (at: bigint, confirmed: readonly string[]) =>
      facts.take(
        at,
        record(at, [{ id: 'person:a@b.c', is: 'active' }], { kind: 'person-enabled', target: 'a@b.c', confirmed }),
      )
    expect(() => yes(3n, ['1'])).toThrow('a yes to passkeys of a@b.c, who had 2 too')
    yes(3n, ['1', '2'])
    facts.take(4n, record(4n, [{ id: 'passkey:2', is: null }], { kind: 'passkey-removed' }))
    yes(5n, ['1'])
    facts.take(6n, record(6n, [{ id: 'passkeys-ended:a@b.c', is: 'ended' }]))
    make(7n, 'a@b.c', '4')
    yes(8n, ['4'])
  })

  it('under a mandate is not said once that has ended; before and without it is', () => {
    const facts = Facts.none()
    const say = (at: bigint, id: string, is: string | null, consent: string) =>
      facts.take(at, record(at, [{ id, is }], { actor: { kind: 'person', identity: 'a@b.c', session: '1', consent } }))
    say(0n, 'mandate:1', 'x', 'action_1')
    say(1n, 'grant:1', 'x', 'mandate_1')
    say(2n, 'mandate:1', null, 'action_2')
    expect(() => say(3n, 'grant:2', 'x', 'mandate_1')).toThrow('by mandate_1, which had ended')
    say(3n, 'grant:2', 'x', 'action_3')
  })

  it('gives one version of the KRL one content: its number goes on, and none comes twice or later', () => {
    const facts = Facts.none()
    facts.take(0n, record(0n, [{ id: 'krl-version:9 100', is: 'version' }]))
    for (const id of ['krl-version:9 100', 'krl-version:9 101', 'krl-version:8 200'])
      expect(() => facts.take(1n, record(1n, [{ id, is: 'version' }]))).toThrow('after krl-version:9')
    const next = [
      { id: 'krl-version:10 101', is: 'version' },
      { id: 'krl-version:9 100', is: null },
    ]
    facts.take(1n, record(1n, next))
    expect([...facts.ids('krl-version:')]).toEqual(['krl-version:10 101'])
  })

  describe('is not said in a session', () => {
    const by = (session: string): Partial<Entry> => ({ actor: { kind: 'person', identity: 'a@b.c', session } })
    const begun = () => {
      const facts = Facts.none()
      for (const [n, id] of ['session:1', 'session:2'].entries())
        facts.take(BigInt(n), record(BigInt(n), [{ id, is: 'x' }]))
      return facts
    }
    const does = (facts: Facts, session: string, at = 3n) =>
      facts.take(at, record(at, [{ id: `grant:${session}${at}`, is: 'x' }], by(session)))

    it('that had ended; in another it is', () => {
      const facts = begun()
      facts.take(2n, record(2n, [{ id: 'session:1', is: null }]))
      expect(() => does(facts, '1')).toThrow('session 1, which had ended')
      does(facts, '2')
      // A new one is known by the record that begins it.
      facts.take(4n, record(4n, [{ id: 'session:3', is: 'x' }], by('3')))
    })

    it('that had ended with all that its person had; in the one that was left out, and in a newer, it is', () => {
      const facts = begun()
      facts.take(2n, record(2n, [endedFact('a@b.c', '2')]))
      expect(() => does(facts, '1')).toThrow('session 1, which had ended')
      expect(() => facts.take(3n, record(3n, [{ id: 'session:1', is: 'x' }], by('1')))).toThrow('had ended')
      does(facts, '2')
      facts.take(4n, record(4n, [{ id: 'session:3', is: 'x' }], by('3')))
      does(facts, '3', 5n)
    })

    it('that was consented to before the end; what was consented to after it is', () => {
      const facts = begun()
      facts.take(2n, record(2n, [endedFact('a@b.c')]))
      const login = (sinceEnd: string) =>
        facts.take(3n, record(3n, [{ id: 'session:3', is: 'x' }], { ...by('3'), kind: 'login', sinceEnd }))
      for (const before of ['', '1']) expect(() => login(before)).toThrow('consented to before')
      login('2')
    })

    it('of whom it is done to, where it was decided before that; what was decided after it is', () => {
      const facts = begun()
      facts.take(2n, record(2n, [endedFact('c@b.c')]))
      const enable = (target: string, sinceEnd: string) => {
        const yes = { ...by('1'), kind: 'person-enabled', target, sinceEnd } as const
        facts.take(3n, record(3n, [{ id: `person:${target}`, is: 'active' }], yes))
      }
      expect(() => enable('c@b.c', '')).toThrow('before all that c@b.c had was ended')
      enable('c@b.c', '2')
      enable('d@b.c', '')
    })

    it('but by the records that end it', () => {
      const facts = begun()
      const end: Entry = { requestId: 'r', kind: 'person-disabled', actor: { kind: 'server' }, ...by('1') }
      const part = (place: number, fact: Fact) =>
        facts.take(2n + BigInt(place), encodeRecord({ ...end, facts: [fact] }, AT, { after: 2n, place }))
      part(0, endedFact('a@b.c'))
      part(1, { id: 'session:1', is: null })
      part(2, { id: 'revoked-key:1', is: 'revoked' })
      expect(() => does(facts, '1', 5n)).toThrow('had ended')
    })
  })

  it('is not said by a request that failed before; by another it is', () => {
    const facts = Facts.none()
    facts.take(0n, record(0n, [failedFact('r1')]))
    const add = (requestId: string) => facts.take(1n, record(1n, [{ id: 'grant:1', is: 'x' }], { requestId }))
    expect(() => add('r1')).toThrow('r1, which failed before')
    add('r2')
  })

  it('is not said by text inside of a record, whatever it looks like', () => {
    const facts = Facts.none()
    const text = '"facts":{"grant:1":"x"},"after":"0"'
    expect(facts.take(0n, record(0n, [], { reason: text, details: { facts: { 'grant:1': 'x' } } }))).toEqual([])
    expect(facts.has('grant:1')).toBe(false)
  })

  it('is found by its kind alone, after a restart too', () => {
    const facts = Facts.none()
    facts.take(
      0n,
      record(0n, [
        { id: 'revoked:1', is: 'x' },
        { id: 'revoked-key:1', is: 'x' },
        { id: 'relying-party', is: 'x' },
      ]),
    )
    for (const read of [facts, Facts.from(facts.kept())])
      expect(['revoked:', 'revoked-key:', 'relying-party', 'grant:'].map(kind => [...read.ids(kind)])).toEqual([
        ['revoked:1'],
        ['revoked-key:1'],
        ['relying-party'],
        [],
      ])
  })

  it('is forgotten a week after it has ended by itself, and kept otherwise', () => {
    const facts = Facts.none()
    const until = new Date('2026-01-02T00:00:00Z')
    facts.take(0n, record(0n, [{ id: 'session:1', is: 'x', until }]))
    facts.take(1n, record(1n, [{ id: 'grant:1', is: 'x' }]))
    facts.take(2n, record(2n, [{ id: 'session:1', is: null }]))
    facts.forgetEnded(new Date('2026-01-08T23:59:00Z'))
    expect(facts.knows('session:1')).toBe(true)
    facts.forgetEnded(new Date('2026-01-09T00:01:00Z'))
    expect(facts.knows('session:1')).toBe(false)
    expect(facts.has('grant:1')).toBe(true)
  })

  it('is the same after it was kept and read again', () => {
    const id = fc.string({ minLength: 1, maxLength: 8 })
    const said = fc.array(
      fc.record({
        id,
        is: fc.option(fc.string()),
        until: fc.option(fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }), { nil: undefined }),
      }),
      { maxLength: 20 },
    )
    fc.assert(
      fc.property(said, list => {
        const facts = Facts.none()
        for (const [n, fact] of list.entries()) facts.take(BigInt(n), record(BigInt(n), [fact]))
        const again = Facts.from(JSON.parse(JSON.stringify(facts.kept())))
        expect(again.kept()).toEqual(facts.kept())
        for (const fact of list) expect(again.holds(fact)).toBe(facts.holds(fact))
      }),
    )
  })

  it('can not be said outside of a transaction, nor twice of one thing in one record', () => {
    const entry: Entry = { requestId: 'r', kind: 'login', actor: { kind: 'server' }, facts: [{ id: 'a', is: 'x' }] }
    expect(() => encodeRecord(entry, AT)).toThrow('transaction')
    const twice = [
      { id: 'a', is: 'x' },
      { id: 'a', is: null },
    ]
    expect(() => record(0n, twice)).toThrow('twice')
  })
})

describe('a seal', () => {
  const key = new Uint8Array(32).fill(7)
  const sealable: fc.Arbitrary<Sealable> = fc.record({
    requestId: fc.string(),
    kind: fc.string(),
    part: fc.nat(),
    actor: fc.string(),
    at: fc.string(),
    record: fc.string(),
    proof: fc.option(fc.string(), { nil: undefined }),
  })

  it('fits what was sealed with this key, and nothing that differs in any field', () => {
    fc.assert(
      fc.property(sealable, sealable, (a, b) => {
        const seal = sealOf(key, a)
        expect(isSealed(key, a, seal)).toBe(true)
        expect(isSealed(new Uint8Array(32).fill(8), a, seal)).toBe(false)
        expect(isSealed(key, a, seal.subarray(1))).toBe(false)
        expect(isSealed(key, b, seal)).toBe(JSON.stringify(a) === JSON.stringify(b))
      }),
    )
  })

  it('keeps the fields apart: what moves from one into the next has another', () => {
    const one = { requestId: 'ab', kind: 'c', part: 0, actor: 'd', at: 'e', record: 'f', proof: undefined }
    expect(isSealed(key, { ...one, requestId: 'a', kind: 'bc' }, sealOf(key, one))).toBe(false)
    expect(isSealed(key, { ...one, proof: 'null' }, sealOf(key, one))).toBe(false)
  })
})
