import { and, asc, desc, eq, gt, isNull, ne, type SQL, sql } from 'drizzle-orm'
import { z } from 'zod'
import { builder, eachRow, prepared, type Queryable, rows, run } from '#server/store/index.ts'
import { enrolmentLink } from '../tables.ts'

/** Enrolment links. */

const { id, secretHash, kind, isFirst, identity, createdBy, createdAt, endsAt, usedAt } = enrolmentLink

const LINK = {
  id,
  kind,
  isFirst,
  identity,
  identityFixed: enrolmentLink.identityFixed,
  owner: enrolmentLink.owner,
  createdBy,
  createdAt,
  endsAt,
  usedAt,
  secretHash,
}
const toLink = ({ usedAt, ...row }: Pick<typeof enrolmentLink.$inferSelect, keyof typeof LINK>) => ({
  ...row,
  used: usedAt !== null,
})
export type LinkRow = ReturnType<typeof toLink>

const bySecret = prepared({ secretHash }, given =>
  builder.select(LINK).from(enrolmentLink).where(eq(secretHash, given.secretHash)),
)
export async function selectLink(on: Queryable, hash: Uint8Array): Promise<LinkRow | undefined> {
  const [row] = await rows(on, bySecret({ secretHash: hash }))
  return row && toLink(row)
}

/** What somebody could still use, the newest first. */
export async function selectOpenLinks(on: Queryable, now: Date): Promise<LinkRow[]> {
  const isOpen = and(isNull(usedAt), gt(endsAt, now))
  const open = builder.select(LINK).from(enrolmentLink).where(isOpen).orderBy(desc(createdAt), asc(id))
  return (await rows(on, open)).map(toLink)
}

export type NewLink = Omit<LinkRow, 'used'>

export async function insertLink(on: Queryable, link: NewLink): Promise<void> {
  await run(on, builder.insert(enrolmentLink).values(link))
}

/** Once: false where it was used before or has ended. */
export const useLink = async (t: Queryable, which: string, by: string, at: Date): Promise<boolean> => {
  const isOpen = and(eq(id, which), isNull(usedAt), gt(endsAt, at))
  return (await run(t, builder.update(enrolmentLink).set({ usedAt: at, usedBy: by }).where(isOpen))) > 0
}

/**
 * Ends what nobody has used: of an identity that is invited or reset anew, or of the first owner, since only the newest
 * link is good; whatever somebody made; or one. Gives them as they were.
 */
export function endLinks(
  on: Queryable,
  which: { first: true } | { identity: string } | { createdBy: string } | { id: string },
  at: Date,
): Promise<LinkRow[]> {
  // What is said to be gone is what was meant, whichever the database gives.
  const end = async (where: SQL | undefined, isMeant: (link: LinkRow) => boolean) => {
    const isOpen = sql`${endsAt} > ${at.toISOString()}::timestamptz`.mapWith(z.boolean().parse).as('open')
    // Those too that are over by this clock: by another's, or when it was begun, one may be in use, and what the log says of an end comes after.
    const unused = builder.$with('unused').as(
      builder
        .select({ ...LINK, isOpen })
        .from(enrolmentLink)
        .where(and(isNull(usedAt), where))
        .orderBy(asc(id))
        .for('update'),
    )
    const ended = builder.$with('ended').as(
      builder
        .update(enrolmentLink)
        .set({ endsAt: at })
        .from(unused)
        .where(and(eq(id, unused.id), unused.isOpen)),
    )
    // A row that does not fit is no link, and keeps nothing from its end.
    const found = await eachRow(on, builder.with(unused, ended).select().from(unused))
    return found.flatMap(({ row }) => (row?.isOpen ? [toLink(row)] : [])).filter(isMeant)
  }
  if ('first' in which) return end(eq(isFirst, true), link => link.isFirst)
  if ('id' in which) return end(eq(id, which.id), link => link.id === which.id)
  if ('createdBy' in which) return end(eq(createdBy, which.createdBy), link => link.createdBy === which.createdBy)
  return end(
    and(ne(kind, 'administrator'), eq(identity, which.identity)),
    link => link.kind !== 'administrator' && link.identity === which.identity,
  )
}

/** Whatever nobody has used. */
export const endAllLinks = (t: Queryable, at: Date): Promise<number> =>
  run(
    t,
    builder
      .update(enrolmentLink)
      .set({ endsAt: at })
      .where(and(isNull(usedAt), gt(endsAt, at))),
  )
