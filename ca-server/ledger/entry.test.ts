import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalJson, type JsonObject, type JsonValue } from '#shared/canonical-json.ts'
import { type Actor, type Entry, encodeRecord, RECORD_KINDS } from './entry.ts'

const text = fc.string({ unit: 'binary', maxLength: 20 })
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
const actor: fc.Arbitrary<Actor> = fc.oneof(
  fc.record({ kind: fc.constant('person' as const), identity: text, session: text }),
  fc.record({ kind: fc.constant('host' as const), name: text }),
  fc.record({ kind: fc.constant('workload' as const), identity: text, session: text }),
  fc.constantFrom<Actor[]>({ kind: 'server' }, { kind: 'operator' }, { kind: 'anonymous' }),
)
const { value: details } = fc.letrec<{ value: JsonObject; any: JsonValue }>(tie => ({
  any: fc.oneof(
    text,
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('any'), { maxLength: 3 }),
    tie('value'),
  ),
  value: fc.dictionary(fc.oneof(text, fc.nat(20).map(String)), tie('any'), { maxKeys: 5 }),
}))

describe('the text of a record', () => {
  it('is canonical JSON that gives every field back, whatever the fields hold', () => {
    fc.assert(
      fc.property(
        fc.record({ kind: fc.constantFrom(...RECORD_KINDS), actor, requestId: text }),
        fc.record({ target: optional(text), reason: optional(text), from: optional(text), details: optional(details) }),
        (fixed, loose) => {
          const entry: Entry = { ...fixed }
          for (const key of ['target', 'reason', 'from'] as const) {
            const value = loose[key]
            if (value !== undefined) entry[key] = value
          }
          if (loose.details) entry.details = loose.details
          const record = encodeRecord(entry, '2026-01-01T00:00:00.000Z', { proof: 'proof' })
          expect(canonicalJson(JSON.parse(record))).toBe(record)
          expect(JSON.parse(record)).toEqual({
            ...JSON.parse(JSON.stringify(entry)),
            at: '2026-01-01T00:00:00.000Z',
            proof: 'proof',
            version: 1,
          })
        },
      ),
      { numRuns: 300, seed: 8785 },
    )
  })

  it('sorts keys by code units, also those that look like numbers', () => {
    expect(canonicalJson({ b: 1, a: 2, '10': 3, '9': 4, B: 5 })).toBe('{"10":3,"9":4,"B":5,"a":2,"b":1}')
  })

  it('refuses numbers that two programs might write differently', () => {
    for (const n of [0.1, 1e21, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])
      expect(() => canonicalJson({ n })).toThrow(TypeError)
  })
})
