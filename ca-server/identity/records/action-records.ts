import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { personColumn } from './person-records.ts'

/** Touches that were asked for, and mandates: `migrations/0012_touches.sql`. */

const bytes = z.instanceof(Uint8Array)
const actionRow = z
  .object({
    id: z.string(),
    session: z.string(),
    action: z.string(),
    shown: z.string(),
    request: bytes,
    asked_from: z.string(),
    state: z.enum(['waiting', 'confirmed', 'refused', 'used']),
    ends_at: z.date(),
    used_by: z.string().nullable(),
    answer: bytes.nullable(),
    person: personColumn,
    device: z.string(),
    client_spki: bytes.nullable(),
  })
  .transform(row => ({
    id: row.id,
    session: row.session,
    action: row.action,
    shown: row.shown,
    request: row.request,
    askedFrom: row.asked_from,
    state: row.state,
    endsAt: row.ends_at,
    usedBy: row.used_by ?? undefined,
    answer: row.answer ?? undefined,
    /** Of its session. */
    person: row.person,
    device: row.device,
    clientSpki: row.client_spki ?? undefined,
  }))
export type ActionRow = z.infer<typeof actionRow>

/** One of the last release, which shows nothing, is none. */
export async function selectAction(on: Queryable, id: string): Promise<ActionRow | undefined> {
  const [row] = await on.query(
    `select a.id, a.session, a.action, a.shown, a.request, a.asked_from, a.state, a.ends_at, a.used_by, a.answer, s.person,
       s.device, s.client_spki
     from action_transaction a join person_session s on s.id = a.session
     where a.id = $1 and a.shown is not null and a.request is not null`,
    [id],
    actionRow,
  )
  return row
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
  const [row] = await on.query(
    `select id, ends_at from action_transaction where session = $1 and action = $2 and shown = $3 and request = $4 and asked_from = $5
       and state = 'waiting' and ends_at > $6::timestamptz order by ends_at desc limit 1`,
    [same.session, same.action, same.shown, same.request, same.askedFrom, same.endsAfter.toISOString()],
    z.object({ id: z.string(), ends_at: z.date() }),
  )
  return row && { id: row.id, endsAt: row.ends_at }
}

/**
 * Of those of this session that wait at the same time the oldest gives way: whoever else uses the session keeps its owner
 * from nothing.
 */
export async function insertAction(
  on: Queryable,
  action: SameAction & { id: string; createdAt: Date; endsAt: Date; maxWaiting: number },
): Promise<void> {
  await on.execute(
    `delete from action_transaction where id in (select id from action_transaction
       where session = $1 and state = 'waiting' order by created_at desc, id offset $2::int)`,
    [action.session, action.maxWaiting - 1],
  )
  await on.execute(
    `insert into action_transaction (id, session, action, shown, request, asked_from, state, created_at, ends_at)
     values ($1, $2, $3, $4, $5, $6, 'waiting', $7::timestamptz, $8::timestamptz)`,
    [
      action.id,
      action.session,
      action.action,
      action.shown,
      action.request,
      action.askedFrom,
      action.createdAt.toISOString(),
      action.endsAt.toISOString(),
    ],
  )
}

/** Counts one more ceremony; false beyond `max`. */
export const countActionAttempt = async (on: Queryable, id: string, max: number): Promise<boolean> =>
  (await on.execute('update action_transaction set attempts = attempts + 1 where id = $1 and attempts < $2::int', [
    id,
    max,
  ])) > 0

/** Once: false where it was answered before, or has ended. */
export const answerAction = async (
  on: Queryable,
  id: string,
  state: 'confirmed' | 'refused',
  at: Date,
): Promise<boolean> =>
  (await on.execute(
    `update action_transaction set state = $2 where id = $1 and state = 'waiting' and ends_at > $3::timestamptz`,
    [id, state, at.toISOString()],
  )) > 0

/** Once, for that session and that very request as it was shown: false where anything of it is otherwise. */
export const useAction = async (
  t: Queryable,
  touch: { id: string; session: string; shown: string; request: Uint8Array; by: string; at: Date },
): Promise<boolean> =>
  (await t.execute(
    `update action_transaction set state = 'used', used_by = $5 where id = $1 and session = $2 and shown = $3 and request = $4
       and state = 'confirmed' and ends_at > $6::timestamptz`,
    [touch.id, touch.session, touch.shown, touch.request, touch.by, touch.at.toISOString()],
  )) > 0

export const keepAnswer = (on: Queryable, id: string, answer: Uint8Array): Promise<number> =>
  on.execute(`update action_transaction set answer = $2 where id = $1 and state = 'used'`, [id, answer])

export const insertMandate = (
  t: Queryable,
  mandate: { id: string; session: string; at: Date; endsAt: Date },
): Promise<number> =>
  t.execute('insert into mandate (id, session, begun_at, ends_at) values ($1, $2, $3::timestamptz, $4::timestamptz)', [
    mandate.id,
    mandate.session,
    mandate.at.toISOString(),
    mandate.endsAt.toISOString(),
  ])

const idRow = z.object({ id: z.string() })

const mandateRow = z
  .object({ id: z.string(), session: z.string(), ends_at: z.date() })
  .transform(row => ({ id: row.id, session: row.session, endsAt: row.ends_at }))
export type MandateRow = z.infer<typeof mandateRow>

/** The session's mandate that still counts, for share: whoever ends it waits for what is done by it. */
export async function selectMandate(on: Queryable, session: string, at: Date): Promise<MandateRow | undefined> {
  const [row] = await on.query(
    `select id, session, ends_at from mandate where session = $1 and ended_at is null and ends_at > $2::timestamptz
     order by ends_at desc, id limit 1 for share`,
    [session, at.toISOString()],
    mandateRow,
  )
  return row
}

/** Ends those of a session that still count, and gives their IDs. Waits for whoever uses one that is over by this clock alone, too. */
export const endMandates = async (t: Queryable, session: string, at: Date): Promise<string[]> =>
  (
    await t.query(
      `update mandate set ended_at = least(ends_at, $2::timestamptz)
       where session = $1 and ended_at is null returning id, ends_at > $2::timestamptz as open`,
      [session, at.toISOString()],
      idRow.extend({ open: z.boolean() }),
    )
  ).flatMap(({ id, open }) => (open ? [id] : []))
