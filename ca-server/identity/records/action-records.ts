import { and, asc, desc, eq, gt, inArray, isNull, lt, sql } from 'drizzle-orm'
import { z } from 'zod'
import { builder, prepared, type Queryable, rows, run } from '#server/store/index.ts'
import { actionTransaction, mandate, personSession } from '../tables.ts'

/** Touches that were asked for, and mandates. */

const { id, session, action, shown, request, askedFrom, state, attempts, createdAt, endsAt, usedBy, answer } =
  actionTransaction

const actions = () =>
  builder
    .select({
      id,
      session,
      action,
      shown,
      request,
      askedFrom,
      state,
      endsAt,
      usedBy,
      answer,
      /** Of its session. */
      person: personSession.person,
      device: personSession.device,
      clientSpki: personSession.clientSpki,
    })
    .from(actionTransaction)
    .innerJoin(personSession, eq(personSession.id, session))
const toAction = ({ shown, request, ...row }: Awaited<ReturnType<typeof actions>>[number]) =>
  shown === null || request === null
    ? undefined
    : {
        ...row,
        shown,
        request,
        usedBy: row.usedBy ?? undefined,
        answer: row.answer ?? undefined,
        clientSpki: row.clientSpki ?? undefined,
      }
export type ActionRow = NonNullable<ReturnType<typeof toAction>>

const byId = prepared({ id }, given => actions().where(eq(id, given.id)))
/** One of the last release, which shows nothing, is none. */
export async function selectAction(on: Queryable, id: string): Promise<ActionRow | undefined> {
  const [row] = await rows(on, byId({ id }))
  return row && toAction(row)
}

export type SameAction = {
  readonly session: string
  readonly action: string
  readonly shown: string
  readonly request: Uint8Array
  readonly askedFrom: string
}

/** One that waits for the same already, and for long enough: asking again and again makes no heap of them. */
export async function selectWaitingAction(
  on: Queryable,
  same: SameAction & { readonly endsAfter: Date },
): Promise<{ readonly id: string; readonly endsAt: Date } | undefined> {
  const isSame = and(
    eq(session, same.session),
    eq(action, same.action),
    eq(shown, same.shown),
    eq(request, same.request),
    eq(askedFrom, same.askedFrom),
    eq(state, 'waiting'),
    gt(endsAt, same.endsAfter),
  )
  const [row] = await rows(
    on,
    builder.select({ id, endsAt }).from(actionTransaction).where(isSame).orderBy(desc(endsAt)).limit(1),
  )
  return row
}

/**
 * Of those of this session that wait at the same time the oldest gives way: whoever else uses the session keeps its owner
 * from nothing.
 */
export async function insertAction(
  on: Queryable,
  asked: SameAction & { id: string; createdAt: Date; endsAt: Date; maxWaiting: number },
): Promise<void> {
  const { maxWaiting, ...added } = asked
  const isWaiting = and(eq(session, asked.session), eq(state, 'waiting'))
  const newest = builder.select({ id }).from(actionTransaction).where(isWaiting).orderBy(desc(createdAt), asc(id))
  await run(on, builder.delete(actionTransaction).where(inArray(id, newest.offset(maxWaiting - 1))))
  await run(on, builder.insert(actionTransaction).values({ ...added, state: 'waiting' }))
}

/** Counts one more ceremony; false beyond `max`. */
export const countActionAttempt = async (on: Queryable, which: string, max: number): Promise<boolean> => {
  const counted = builder.update(actionTransaction).set({ attempts: sql`${attempts} + 1` })
  return (await run(on, counted.where(and(eq(id, which), lt(attempts, max))))) > 0
}

/** Once: false where it was answered before, or has ended. */
export const answerAction = async (
  on: Queryable,
  which: string,
  to: 'confirmed' | 'refused',
  at: Date,
): Promise<boolean> => {
  const isWaiting = and(eq(id, which), eq(state, 'waiting'), gt(endsAt, at))
  return (await run(on, builder.update(actionTransaction).set({ state: to }).where(isWaiting))) > 0
}

/** Once, for that session and that very request as it was shown: false where anything of it is otherwise. */
export const useAction = async (
  t: Queryable,
  touch: { id: string; session: string; shown: string; request: Uint8Array; by: string; at: Date },
): Promise<boolean> => {
  const isThis = and(
    eq(id, touch.id),
    eq(session, touch.session),
    eq(shown, touch.shown),
    eq(request, touch.request),
    eq(state, 'confirmed'),
    gt(endsAt, touch.at),
  )
  return (await run(t, builder.update(actionTransaction).set({ state: 'used', usedBy: touch.by }).where(isThis))) > 0
}

export const keepAnswer = (on: Queryable, which: string, answer: Uint8Array): Promise<number> =>
  run(
    on,
    builder
      .update(actionTransaction)
      .set({ answer })
      .where(and(eq(id, which), eq(state, 'used'))),
  )

export const insertMandate = (
  t: Queryable,
  { at, ...added }: { id: string; session: string; at: Date; endsAt: Date },
): Promise<number> => run(t, builder.insert(mandate).values({ ...added, begunAt: at }))

const MANDATE = { id: mandate.id, session: mandate.session, endsAt: mandate.endsAt }
export type MandateRow = Pick<typeof mandate.$inferSelect, keyof typeof MANDATE>

const standing = prepared({ session: mandate.session, at: mandate.endsAt }, given =>
  builder
    .select(MANDATE)
    .from(mandate)
    .where(and(eq(mandate.session, given.session), isNull(mandate.endedAt), gt(mandate.endsAt, given.at)))
    .orderBy(desc(mandate.endsAt), asc(mandate.id))
    .limit(1)
    .for('share'),
)
/** The session's mandate that still counts, for share: whoever ends it waits for what is done by it. */
export async function selectMandate(on: Queryable, session: string, at: Date): Promise<MandateRow | undefined> {
  const [row] = await rows(on, standing({ session, at }))
  return row
}

/** Ends those of a session that still count, and gives their IDs. Waits for whoever uses one that is over by this clock alone, too. */
export const endMandates = async (t: Queryable, session: string, at: Date): Promise<string[]> => {
  const now = sql`${at.toISOString()}::timestamptz`
  const ended = builder
    .update(mandate)
    .set({ endedAt: sql`least(${mandate.endsAt}, ${now})` })
    .where(and(eq(mandate.session, session), isNull(mandate.endedAt)))
    .returning({ id: mandate.id, open: sql`${mandate.endsAt} > ${now}`.mapWith(z.boolean().parse) })
  return (await rows(t, ended)).flatMap(({ id, open }) => (open ? [id] : []))
}

/** Whatever is under way. */
export const refuseAllActions = (t: Queryable): Promise<number> =>
  run(
    t,
    builder
      .update(actionTransaction)
      .set({ state: 'refused' })
      .where(inArray(state, ['waiting', 'confirmed'])),
  )

/** Everybody's. */
export const endAllMandates = (t: Queryable, at: Date): Promise<number> =>
  run(t, builder.update(mandate).set({ endedAt: at }).where(isNull(mandate.endedAt)))
