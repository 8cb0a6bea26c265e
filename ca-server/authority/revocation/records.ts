import { eq, getTableColumns, sql } from 'drizzle-orm'
import { z } from 'zod'
import type { IssuedCertificate } from '#server/ledger/index.ts'
import { builder, type Queryable, recordset, rows, run } from '#server/store/index.ts'
import type { RevokedInterval } from '#shared/audit/index.ts'
import { krlState, revocation, revokedCertificate, revokedKey } from '../tables.ts'

/** The rows of revocation. */

/** Seconds since 1970. */
export type KrlState = { readonly version: bigint; readonly at: bigint }
const toState = ({ version, at }: { version: bigint; at: Date }): KrlState => ({
  version,
  at: BigInt(Math.floor(at.getTime() / 1000)),
})
const STATE = { version: krlState.version, at: krlState.at }

/** Takes the one row's lock until the commit, so versions and what they hold go forward together. */
export async function raiseKrlVersion(
  t: Queryable,
  { above, at }: { readonly above: bigint; readonly at: Date },
): Promise<KrlState> {
  const raised = {
    version: sql`greatest(${krlState.version}, ${above}::bigint) + 1`,
    at: sql`date_trunc('second', greatest(${krlState.at}, ${at.toISOString()}::timestamptz))`,
  }
  const [row] = await rows(t, builder.update(krlState).set(raised).returning(STATE))
  if (!row) throw new TypeError('the row of krl_state is missing')
  return toState(row)
}

export async function selectKrlState(on: Queryable): Promise<KrlState | undefined> {
  const [row] = await rows(on, builder.select(STATE).from(krlState))
  return row && toState(row)
}

export type RevocationRow = {
  readonly id: string
  readonly target: string
  readonly reason: string | undefined
  readonly certificates: number
  readonly sessions: number
  readonly krlVersion: bigint
}
export async function insertRevocation(t: Queryable, row: RevocationRow, at: string, byActor: string): Promise<void> {
  await run(t, builder.insert(revocation).values({ ...row, reason: row.reason ?? null, at: new Date(at), byActor }))
}

export async function selectRevocation(on: Queryable, id: string): Promise<RevocationRow | undefined> {
  const { target, reason, certificates, sessions, krlVersion } = revocation
  const columns = { id: revocation.id, target, reason, certificates, sessions, krlVersion }
  const [row] = await rows(on, builder.select(columns).from(revocation).where(eq(revocation.id, id)))
  return row && { ...row, reason: row.reason ?? undefined }
}

/** One statement for all; what is on the list already stays as it is. */
export async function insertRevoked(
  t: Queryable,
  revoked: readonly Pick<IssuedCertificate, 'authority' | 'serial' | 'keyId' | 'validBefore'>[],
  revocation: string,
): Promise<void> {
  const given = recordset(
    'given',
    getTableColumns(revokedCertificate),
    revoked.map(({ validBefore, ...rest }) => ({ ...rest, until: validBefore, revocation })),
  )
  await run(t, builder.insert(revokedCertificate).select(sql`select * from ${given.from}`).onConflictDoNothing())
}

export async function insertRevokedKey(t: Queryable, fingerprint: string, revocation: string): Promise<void> {
  await run(t, builder.insert(revokedKey).values({ fingerprint, revocation }).onConflictDoNothing())
}

/** The database's clock, in seconds since 1970. */
export async function selectClock(on: Queryable): Promise<bigint> {
  const [row] = await on.query(
    'select floor(extract(epoch from clock_timestamp()))::bigint as now',
    [],
    z.object({ now: z.bigint() }),
  )
  if (!row) throw new TypeError('the database has no clock')
  return row.now
}

/** Text: drizzle has no `using`, by which each interval finds its rows in the index. */
export const deleteEnded = (t: Queryable, intervals: readonly RevokedInterval[]): Promise<number> =>
  t.execute(
    `delete from revoked_certificate r using jsonb_to_recordset($1::jsonb) as i(a text, f bigint, t bigint)
     where r.authority = i.a and r.serial between i.f and i.t`,
    [JSON.stringify(intervals.map(({ authority, from, to }) => ({ a: authority, f: `${from}`, t: `${to}` })))],
  )
