import { and, asc, desc, eq, ne, sql } from 'drizzle-orm'
import { builder, type Queryable, rows, run } from '#server/store/index.ts'
import { authorityKey, type Purpose, serialBlock } from './tables.ts'

/** This room's rows for keys and serials. Those of revocation and trust stand beside their code. */

export { AUTHORITY_PURPOSES, type KeyState, type Purpose } from './tables.ts'

const KEY = {
  label: authorityKey.label,
  purpose: authorityKey.purpose,
  state: authorityKey.state,
  spki: authorityKey.spki,
  certificate: authorityKey.certificate,
}
export type KeyRow = Readonly<Pick<typeof authorityKey.$inferSelect, keyof typeof KEY>>

export const selectKeys = (on: Queryable): Promise<KeyRow[]> =>
  rows(on, builder.select(KEY).from(authorityKey).orderBy(asc(authorityKey.createdAt), asc(authorityKey.label)))

/** False where another server was first: each purpose has one active key, and one standby key. */
export const insertKey = async (t: Queryable, key: KeyRow, incarnation: string, at: string): Promise<boolean> => {
  const added = { ...key, incarnation, createdAt: new Date(at) }
  return (await run(t, builder.insert(authorityKey).values(added).onConflictDoNothing())) > 0
}

/** For people, and for servers of the last release: what counts is what the log says. */
export async function setSigner(t: Queryable, purpose: Purpose, label: string): Promise<void> {
  const ofPurpose = eq(authorityKey.purpose, purpose)
  const others = and(ofPurpose, eq(authorityKey.state, 'active'), ne(authorityKey.label, label))
  // One is active at any time: the index says so after each statement.
  await run(t, builder.update(authorityKey).set({ state: 'retired' }).where(others))
  await run(
    t,
    builder
      .update(authorityKey)
      .set({ state: 'active' })
      .where(and(ofPurpose, eq(authorityKey.label, label))),
  )
}

/** `next`: the first serial that nobody has reserved. */
export type SerialBlock = Readonly<typeof serialBlock.$inferSelect>

/** In the order of their keys, at most `limit` after this one. */
export const selectBlocks = (
  on: Queryable,
  after: Pick<SerialBlock, 'authority' | 'incarnation'>,
  limit: number,
): Promise<SerialBlock[]> =>
  rows(
    on,
    builder
      .select()
      .from(serialBlock)
      .where(sql`(${serialBlock.authority}, ${serialBlock.incarnation}) > (${after.authority}, ${after.incarnation})`)
      .orderBy(asc(serialBlock.authority), asc(serialBlock.incarnation))
      .limit(limit),
  )

const isBlock = (authority: string, incarnation: string) =>
  and(eq(serialBlock.authority, authority), eq(serialBlock.incarnation, incarnation))

export async function selectBlock(
  on: Queryable,
  authority: string,
  incarnation: string,
): Promise<SerialBlock | undefined> {
  const [found] = await rows(on, builder.select().from(serialBlock).where(isBlock(authority, incarnation)))
  return found
}

/** The highest serial that nobody has reserved, of all histories; `undefined` where none was ever reserved. */
export async function selectHighestNext(on: Queryable, authority: string): Promise<bigint | undefined> {
  const highest = builder
    .select({ next: serialBlock.next })
    .from(serialBlock)
    .where(eq(serialBlock.authority, authority))
  const [found] = await rows(on, highest.orderBy(desc(serialBlock.next)).limit(1))
  return found?.next
}

/** Throws `StoreError` where it is there already. */
export async function insertBlock(t: Queryable, block: SerialBlock): Promise<void> {
  await run(t, builder.insert(serialBlock).values(block))
}

/** Moves it on from where it was read, or begins it. `false` where it is not there any more: somebody else was faster. */
export async function moveBlock(t: Queryable, block: SerialBlock, from: bigint | undefined): Promise<boolean> {
  const { authority, incarnation, next } = block
  const moved =
    from === undefined
      ? builder.insert(serialBlock).values(block).onConflictDoNothing()
      : builder
          .update(serialBlock)
          .set({ next })
          .where(and(isBlock(authority, incarnation), eq(serialBlock.next, from)))
  return (await run(t, moved)) === 1
}
