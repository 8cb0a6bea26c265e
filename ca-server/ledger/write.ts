import type { Queryable } from '#server/store/index.ts'
import { toHex } from '#shared/bytes.ts'
import type { CertificateFacts } from './entry.ts'

/** One record to be written, and what its writing depends on. */
export type Row = {
  requestId: string
  kind: string
  part: number
  actor: string
  at: string
  record: string
  proof: string | undefined
  seal: Uint8Array
  certificate: CertificateFacts | undefined
  epochs: readonly { subject: string; epoch: bigint }[]
}

/**
 * What became of a row: its index; the index of the very same record, written before; or that its epochs no longer match, its
 * proof was used, its request ID stands for something else.
 */
export type Outcome = bigint | { again: bigint } | 'stale' | 'used' | 'taken'

/**
 * The one statement by which records and certificates come into being (security, invariant 2).
 *
 * 1. The epoch rows are taken FOR SHARE, in key order, as whoever bumps them takes them: no deadlock, and none of them changes until
 *    this statement has committed. A row that was locked by a revocation is waited for and then read as that left it.
 * 2. Rows whose epochs still match are counted, and only these. A retried request finds its own record, byte for byte the same.
 * 3. The head's row is locked last and gives contiguous indices in the order of commits.
 *
 * The head's lock alone would not do: a statement that waited for it would insert after a revocation had collected.
 */
const WRITE = `
with input as materialized (
  select r.*,
    (select index from ledger_record l where l.request_id = r.q and l.kind = r.k and l.part = r.p) as known,
    (select true from ledger_record l where l.proof = r.x) as used
  from jsonb_to_recordset($1::jsonb) as r(
    n int, q text, k text, p int, a text, t timestamptz, r text, x text, h text,
    ca text, s numeric, id text, sk text, pe text, se text, ho text, va bigint, vb bigint)
), needs as materialized (
  select * from jsonb_to_recordset($2::jsonb) as e(n int, s text, e bigint)
), locked as materialized (
  select subject, epoch from access_epoch where subject = any($3::text[]) order by subject for share
), stale as materialized (
  select distinct needs.n from needs left join locked on locked.subject = needs.s
  where locked.epoch is distinct from needs.e
), good as materialized (
  select input.*, row_number() over (order by n) - 1 as offset_ from input
  where known is null and used is null and n not in (select n from stale)
), head as (
  update ledger_head set size = size + (select count(*) from good) returning size - (select count(*) from good) as first
), records as (
  insert into ledger_record (index, request_id, kind, part, actor, at, record, proof, seal)
  select first + offset_, q, k, p, a, t, r, x, decode(h, 'hex') from good, head
), certificates as (
  insert into issued_certificate (authority, serial, key_id, subject_key, person, session, host,
    valid_after, valid_before, record)
  select ca, s, id, sk, pe, se, ho, va, vb, first + offset_ from good, head where ca is not null
)
select first, (
  select jsonb_agg(jsonb_build_object('n', n, 'outcome', case
    when n in (select n from stale) then 'stale'
    when known is null then 'used'
    when (select record from ledger_record where index = known) = input.r then known::text
    else 'taken' end))
  from input where not (known is null and used is null and n not in (select n from stale))
) as others from head`

/** Writes the rows in their order, on the store or in a caller's transaction. Throws `StoreError`: then nothing was written. */
export async function writeRows(on: Queryable, rows: readonly Row[]): Promise<Outcome[]> {
  const needs: { n: number; s: string; e: string }[] = []
  const subjects = new Set<string>()
  const input = rows.map((row, n) => {
    for (const { subject, epoch } of row.epochs) {
      needs.push({ n, s: subject, e: epoch.toString() })
      subjects.add(subject)
    }
    return toJson(row, n)
  })
  const parameters = [JSON.stringify(input), JSON.stringify(needs), textArray([...subjects])]
  const [result] = await on.query(WRITE, parameters, parseResult)
  if (!result) throw new TypeError('the row of ledger_head is missing')
  let next = result.first
  return rows.map((_, n) => result.others.get(n) ?? next++)
}

/** Short names: the statement's text is parsed once, its parameters each time. */
const toJson = (row: Row, n: number) => {
  const { certificate: c } = row
  const json = {
    n,
    q: row.requestId,
    k: row.kind,
    p: row.part,
    a: row.actor,
    t: row.at,
    r: row.record,
    x: row.proof,
    h: toHex(row.seal),
  }
  return c === undefined
    ? json
    : {
        ...json,
        ca: c.authority,
        s: c.serial.toString(),
        id: c.keyId,
        sk: c.subjectKey,
        pe: c.person,
        se: c.session,
        ho: c.host,
        va: c.validAfter.toString(),
        vb: c.validBefore.toString(),
      }
}

/** An array in PostgreSQL's own notation (manual, 8.15.6), every element quoted. */
export const textArray = (elements: readonly string[]): string =>
  `{${elements.map(element => `"${element.replace(/["\\]/g, '\\$&')}"`).join(',')}}`

type Result = { first: bigint; others: Map<number, Outcome> }
// By hand: this runs for every batch, and the statement above is its only source.
const parseResult = {
  parse(row: unknown): Result {
    if (typeof row !== 'object' || row === null) throw new TypeError('a row is an object')
    const first: unknown = Reflect.get(row, 'first')
    if (typeof first !== 'bigint') throw new TypeError('first is a bigint')
    const others = new Map<number, Outcome>()
    const list: unknown = Reflect.get(row, 'others')
    if (Array.isArray(list)) for (const { n, outcome } of list) others.set(Number(n), parseOutcome(String(outcome)))
    return { first, others }
  },
}

const parseOutcome = (text: string): Outcome =>
  text === 'stale' || text === 'used' || text === 'taken' ? text : { again: BigInt(text) }
