import { and, asc, desc, eq, gt, gte, inArray, lt, lte, type SQL, sql } from 'drizzle-orm'
import { z } from 'zod'
import { builder, prepared, type Queryable, recordset, rows, run } from '#server/store/index.ts'
import { issuedCertificate, ledgerRecord, serverSecret } from './tables.ts'
import { textArray } from './write.ts'

/** The rows of this room. Text are the statements that are one piece for a reason: those of epochs, and in `write.ts` and `tree-store.ts`. */

const RECORD = {
  index: ledgerRecord.index,
  requestId: ledgerRecord.requestId,
  kind: ledgerRecord.kind,
  actor: ledgerRecord.actor,
  at: ledgerRecord.at,
  record: ledgerRecord.record,
}
/** A record as it lies in the database. */
export type RecordRow = Pick<typeof ledgerRecord.$inferSelect, keyof typeof RECORD>

/** What was issued, as revoking finds it. Times in seconds since 1970; `record`: the index of its record. */
export type IssuedCertificate = typeof issuedCertificate.$inferSelect

export type CertificateSelector =
  | { person: string }
  /** `person`: whose it is, where that is known. */
  | { session: string; person?: string }
  | { host: string }
  | { authority: string; serial: bigint }
  | { keyId: string }
  | { subjectKey: string }

/** Of what was issued. */
export type LiveAmong = {
  /** Labels. */
  readonly authorities?: readonly string[] | undefined
  /** Fingerprints. */
  readonly subjectKeys?: readonly string[] | undefined
}

/**
 * Whoever revokes reads these with its second statement, after the epochs were bumped: see `bumpEpochs`. What was issued says the
 * log; the table beside it finds it fast, and somebody may have taken rows out of it, or changed them: see `issued.ts`.
 */
export async function selectLiveCertificates(
  t: Queryable,
  by: CertificateSelector,
  now: bigint,
  { authorities, subjectKeys }: LiveAmong = {},
): Promise<IssuedCertificate[]> {
  const indexed = await selectIndexed(t, by, now, { authorities, subjectKeys })
  const known = new Set(indexed.map(({ record }) => record))
  const isAsked = (each: IssuedCertificate) =>
    !known.has(each.record) &&
    (authorities === undefined || authorities.includes(each.authority)) &&
    (subjectKeys === undefined || subjectKeys.includes(each.subjectKey))
  return [...indexed, ...(await selectRecorded(t, by, now)).filter(isAsked)]
}

const isLive = (by: CertificateSelector, now: bigint, { authorities, subjectKeys }: LiveAmong): SQL | undefined =>
  and(
    gt(issuedCertificate.validBefore, now),
    selectedBy(by),
    authorities && inArray(issuedCertificate.authority, [...authorities]),
    subjectKeys && inArray(issuedCertificate.subjectKey, [...subjectKeys]),
  )

function selectIndexed(
  t: Queryable,
  by: CertificateSelector,
  now: bigint,
  among: LiveAmong,
): Promise<IssuedCertificate[]> {
  const { authority, serial } = issuedCertificate
  const selected = builder
    .select()
    .from(issuedCertificate)
    .where(isLive(by, now, among))
  return rows(t, selected.orderBy(asc(authority), asc(serial)))
}

/** How many there are for each key, and when the last of them ends, as the table says: whoever had many is not collected one by one. */
export async function selectLiveKeys(
  t: Queryable,
  by: CertificateSelector,
  now: bigint,
  authorities: readonly string[],
): Promise<LiveKey[]> {
  const { subjectKey, validBefore } = issuedCertificate
  const columns = {
    subjectKey,
    certificates: sql`count(*)::integer`.mapWith(Number).as('certificates'),
    lastEnd: sql`max(${validBefore})`.mapWith(validBefore).as('last_end'),
  }
  const selected = builder
    .select(columns)
    .from(issuedCertificate)
    .where(isLive(by, now, { authorities }))
  return rows(t, selected.groupBy(subjectKey))
}
/** `lastEnd`: in seconds since 1970. */
export type LiveKey = { readonly subjectKey: string; readonly certificates: number; readonly lastEnd: bigint }

/** One of each session's that were found so: by which session and whose, however many it had. */
export async function selectLiveSessions(
  t: Queryable,
  by: CertificateSelector,
  now: bigint,
): Promise<IssuedCertificate[]> {
  const { session, person, validBefore } = issuedCertificate
  const selected = builder
    .selectDistinctOn([session, person])
    .from(issuedCertificate)
    .where(isLive(by, now, {}))
  const indexed = await rows(t, selected.orderBy(asc(session), asc(person), desc(validBefore)))
  const found = new Map<string, IssuedCertificate>()
  for (const each of [...(await selectRecorded(t, by, now)), ...indexed])
    found.set(`${each.session} ${each.person}`, each)
  return [...found.values()]
}

function selectedBy(by: CertificateSelector): SQL | undefined {
  if ('session' in by) return eq(issuedCertificate.session, by.session)
  if ('person' in by) return eq(issuedCertificate.person, by.person)
  if ('host' in by) return eq(issuedCertificate.host, by.host)
  if ('keyId' in by) return eq(issuedCertificate.keyId, by.keyId)
  if ('subjectKey' in by) return eq(issuedCertificate.subjectKey, by.subjectKey)
  return and(eq(issuedCertificate.authority, by.authority), eq(issuedCertificate.serial, by.serial))
}

