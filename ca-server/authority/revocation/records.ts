import { z } from 'zod'
import type { IssuedCertificate } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { RevokedInterval } from '#shared/audit/index.ts'

/** The rows of revocation: `migrations/0005_authority.sql`. */

/** Takes the one row's lock until the commit, so versions and what they hold go forward together. Seconds since 1970. */
export async function raiseKrlVersion(
  t: Queryable,
  { above, at }: { readonly above: bigint; readonly at: Date },
): Promise<{ version: bigint; at: bigint }> {
  const [row] = await t.query(
    `update krl_state set version = greatest(version, $2::bigint) + 1, at = date_trunc('second', greatest(at, $1::timestamptz))
     returning version, at`,
    [at.toISOString(), above],
    z.object({ version: z.bigint(), at: z.date() }),
  )
  if (!row) throw new TypeError('the row of krl_state is missing')
  return { version: row.version, at: BigInt(Math.floor(row.at.getTime() / 1000)) }
}

export type RevocationRow = {
  readonly id: string
  readonly target: string
  readonly reason: string | undefined
  readonly certificates: number
  readonly sessions: number
  readonly krlVersion: bigint
}
export async function insertRevocation(t: Queryable, row: RevocationRow, at: string, actor: string): Promise<void> {
  await t.execute(
    `insert into revocation (id, target, reason, certificates, sessions, krl_version, at, by_actor)
     values ($1, $2, $3, $4::int, $5::int, $6::bigint, $7::timestamptz, $8)`,
    [row.id, row.target, row.reason ?? null, row.certificates, row.sessions, row.krlVersion, at, actor],
  )
}

export async function selectRevocation(on: Queryable, id: string): Promise<RevocationRow | undefined> {
  const [row] = await on.query(
    'select id, target, reason, certificates, sessions, krl_version from revocation where id = $1',
    [id],
    z.object({
      id: z.string(),
      target: z.string(),
      reason: z.string().nullable(),
      certificates: z.int(),
      sessions: z.int(),
      krl_version: z.bigint(),
    }),
  )
  return row && { ...row, reason: row.reason ?? undefined, krlVersion: row.krl_version }
}

/** One statement for all; what is on the list already stays as it is. */
export async function insertRevoked(
  t: Queryable,
  revoked: readonly Pick<IssuedCertificate, 'authority' | 'serial' | 'keyId' | 'validBefore'>[],
  revocation: string,
): Promise<void> {
  const rows = revoked.map(c => ({ a: c.authority, s: c.serial.toString(), k: c.keyId, u: c.validBefore.toString() }))
  await t.execute(
    `insert into revoked_certificate (authority, serial, key_id, until, revocation)
     select a, s, k, u, $2 from jsonb_to_recordset($1::jsonb) as r(a text, s bigint, k text, u bigint)
     on conflict do nothing`,
    [JSON.stringify(rows), revocation],
  )
}

export async function insertRevokedKey(t: Queryable, fingerprint: string, revocation: string): Promise<void> {
  await t.execute('insert into revoked_key (fingerprint, revocation) values ($1, $2) on conflict do nothing', [
    fingerprint,
    revocation,
  ])
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

export const deleteEnded = (t: Queryable, intervals: readonly RevokedInterval[]): Promise<number> =>
  t.execute(
    `delete from revoked_certificate r using jsonb_to_recordset($1::jsonb) as i(a text, f bigint, t bigint)
     where r.authority = i.a and r.serial between i.f and i.t`,
    [JSON.stringify(intervals.map(({ authority, from, to }) => ({ a: authority, f: `${from}`, t: `${to}` })))],
  )
