import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'

/** Enrolment links: `migrations/0003_identity.sql`. */

const linkRow = z
  .object({
    id: z.string(),
    kind: z.enum(['administrator', 'invitation', 'reset']),
    is_first: z.boolean(),
    identity: z.string(),
    identity_fixed: z.boolean(),
    owner: z.boolean(),
    created_by: z.string(),
    created_at: z.date(),
    ends_at: z.date(),
    used_at: z.date().nullable(),
    secret_hash: z.instanceof(Uint8Array),
  })
  .transform(row => ({
    id: row.id,
    kind: row.kind,
    isFirst: row.is_first,
    identity: row.identity,
    identityFixed: row.identity_fixed,
    owner: row.owner,
    createdBy: row.created_by,
    createdAt: row.created_at,
    endsAt: row.ends_at,
    used: row.used_at !== null,
    secretHash: row.secret_hash,
  }))
export type LinkRow = z.infer<typeof linkRow>
/** A row that does not fit is no link, and keeps nothing from its end. */
const endedRow = z.looseObject({ open: z.boolean() }).transform(row => {
  const link = linkRow.safeParse(row)
  return row.open && link.success ? [link.data] : []
})
const LINK_COLUMNS = `id, kind, is_first, identity, identity_fixed, administrator as owner, created_by, created_at, ends_at, used_at,
  secret_hash`
const LINK = `select ${LINK_COLUMNS} from enrolment_link`

export async function selectLink(on: Queryable, secretHash: Uint8Array): Promise<LinkRow | undefined> {
  const [row] = await on.query(`${LINK} where secret_hash = $1`, [secretHash], linkRow)
  return row
}

/** What somebody could still use, the newest first. */
export const selectOpenLinks = (on: Queryable, now: Date): Promise<LinkRow[]> =>
  on.query(
    `${LINK} where used_at is null and ends_at > $1::timestamptz order by created_at desc, id`,
    [now.toISOString()],
    linkRow,
  )

export type NewLink = Omit<LinkRow, 'used' | 'secretHash'> & { readonly secretHash: Uint8Array }

export async function insertLink(on: Queryable, link: NewLink): Promise<void> {
  await on.execute(
    `insert into enrolment_link (id, secret_hash, kind, is_first, identity, identity_fixed, administrator, created_by,
       created_at, ends_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9::timestamptz, $10::timestamptz)`,
    [
      link.id,
      link.secretHash,
      link.kind,
      link.isFirst,
      link.identity,
      link.identityFixed,
      link.owner,
      link.createdBy,
      link.createdAt.toISOString(),
      link.endsAt.toISOString(),
    ],
  )
}

/** Once: false where it was used before or has ended. */
export const useLink = async (t: Queryable, id: string, by: string, at: Date): Promise<boolean> =>
  (await t.execute(
    `update enrolment_link set used_at = $3::timestamptz, used_by = $2
     where id = $1 and used_at is null and ends_at > $3::timestamptz`,
    [id, by, at.toISOString()],
  )) > 0

/**
 * Ends what nobody has used: of an identity that is invited or reset anew, or of the first administrator, since only the newest
 * link is good; whatever somebody made; or one. Gives them as they were.
 */
export function endLinks(
  on: Queryable,
  which: { first: true } | { identity: string } | { createdBy: string } | { id: string },
  at: Date,
): Promise<LinkRow[]> {
  // What is said to be gone is what was meant, whichever the database gives.
  const end = async (where: string, isMeant: (link: LinkRow) => boolean, ...values: string[]) => {
    // Those too that are over by this clock: by another's, or when it was begun, one may be in use, and what the log says of an end comes after.
    const rows = await on.query(
      `with unused as (
         select ${LINK_COLUMNS}, ends_at > $1::timestamptz as open from enrolment_link where used_at is null and ${where} order by id for update
       ), ended as (
         update enrolment_link l set ends_at = $1::timestamptz from unused where l.id = unused.id and open
       )
       select * from unused`,
      [at.toISOString(), ...values],
      endedRow,
    )
    return rows.flat().filter(isMeant)
  }
  if ('first' in which) return end('is_first', link => link.isFirst)
  if ('id' in which) return end('id = $2', link => link.id === which.id, which.id)
  if ('createdBy' in which) return end('created_by = $2', link => link.createdBy === which.createdBy, which.createdBy)
  const { identity } = which
  return end(
    "kind <> 'administrator' and identity = $2",
    link => link.kind !== 'administrator' && link.identity === identity,
    identity,
  )
}