/** Of whom certificates are asked for, where that is one: who asked for a certificate stands beside its record. */
function actorOf(by: CertificateSelector): string | undefined {
  if ('host' in by) return `host:${by.host}`
  if ('keyId' in by) return by.keyId.replace(/\/(passkey|token)\/session_[a-z0-9]+$/, '')
  return 'person' in by ? by.person : undefined
}

/** No certificate is good for longer, in days. */
const LONGEST = 400

/**
 * Of a person or workload the newest records are looked through, however many there are: what is hidden further back is ended by the keys of
 * the sessions, which the log itself names. Of a host there are no more certificates than `MOST_HOST_CERTIFICATES`.
 */
const LOOKED_THROUGH = 5_000

async function selectRecorded(t: Queryable, by: CertificateSelector, now: bigint): Promise<IssuedCertificate[]> {
  const actor = actorOf(by)
  if (actor === undefined) return []
  const [field, value] =
    'session' in by ? ['session', by.session] : 'keyId' in by ? ['keyId', by.keyId] : [undefined, undefined]
  const recorded = actor.startsWith('host:')
    ? `ledger_record where actor = $1 and kind = 'ssh-host-certificate'`
    : `(select * from ledger_record where actor = $1 order by index desc limit ${LOOKED_THROUGH}) as newest
       where kind in ('ssh-user-certificate', 'client-certificate')`
  return t.query(
    `select index as record, c.* from (select index, record::jsonb -> 'certificate' as said from ${recorded}
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
  const { from, before, kind, actor, since, until, limit, names = [] } = filter
  const isAsked = and(
    gte(ledgerRecord.index, from ?? 0n),
    before === undefined ? undefined : lt(ledgerRecord.index, before),
    kind === undefined ? undefined : eq(ledgerRecord.kind, kind),
    actor === undefined ? undefined : eq(ledgerRecord.actor, actor),
    since && gte(ledgerRecord.at, since),
    until && lte(ledgerRecord.at, until),
    // As canonical JSON has them. Compared, not matched: no name is a pattern.
    names.length === 0
      ? undefined
      : sql`not exists (select from unnest(${textArray(names.map(name => JSON.stringify(name)))}::text[]) as name
          where position(name in ${ledgerRecord.record}) = 0)`,
  )
  const order = from === undefined ? desc : asc
  const selected = builder
    .select(RECORD)
    .from(ledgerRecord)
    .where(isAsked)
    .orderBy(order(ledgerRecord.index))
    .limit(limit)
  const found = await rows(on, selected)
  return from === undefined ? found.reverse() : found
}

export async function selectRecord(on: Queryable, index: bigint): Promise<RecordRow | undefined> {
  const [row] = await rows(on, builder.select(RECORD).from(ledgerRecord).where(eq(ledgerRecord.index, index)))
  return row
}

const log = prepared({ from: ledgerRecord.index, before: ledgerRecord.index }, given =>
  builder
    .select({ index: ledgerRecord.index, record: ledgerRecord.record, seal: ledgerRecord.seal })
    .from(ledgerRecord)
    .where(and(gte(ledgerRecord.index, given.from), lt(ledgerRecord.index, given.before)))
    .orderBy(asc(ledgerRecord.index)),
)
/** In their order, from `from` on, up to what comes before `before`. */
export const selectLog = (on: Queryable, from: bigint, before: bigint) => rows(on, log({ from, before }))

/** Whole, those of these indices that there are. */
export function selectSealed(on: Queryable, indices: readonly bigint[]): Promise<(typeof ledgerRecord.$inferSelect)[]> {
  const wanted = recordset(
    'wanted',
    { index: ledgerRecord.index },
    indices.map(index => ({ index })),
  )
  const isWanted = sql`${ledgerRecord.index} in (select ${wanted.fields.index} from ${wanted.from})`
  return rows(on, builder.select().from(ledgerRecord).where(isWanted))
}

/** As each keystore has wrapped it, whichever that was. */
export type WrappedSecret = Pick<typeof serverSecret.$inferSelect, 'wrapped' | 'wrappedToo'>

export async function selectSecret(on: Queryable, name: string): Promise<WrappedSecret | undefined> {
  const [row] = await rows(on, builder.select().from(serverSecret).where(eq(serverSecret.name, name)))
  return row
}

/** Of two servers that start together the first one's is kept. */
export async function insertSecret(on: Queryable, name: string, secret: WrappedSecret, at: Date): Promise<void> {
  await run(
    on,
    builder
      .insert(serverSecret)
      .values({ name, ...secret, createdAt: at })
      .onConflictDoNothing(),
  )
}

export async function updateSecret(on: Queryable, name: string, secret: Partial<WrappedSecret>): Promise<void> {
  await run(on, builder.update(serverSecret).set(secret).where(eq(serverSecret.name, name)))
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

/** Of subjects that nobody asks for any more, and that no decision was made by that could still come. */
export const deleteEpochs = (t: Queryable, subjects: readonly string[]): Promise<number> =>
  t.execute('delete from access_epoch where subject = any($1::text[])', [textArray(subjects)])

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
