import { and, asc, eq, gt, inArray, isNull, type SQL } from 'drizzle-orm'
import { builder, eachRow, type Queryable, rows, run } from '#server/store/index.ts'
import { type Place, placeOfWorkload, type SubjectPrincipal, type WorkloadName } from '#shared/names.ts'
import { type ReplacedKeys, workload, workloadToken } from './tables.ts'

/** The rows of this room. Every statement that takes something away runs in a transaction which has bumped epochs first. */

export type SessionRow = {
  readonly id: string
  readonly sshKey: Uint8Array
  readonly clientSpki: Uint8Array
  readonly joinedAt: Date
  readonly renewedAt: Date
  /** Client keys that were replaced a moment ago. */
  readonly replaced: ReplacedKeys
  /** The peer's address; shown, and nothing is decided by it. */
  readonly from: string | undefined
}
export type WorkloadRow = Pick<
  typeof workload.$inferSelect,
  'id' | 'name' | 'idle' | 'lifetime' | 'createdAt' | 'createdBy'
> & { readonly place: Place; readonly session: SessionRow | undefined; readonly ended: string | undefined }

function toWorkload(row: typeof workload.$inferSelect): WorkloadRow {
  const { id, name, idle, lifetime, createdAt, createdBy } = row
  const { session, sshKey, clientSpki, joinedAt, renewedAt, replaced } = row
  return {
    // By its name, of which the log says that it is there.
    ...{ id, name, place: placeOfWorkload(name), idle, lifetime, createdAt, createdBy },
    session:
      session && sshKey && clientSpki && joinedAt && renewedAt
        ? { id: session, sshKey, clientSpki, joinedAt, renewedAt, replaced, from: row.renewedFrom ?? undefined }
        : undefined,
    ended: row.ended ?? undefined,
  }
}

const isLiving = isNull(workload.removedAt)
const living = (where?: SQL) => builder.select().from(workload).where(and(isLiving, where))

/** A row that does not fit is no workload: it must not keep the others from being read. */
export const selectLiving = async (q: Queryable, names?: readonly WorkloadName[]): Promise<WorkloadRow[]> => {
  const asked = names === undefined ? living() : living(inArray(workload.name, [...names]))
  return (await eachRow(q, asked.orderBy(asc(workload.name)))).flatMap(({ row }) => (row ? [toWorkload(row)] : []))
}

export const selectLivingNames = async (q: Queryable): Promise<WorkloadName[]> =>
  (await eachRow(q, builder.select({ name: workload.name }).from(workload).where(isLiving))).flatMap(
    ({ row }) => row?.name ?? [],
  )

/** In the order of their IDs, those too that do not fit. */
export const selectLivingPage = async (
  q: Queryable,
  { after, limit }: { readonly after: string; readonly limit: number },
): Promise<{ readonly id: string; readonly workload: WorkloadRow | undefined }[]> =>
  (await eachRow(q, living(gt(workload.id, after)).orderBy(asc(workload.id)).limit(limit))).map(({ row, fits }) => ({
    id: fits.id ?? '',
    workload: row && toWorkload(row),
  }))

/** As it is in this transaction, and stays until its end. */
export async function lockByName(t: Queryable, name: WorkloadName): Promise<WorkloadRow | undefined> {
  const [row] = await rows(t, living(eq(workload.name, name)).for('update'))
  return row && toWorkload(row)
}

export const insertWorkload = async (t: Queryable, row: Omit<WorkloadRow, 'session' | 'ended'>): Promise<void> =>
  void (await run(t, builder.insert(workload).values(row)))

export const setLimits = (
  t: Queryable,
  id: string,
  { idle, lifetime }: Pick<WorkloadRow, 'idle' | 'lifetime'>,
): Promise<number> => run(t, builder.update(workload).set({ idle, lifetime }).where(eq(workload.id, id)))

export const setSession = (t: Queryable, id: string, session: SessionRow): Promise<number> => {
  const { id: sessionId, from, ...values } = session
  const set = { ...values, session: sessionId, renewedFrom: from ?? null, ended: null }
  return run(
    t,
    builder
      .update(workload)
      .set(set)
      .where(and(eq(workload.id, id), isLiving)),
  )
}

const NO_SESSION = {
  session: null,
  sshKey: null,
  clientSpki: null,
  joinedAt: null,
  renewedAt: null,
  renewedFrom: null,
  replaced: [],
}
/** `ended`: why, for people to read. */
export const clearSession = (t: Queryable, name: WorkloadName, ended: string): Promise<number> =>
  run(
    t,
    builder
      .update(workload)
      .set({ ...NO_SESSION, ended })
      .where(and(eq(workload.name, name), isLiving)),
  )

export const setRemoved = (t: Queryable, id: string, at: Date): Promise<number> =>
  run(
    t,
    builder
      .update(workload)
      .set({ removedAt: at, place: null })
      .where(and(eq(workload.id, id), isLiving)),
  )

export type TokenRow = {
  readonly hash: Uint8Array
  readonly endsAt: Date
  readonly used: boolean
  readonly again: boolean
  readonly maker: SubjectPrincipal | undefined
  readonly workload: WorkloadRow
}

/** With its workload, where that is there. */
export async function selectToken(q: Queryable, hash: Uint8Array): Promise<TokenRow | undefined> {
  const [token] = await rows(q, builder.select().from(workloadToken).where(eq(workloadToken.hash, hash)))
  if (token === undefined) return undefined
  const [row] = await rows(q, living(eq(workload.id, token.workload)))
  if (row === undefined) return undefined
  return { ...toToken(token), workload: toWorkload(row) }
}
const toToken = ({ hash, endsAt, usedAt, again, madeBy }: typeof workloadToken.$inferSelect) => ({
  ...{ hash, endsAt, used: usedAt !== null, again },
  maker: madeBy ?? undefined,
})

const openTokens = (workload: string) => and(eq(workloadToken.workload, workload), isNull(workloadToken.usedAt))

/** Those of a workload that nobody has used. */
export const selectOpenTokens = async (q: Queryable, id: string): Promise<Omit<TokenRow, 'workload'>[]> =>
  (await rows(q, builder.select().from(workloadToken).where(openTokens(id)))).map(toToken)

export async function insertToken(
  t: Queryable,
  token: Omit<TokenRow, 'workload' | 'used'> & { readonly workload: string; readonly at: Date },
): Promise<void> {
  const { hash, workload, at, endsAt, again, maker } = token
  const values = { hash, workload, createdAt: at, endsAt, again, madeBy: maker ?? null }
  await run(t, builder.insert(workloadToken).values(values))
}

/** False where it was used already. */
export const useToken = async (t: Queryable, hash: Uint8Array, at: Date): Promise<boolean> =>
  (await run(
    t,
    builder
      .update(workloadToken)
      .set({ usedAt: at })
      .where(and(eq(workloadToken.hash, hash), isNull(workloadToken.usedAt), gt(workloadToken.endsAt, at))),
  )) > 0

/** Those of one workload that nobody has used. */
export const endTokens = (t: Queryable, id: string, at: Date): Promise<number> =>
  run(t, builder.update(workloadToken).set({ usedAt: at }).where(openTokens(id)))

/** All sessions and tokens that there are. */
export async function endAllIn(t: Queryable, at: Date, ended: string): Promise<void> {
  await run(
    t,
    builder
      .update(workload)
      .set({ ...NO_SESSION, ended })
      .where(isLiving),
  )
  await run(t, builder.update(workloadToken).set({ usedAt: at }).where(isNull(workloadToken.usedAt)))
}
