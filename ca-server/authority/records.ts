import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'

/** This room's rows for keys and serials: `migrations/0005_authority.sql`. Those of revocation and trust stand beside their code. */

export type Purpose = 'ssh-user' | 'ssh-host' | 'machines'
export type KeyState = 'active' | 'standby' | 'retired'
const keyRow = z.object({
  label: z.string(),
  purpose: z.enum(['ssh-user', 'ssh-host', 'machines']),
  state: z.enum(['active', 'standby', 'retired']),
  spki: z.instanceof(Uint8Array),
  certificate: z.string().nullable(),
})
export type KeyRow = Omit<z.infer<typeof keyRow>, 'spki'> & { readonly spki: Uint8Array }

export const selectKeys = (on: Queryable): Promise<KeyRow[]> =>
  on.query('select label, purpose, state, spki, certificate from authority_key order by created_at, label', [], keyRow)

/** False where another server was first: each purpose has one active key, and one standby key. */
export const insertKey = async (t: Queryable, key: KeyRow, incarnation: string, at: string): Promise<boolean> =>
  (await t.execute(
    `insert into authority_key (label, purpose, state, spki, certificate, incarnation, created_at)
     values ($1, $2, $3, $4, $5, $6, $7::timestamptz) on conflict do nothing`,
    [key.label, key.purpose, key.state, key.spki, key.certificate, incarnation, at],
  )) > 0

/**
 * Reserves `count` serials and gives the first, in one statement. A history that was taken up anew (another incarnation)
 * begins at the next multiple of 2^40: far above whatever the lost history may have given after the backup.
 */
export async function reserveSerials(
  on: Queryable,
  authority: string,
  incarnation: string,
  count: number,
): Promise<bigint> {
  const [row] = await on.query(
    `insert into serial_block (authority, incarnation, next)
     select $1, $2, coalesce((max(next) / ${2 ** 40} + 1) * ${2 ** 40}, ${FIRST_SERIAL}) + $3::bigint
       from serial_block where authority = $1
     on conflict (authority, incarnation) do update set next = serial_block.next + $3::bigint
     returning next - $3::bigint as first`,
    [authority, incarnation, count],
    z.object({ first: z.bigint() }),
  )
  if (!row) throw new TypeError('a reservation gives one row')
  return row.first
}

/** 1 is the canary's. */
const FIRST_SERIAL = 2
