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

export type SerialBlock = {
  readonly authority: string
  readonly incarnation: string
  /** The first serial that nobody has reserved. */
  readonly next: bigint
}
const serialBlock = z.object({ authority: z.string(), incarnation: z.string(), next: z.bigint() })

/** In the order of their keys, at most `limit` after this one. */
export const selectBlocks = (
  on: Queryable,
  after: Pick<SerialBlock, 'authority' | 'incarnation'>,
  limit: number,
): Promise<SerialBlock[]> =>
  on.query(
    `select authority, incarnation, next from serial_block where (authority, incarnation) > ($1, $2)
     order by authority, incarnation limit $3::int`,
    [after.authority, after.incarnation, limit],
    serialBlock,
  )

export async function selectBlock(
  on: Queryable,
  authority: string,
  incarnation: string,
): Promise<SerialBlock | undefined> {
  const [found] = await on.query(
    'select authority, incarnation, next from serial_block where authority = $1 and incarnation = $2',
    [authority, incarnation],
    serialBlock,
  )
  return found
}

/** Moves it on from where it was read, or begins it. `false` where it is not there any more: somebody else was faster. */
export async function moveBlock(
  t: Queryable,
  { authority, incarnation, next }: SerialBlock,
  from: bigint | undefined,
): Promise<boolean> {
  const changed =
    from === undefined
      ? await t.execute(
          `insert into serial_block (authority, incarnation, next) values ($1, $2, $3::bigint) on conflict do nothing`,
          [authority, incarnation, next],
        )
      : await t.execute(
          `update serial_block set next = $3::bigint where authority = $1 and incarnation = $2 and next = $4::bigint`,
          [authority, incarnation, next, from],
        )
  return changed === 1
}
