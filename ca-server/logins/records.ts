import { and, desc, eq, gte, inArray, isNotNull, isNull, lt, lte, type SQL, sql } from 'drizzle-orm'
import { builder, eachRow, type Queryable, rows, run } from '#server/store/index.ts'
import type { HostName, SubjectPrincipal } from '#shared/names.ts'
import { hostLogin, hostLoginTold } from './tables.ts'

/** The rows of this room. */

export type LoginRow = typeof hostLogin.$inferSelect
export type NewLogin = Omit<LoginRow, 'closedAt' | 'endedBy'>

/** How far a host has told, of which record. Takes its row's lock: two reports of one host come one after the other. */
export async function takeTold(t: Queryable, host: HostName): Promise<{ record: string; number: number }> {
  await run(t, builder.insert(hostLoginTold).values({ host, record: '', number: 0 }).onConflictDoNothing())
  const { record, number } = hostLoginTold
  const [row] = await rows(
    t,
    builder.select({ record, number }).from(hostLoginTold).where(eq(hostLoginTold.host, host)).for('update'),
  )
  if (!row) throw new TypeError('host_login_told lost a row')
  return row
}

export async function setTold(t: Queryable, host: HostName, record: string, number: number): Promise<void> {
  await run(t, builder.update(hostLoginTold).set({ record, number }).where(eq(hostLoginTold.host, host)))
}

export async function insertLogins(t: Queryable, logins: readonly NewLogin[]): Promise<void> {
  if (logins.length > 0)
    await run(
      t,
      builder
        .insert(hostLogin)
        .values([...logins])
        .onConflictDoNothing(),
    )
}

/** Gives the row as it is then; `undefined` for one that nobody has told of, or that was closed before. */
export async function closeLogin(
  t: Queryable,
  of: Pick<LoginRow, 'host' | 'record' | 'number'>,
  { at, endedBy }: { readonly at: Date; readonly endedBy: string | null },
): Promise<LoginRow | undefined> {
  const isIt = and(eq(hostLogin.host, of.host), eq(hostLogin.record, of.record), eq(hostLogin.number, of.number))
  const [row] = await rows(
    t,
    builder
      .update(hostLogin)
      .set({ closedAt: at, endedBy })
      .where(and(isIt, isNull(hostLogin.closedAt)))
      .returning(),
  )
  return row
}

/** A host that begins a new record says nothing more of the old one: nobody knows when these ended. */
export const closeForgotten = (t: Queryable, host: HostName, record: string, at: Date): Promise<number> =>
  run(
    t,
    builder
      .update(hostLogin)
      .set({ closedAt: at })
      .where(and(eq(hostLogin.host, host), sql`${hostLogin.record} <> ${record}`, isNull(hostLogin.closedAt))),
  )

export type LoginFilter = {
  /** Of these hosts alone. */
  readonly hosts?: readonly HostName[]
  readonly subject?: SubjectPrincipal
  readonly since?: Date
  readonly until?: Date
  readonly open?: boolean
  readonly limit: number
}

/** The newest first; a row that does not fit is left out. */
export async function selectLogins(q: Queryable, filter: LoginFilter): Promise<LoginRow[]> {
  const { hosts, subject, since, until, open, limit } = filter
  const wanted: (SQL | undefined)[] = [
    hosts && inArray(hostLogin.host, [...hosts]),
    subject && eq(hostLogin.subject, subject),
    since && gte(hostLogin.openedAt, since),
    until && lte(hostLogin.openedAt, until),
    open === true ? isNull(hostLogin.closedAt) : undefined,
  ]
  const found = builder
    .select()
    .from(hostLogin)
    .where(and(...wanted))
    .orderBy(desc(hostLogin.openedAt), desc(hostLogin.number))
    .limit(limit)
  return (await eachRow(q, found)).flatMap(({ row }) => row ?? [])
}

/** How many sessions each host has said that it ended by this order. */
export async function countEnded(q: Queryable, order: string): Promise<Map<HostName, number>> {
  const counted = builder
    .select({ host: hostLogin.host, ended: sql<number>`count(*)::int`.mapWith(Number) })
    .from(hostLogin)
    .where(and(isNotNull(hostLogin.endedBy), eq(hostLogin.endedBy, order)))
    .groupBy(hostLogin.host)
  return new Map((await rows(q, counted)).map(({ host, ended }) => [host, ended]))
}

/** Those of a year ago, by the earlier of two clocks. */
export const deleteOld = (t: Queryable, now: Date): Promise<number> =>
  run(
    t,
    builder
      .delete(hostLogin)
      .where(
        lt(hostLogin.openedAt, sql`least(clock_timestamp(), ${now.toISOString()}::timestamptz) - interval '365 days'`),
      ),
  )
