import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Entry, encodeRecord } from './entry.ts'
import { type Fact, Facts } from './facts.ts'
import { isSealed, type Sealable, sealOf } from './seal.ts'

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
    expect(() => facts.take(2n, added)).toThrow('grant:1')
    // The same said anew by somebody who knew of the removal counts.
    facts.take(2n, record(2n, [{ id: 'grant:1', is: 'x' }]))
    expect(facts.has('grant:1')).toBe(true)
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
