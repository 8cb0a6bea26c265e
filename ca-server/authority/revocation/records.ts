import { z } from 'zod'
import type { IssuedCertificate } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'

/** The rows of revocation: `migrations/0005_authority.sql`. */

/** Takes the one row's lock until the commit, so versions and what they hold go forward together. Gives the new version. */
export async function raiseKrlVersion(t: Queryable, at: string): Promise<bigint> {
  const [row] = await t.query(
    `update krl_state set version = version + 1, at = date_trunc('second', greatest(at, $1::timestamptz)) returning version`,
    [at],
    z.object({ version: z.bigint() }),
  )
  if (!row) throw new TypeError('the row of krl_state is missing')
  return row.version
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
  revoked: readonly IssuedCertificate[],
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

export async function insertRevokedForEver(
  t: Queryable,
  authority: string,
  serial: bigint,
  keyId: string,
): Promise<void> {
  await t.execute(
    'insert into revoked_certificate (authority, serial, key_id) values ($1, $2::bigint, $3) on conflict do nothing',
    [authority, serial, keyId],
  )
}

export async function insertRevokedKey(t: Queryable, fingerprint: string, revocation: string): Promise<void> {
  await t.execute('insert into revoked_key (fingerprint, revocation) values ($1, $2) on conflict do nothing', [
    fingerprint,
    revocation,
  ])
}

export async function selectRevokedKeys(on: Queryable): Promise<Set<string>> {
  const rows = await on.query('select fingerprint from revoked_key', [], z.object({ fingerprint: z.string() }))
  return new Set(rows.map(row => row.fingerprint))
}

export async function selectKrlVersion(on: Queryable): Promise<bigint> {
  const [row] = await on.query('select version from krl_state', [], z.object({ version: z.bigint() }))
  if (!row) throw new TypeError('the row of krl_state is missing')
  return row.version
}

const contentRow = z.object({
  version: z.bigint(),
  at: z.date(),
  authority: z.string().nullable(),
  serial: z.bigint().nullable(),
  fingerprint: z.string().nullable(),
})
export type KrlContent = {
  readonly version: bigint
  readonly at: Date
  /** By authority, in order. */
  readonly serials: ReadonlyMap<string, readonly bigint[]>
  readonly fingerprints: readonly string[]
}

/** In one statement, so that version and content are of one moment. */
export async function selectKrlContent(on: Queryable): Promise<KrlContent> {
  const rows = await on.query(
    `select version, at, authority, serial, fingerprint from krl_state left join (
       select authority, serial, null as fingerprint from revoked_certificate
       union all select null, null, fingerprint from revoked_key
     ) as revoked on true order by authority, serial, fingerprint`,
    [],
    contentRow,
  )
  const [first] = rows
  if (!first) throw new TypeError('the row of krl_state is missing')
  const serials = new Map<string, bigint[]>()
  const fingerprints: string[] = []
  for (const { authority, serial, fingerprint } of rows) {
    if (authority !== null && serial !== null) {
      const list = serials.get(authority)
      if (list) list.push(serial)
      else serials.set(authority, [serial])
    }
    if (fingerprint !== null) fingerprints.push(fingerprint)
  }
  return { version: first.version, at: first.at, serials, fingerprints }
}

/** Takes out what has ended by itself. Gives how many. */
export const deleteEnded = (t: Queryable, now: bigint): Promise<number> =>
  t.execute('delete from revoked_certificate where until <= $1::bigint', [now])
