import { describe, expect, it } from 'vitest'
import { treeHead } from '#test/support/tree-head.ts'
import { utf8 } from '../bytes.ts'
import { type AuditedRecord, auditRecords, leafHash } from './index.ts'

const record = (n: number): AuditedRecord => ({
  index: BigInt(n),
  record: `{"n":${n}}`,
  leafHash: leafHash(utf8(`{"n":${n}}`)),
})
const log = (count: number) => Array.from({ length: count }, (_, n) => record(n))
const headOf = (records: readonly AuditedRecord[], size: number, name: string) => ({
  size: BigInt(size),
  root: treeHead(records.slice(0, size).map(each => each.leafHash)),
  name,
})
const original = log(300)
const newest = headOf(original, 300, 'the newest checkpoint')
const remembered = headOf(original, 120, 'the checkpoint of your last login')
const audit = (records: readonly AuditedRecord[], heads = [newest]) => auditRecords(records, heads)
const at = (n: number) => original[n] ?? record(n)

describe('the audit of a log', () => {
  it('finds nothing in one that is as it was signed, nor in one that has grown since', async () => {
    expect(await audit(original, [newest, remembered])).toEqual({ ok: true, size: 300n, root: newest.root })
    expect(await audit(log(310), [newest])).toMatchObject({ ok: true, size: 310n })
    expect(await audit([], [headOf([], 0, 'the empty tree')])).toMatchObject({ ok: true, size: 0n })
  })

  it('names the first record that was changed', async () => {
    const changed = original.map(each =>
      each.index === 77n || each.index === 200n ? { ...each, record: each.record.replace('}', ' }') } : each,
    )
    expect(await audit(changed)).toMatchObject({ ok: false, fault: 'changed', first: 77n })
  })

  it('names the first record that was removed, whether the others moved up or not', async () => {
    const gap = original.filter(each => each.index !== 77n)
    expect(await audit(gap)).toMatchObject({ ok: false, fault: 'removed', first: 77n })
    const closed = original.slice(0, 299).map((each, n) => (n < 77 ? each : { ...each, record: at(n + 1).record }))
    expect(await audit(closed)).toMatchObject({ ok: false, fault: 'removed', first: 77n })
    expect(await audit(original.slice(0, 290))).toMatchObject({ ok: false, fault: 'removed', first: 290n })
    expect(await audit(original.slice(1))).toMatchObject({ ok: false, fault: 'removed', first: 0n })
  })

  it('names the first record that stands elsewhere now', async () => {
    const swapped = original.map((each, n) => (n === 77 || n === 90 ? { ...each, record: at(167 - n).record } : each))
    expect(await audit(swapped)).toMatchObject({
      ok: false,
      fault: 'moved',
      first: 77n,
      message: expect.stringContaining('at 90'),
    })
  })

  it('says between which trusted heads a record was changed together with its stored hash', async () => {
    const forged = original.map(each => (each.index === 130n ? { ...each, ...record(1000), index: 130n } : each))
    expect(await audit(forged, [newest, remembered])).toMatchObject({
      ok: false,
      fault: 'tree',
      first: 120n,
      end: 300n,
    })
    const early = original.map(each => (each.index === 5n ? { ...each, ...record(1000), index: 5n } : each))
    expect(await audit(early, [newest, remembered])).toMatchObject({
      ok: false,
      fault: 'tree',
      first: 0n,
      end: 120n,
      message: expect.stringContaining('the checkpoint of your last login'),
    })
  })

  it('finds a log that was cut and signed anew, by the checkpoint that somebody remembers', async () => {
    const cut = original.slice(0, 100)
    expect(await audit(cut, [headOf(cut, 100, 'the newest checkpoint')])).toMatchObject({ ok: true })
    expect(await audit(cut, [headOf(cut, 100, 'the newest checkpoint'), remembered])).toMatchObject({
      ok: false,
      fault: 'removed',
      first: 100n,
    })
  })
})
