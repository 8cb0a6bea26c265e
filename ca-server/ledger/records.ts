import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { textArray } from './write.ts'

/** A record as it lies in the database. */
export const recordRow = z.object({
  index: z.bigint(),
  request_id: z.string(),
  kind: z.string(),
  actor: z.string(),
  at: z.date(),
  record: z.string(),
})
export type RecordRow = z.infer<typeof recordRow>
const COLUMNS = 'index, request_id, kind, actor, at, record'

/** What was issued, as revoking finds it. Times in seconds since 1970. */
export type IssuedCertificate = {
  authority: string
  serial: bigint
  keyId: string
  subjectKey: string
  person: string | null
  session: string | null
  host: string | null
  validAfter: bigint
  validBefore: bigint
  /** The index of its record. */
  record: bigint
}
const CERTIFICATE_COLUMNS =
  'authority, serial, key_id, subject_key, person, session, host, valid_after, valid_before, record'
const certificateRow = z
  .object({
    authority: z.string(),
    serial: z.string().transform(BigInt),
    key_id: z.string(),
    subject_key: z.string(),
    person: z.string().nullable(),
    session: z.string().nullable(),
    host: z.string().nullable(),
    valid_after: z.bigint(),
    valid_before: z.bigint(),
    record: z.bigint(),
  })
  .transform(
    ({ key_id, subject_key, valid_after, valid_before, ...rest }): IssuedCertificate => ({
      ...rest,
      keyId: key_id,
      subjectKey: subject_key,
      validAfter: valid_after,
      validBefore: valid_before,
    }),
  )

export type CertificateSelector =
  | { person: string }
  /** `person`: whose it is, where that is known. */
  | { session: string; person?: string }
  | { host: string }
  | { authority: string; serial: bigint }
  | { keyId: string }
  | { subjectKey: string }

/**
 * Whoever revokes reads these with its second statement, after the epochs were bumped: see `bumpEpochs`. What was issued says the
 * log; the table beside it finds it fast, and somebody may have taken rows out of it, or changed them: see `issued.ts`. The same one
 * may come twice.
 */
export async function selectLiveCertificates(
  t: Queryable,
  by: CertificateSelector,
  now: bigint,
): Promise<IssuedCertificate[]> {
  return [...(await selectIndexed(t, by, now)), ...(await selectRecorded(t, by, now))]
}

function selectIndexed(t: Queryable, by: CertificateSelector, now: bigint): Promise<IssuedCertificate[]> {
  const select = (where: string, ...values: string[]) =>
    t.query(
      `select ${CERTIFICATE_COLUMNS} from issued_certificate where valid_before > $1 and ${where} order by authority, serial`,
      [now, ...values],
      certificateRow,
    )
  if ('session' in by) return select('session = $2', by.session)
  if ('person' in by) return select('person = $2', by.person)
  if ('host' in by) return select('host = $2', by.host)
  if ('keyId' in by) return select('key_id = $2', by.keyId)
  if ('subjectKey' in by) return select('subject_key = $2', by.subjectKey)
  return select('authority = $2 and serial = $3::numeric', by.authority, by.serial.toString())
}

/** Of whom certificates are asked for, where that is one: who asked for a certificate stands beside its record. */
function actorOf(by: CertificateSelector): string | undefined {
  if ('host' in by) return `host:${by.host}`
  if ('keyId' in by) return by.keyId.replace(/\/passkey\/session_[a-z0-9]+$/, '')
  return 'person' in by ? by.person : undefined
}

/** No certificate is good for longer, in days. */
const LONGEST = 400

async function selectRecorded(t: Queryable, by: CertificateSelector, now: bigint): Promise<IssuedCertificate[]> {
  const actor = actorOf(by)
  if (actor === undefined) return []
  const [field, value] =
    'session' in by ? ['session', by.session] : 'keyId' in by ? ['keyId', by.keyId] : [undefined, undefined]
  return t.query(
    `select index as record, c.* from (select index, record::jsonb -> 'certificate' as said from ledger_record
       where actor = $1 and kind in ('ssh-user-certificate', 'ssh-host-certificate', 'client-certificate')
         and at > to_timestamp($2::bigint) - interval '${LONGEST} days' offset 0) as r,
       jsonb_to_record(r.said) as c(authority text, serial text, "keyId" text, "subjectKey" text, person text, session text,
         host text, "validAfter" bigint, "validBefore" bigint)
     where c."validBefore" > $2::bigint and ($3::text is null or r.said ->> $3 = $4)`,
    [actor, now, field ?? null, value ?? null],
    recordedRow,
  )
}
const recordedRow = z.object({
  authority: z.string(),
  serial: z.string().transform(BigInt),
  keyId: z.string(),
  subjectKey: z.string(),
  person: z.string().nullable(),
  session: z.string().nullable(),
  host: z.string().nullable(),
  validAfter: z.bigint(),
  validBefore: z.bigint(),
  record: z.bigint(),
})

