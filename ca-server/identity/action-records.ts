import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { personColumn } from './person-records.ts'

/** Step-up transactions: `migrations/0003_identity.sql`. */

const actionRow = z
  .object({
    id: z.string(),
    session: z.string(),
    action: z.string(),
    target: z.string(),
    asked_from: z.string(),
    state: z.enum(['waiting', 'confirmed', 'refused']),
    ends_at: z.date(),
    person: personColumn,
    device: z.string(),
    client_spki: z.instanceof(Uint8Array).nullable(),
    cookie_hash: z.instanceof(Uint8Array).nullable(),
  })
  .transform(row => ({
    id: row.id,
    session: row.session,
    action: row.action,
    target: row.target,
    askedFrom: row.asked_from,
    state: row.state,
    endsAt: row.ends_at,
    /** Of its session. */
    person: row.person,
    device: row.device,
    clientSpki: row.client_spki ?? undefined,
    cookieHash: row.cookie_hash ?? undefined,
  }))
export type ActionRow = z.infer<typeof actionRow>

export async function selectAction(on: Queryable, id: string): Promise<ActionRow | undefined> {
  const [row] = await on.query(
    `select a.id, a.session, a.action, a.target, a.asked_from, a.state, a.ends_at, s.person, s.device, s.client_spki,
       s.cookie_hash from action_transaction a join person_session s on s.id = a.session where a.id = $1`,
    [id],
    actionRow,
  )
  return row
}

/** One that waits for the same already, and for long enough: asking again and again makes no heap of them. */
export async function selectWaitingAction(
  on: Queryable,
  same: { session: string; action: string; target: string; askedFrom: string; endsAfter: Date },
): Promise<string | undefined> {
  const [row] = await on.query(
    `select id from action_transaction where session = $1 and action = $2 and target = $3 and asked_from = $4
       and state = 'waiting' and ends_at > $5::timestamptz order by ends_at desc limit 1`,
    [same.session, same.action, same.target, same.askedFrom, same.endsAfter.toISOString()],
    z.object({ id: z.string() }),
  )
  return row?.id
}

/**
 * Of those of this session that wait at the same time the oldest gives way: whoever else uses the session keeps its owner
 * from nothing.
 */
export async function insertAction(
  on: Queryable,
  action: {
    id: string
    session: string
    action: string
    target: string
    askedFrom: string
    createdAt: Date
    endsAt: Date
    maxWaiting: number
  },
): Promise<void> {
  await on.execute(
    `delete from action_transaction where id in (select id from action_transaction
       where session = $1 and state = 'waiting' order by created_at desc, id offset $2::int)`,
    [action.session, action.maxWaiting - 1],
  )
  await on.execute(
    `insert into action_transaction (id, session, action, target, asked_from, state, created_at, ends_at)
     values ($1, $2, $3, $4, $5, 'waiting', $6::timestamptz, $7::timestamptz)`,
    [
      action.id,
      action.session,
      action.action,
      action.target,
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