export type RecordFilter = {
  from?: bigint
  before?: bigint
  limit: number
  kind?: string
  actor?: string
  since?: Date
  until?: Date
  /** Words that stand in the record as a whole string, each of them: a person, a host. */
  names?: readonly string[]
}

/** In order of index: from `from` on; without `from` the last ones, before `before` where given. */
export async function selectRecords(on: Queryable, filter: RecordFilter): Promise<RecordRow[]> {
  const parameters = [
    filter.limit,
    filter.from ?? 0n,
    filter.before ?? null,
    filter.kind ?? null,
    filter.actor ?? null,
    filter.since?.toISOString() ?? null,
    filter.until?.toISOString() ?? null,
    // As canonical JSON has them. Compared, not matched: no name is a pattern.
    textArray((filter.names ?? []).map(name => JSON.stringify(name))),
  ]
  const newest = filter.from === undefined
  const rows = await on.query(
    `select ${COLUMNS} from ledger_record where index >= $2::bigint
       and ($3::bigint is null or index < $3) and ($4::text is null or kind = $4) and ($5::text is null or actor = $5)
       and ($6::timestamptz is null or at >= $6) and ($7::timestamptz is null or at <= $7)
       and not exists (select from unnest($8::text[]) as name where position(name in record) = 0)
     order by index ${newest ? 'desc' : 'asc'} limit $1::int`,
    parameters,
    recordRow,
  )
  return newest ? rows.reverse() : rows
}

export async function selectRecord(on: Queryable, index: bigint): Promise<RecordRow | undefined> {
  const [row] = await on.query(`select ${COLUMNS} from ledger_record where index = $1`, [index], recordRow)
  return row
}

const epochRow = z.object({ subject: z.string(), epoch: z.bigint() })

export async function selectEpochs(on: Queryable, subjects: readonly string[]): Promise<Map<string, bigint>> {
  const rows = await on.query(
    'select subject, epoch from access_epoch where subject = any($1::text[])',
    [textArray(subjects)],
    epochRow,
  )
  return new Map(rows.map(({ subject, epoch }) => [subject, epoch]))
}

/** In key order, as everybody who takes these locks. */
export async function createEpochs(on: Queryable, subjects: readonly string[]): Promise<void> {
  await on.execute(
    `insert into access_epoch (subject, epoch)
     select s, 1 from unnest($1::text[]) as s order by s collate "C" on conflict (subject) do nothing`,
    [textArray(subjects)],
  )
}

/** What a decision was made from, as `selectEpochs` gave it before. */
export type Epoch = { readonly subject: string; readonly epoch: bigint }

/**
 * Takes these rows in one sorted set, as everybody does: those of `bump` to change them (one that is missing counts as 1),
 * the others for share. Gives what they were before; what is missing among the shared ones is left out, and so is what was
 * made here: nobody can have decided anything by it.
 */
export async function takeEpochs(
  t: Queryable,
  bump: readonly string[],
  share: readonly string[],
): Promise<Map<string, bigint>> {
  const bumped = new Set(bump)
  // Subjects are ASCII, so this is the order of the collation "C".
  const subjects = [...new Set([...bump, ...share])].sort()
  const before = new Map<string, bigint>()
  for (let from = 0; from < subjects.length; ) {
    // As many as are taken alike, by one statement.
    const isBumped = bumped.has(subjects[from] ?? '')
    let to = from + 1
    while (to < subjects.length && bumped.has(subjects[to] ?? '') === isBumped) to++
    const run = textArray(subjects.slice(from, to))
    for (const { subject, epoch } of await t.query(isBumped ? BUMP : SHARE, [run], epochRow)) before.set(subject, epoch)
    from = to
  }
  return before
}

// In key order: the rows of the select are inserted, and so locked, in its order. `xmax` is 0 in a row that is new.
const BUMP = `with bumped as (
  insert into access_epoch (subject, epoch)
  select s, 2 from (select s collate "C" as s from unnest($1::text[]) as s) as subjects order by s
  on conflict (subject) do update set epoch = access_epoch.epoch + 1
  returning subject, epoch - 1 as epoch, xmax = 0 as made
) select subject, epoch from bumped where not made`
const SHARE = 'select subject, epoch from access_epoch where subject = any($1::text[]) order by subject for share'
