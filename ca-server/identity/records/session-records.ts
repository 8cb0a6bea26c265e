import { z } from 'zod'
import type { Fence, Parameter, Queryable, Store } from '#server/store/index.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { personColumn } from './person-records.ts'

/** Sessions, and what servers have to forget: `migrations/0003_identity.sql`. */

const bytes = z.instanceof(Uint8Array)
const sessionRow = z
  .object({
    id: z.string(),
    kind: z.enum(['machine', 'browser']),
    person: personColumn,
    device: z.string(),
    cookie_hash: bytes.nullable(),
    ssh_key: bytes.nullable(),
    client_spki: bytes.nullable(),
    started_at: z.date(),
    ends_at: z.date(),
    asserted_at: z.date(),
    used_at: z.date(),
    ended_at: z.date().nullable(),
    passkey: z.string().nullable(),
    owner: z.boolean(),
    state: z.enum(['active', 'disabled']),
    user_handle: bytes,
  })
  .transform(row => ({
    id: row.id,
    kind: row.kind,
    person: row.person,
    device: row.device,
    cookieHash: row.cookie_hash ?? undefined,
    sshKey: row.ssh_key ?? undefined,
    clientSpki: row.client_spki ?? undefined,
    startedAt: row.started_at,
    endsAt: row.ends_at,
    assertedAt: row.asserted_at,
    usedAt: row.used_at,
    ended: row.ended_at !== null,
    passkey: row.passkey ?? undefined,
    /** Of the person, as it is now. */
    owner: row.owner,
    state: row.state,
    userHandle: row.user_handle,
  }))
export type SessionRow = z.infer<typeof sessionRow>
const SESSION = `select s.id, s.kind, s.person, s.device, s.cookie_hash, s.ssh_key, s.client_spki, s.started_at, s.ends_at,
  s.asserted_at, s.used_at, s.ended_at, s.passkey, p.administrator as owner, p.state, p.user_handle from person_session s join person p on p.identity = s.person`

export async function selectSession(on: Queryable, id: string): Promise<SessionRow | undefined> {
  const [row] = await on.query(`${SESSION} where s.id = $1`, [id], sessionRow)
  return row
}

export const selectSessions = (on: Queryable, ids: readonly string[]): Promise<SessionRow[]> =>
  on.query(
    `${SESSION} where s.id in (select i from jsonb_array_elements_text($1::jsonb) as i)`,
    [JSON.stringify(ids)],
    sessionRow,
  )

const openRow = z.object({
  session: z.string(),
  started_from: z.string().nullable(),
  last_used_at: z.date(),
  passkey_name: z.string().nullable(),
})

/** What is shown of sessions and lets nobody in: where they began, when they were used, what their passkey is called. */
export const selectUseOfSessions = async (on: Queryable, ids: readonly string[]) =>
  (
    await on.query(
      `select s.id as session, s.started_from, k.name as passkey_name,
         greatest(s.used_at, (select to_timestamp(max(c.valid_after)) from issued_certificate c where c.session = s.id)) as last_used_at
       from person_session s left join passkey k on k.id = s.passkey and k.person = s.person
       where s.id in (select i from jsonb_array_elements_text($1::jsonb) as i)`,
      [JSON.stringify(ids)],
      openRow,
    )
  ).map(row => ({
    session: row.session,
    from: row.started_from ?? undefined,
    lastUsedAt: row.last_used_at,
    passkeyName: row.passkey_name ?? undefined,
  }))

/** Newest first; of one person, or of everybody. */
export const selectOpenSessions = (
  on: Queryable,
  { person, limit }: { readonly person: PersonIdentity | undefined; readonly limit: number },
  at: Date,
): Promise<SessionRow[]> =>
  on.query(
    `${SESSION} where s.ended_at is null and s.ends_at > $1::timestamptz and ($2::text is null or s.person = $2)
     order by s.started_at desc, s.id limit $3`,
    [at.toISOString(), person ?? null, limit],
    sessionRow,
  )

export async function selectSessionByCookie(on: Queryable, hash: Uint8Array): Promise<SessionRow | undefined> {
  const [row] = await on.query(`${SESSION} where s.cookie_hash = $1`, [hash], sessionRow)
  return row
}

export type NewSession = {
  readonly id: string
  readonly person: PersonIdentity
  readonly device: string
  readonly startedAt: Date
  readonly endsAt: Date
  readonly assertedAt: Date
  /** The ID of the passkey that was touched. */
  readonly passkey: string
  /** The peer's address. */
  readonly from: string
} & ({ readonly sshKey: Uint8Array; readonly clientSpki: Uint8Array } | { readonly cookieHash: Uint8Array })

export async function insertSession(t: Queryable, session: NewSession): Promise<void> {
  const machine = 'sshKey' in session ? session : undefined
  await t.execute(
    `insert into person_session (id, kind, person, device, cookie_hash, ssh_key, client_spki, started_at, ends_at,
       asserted_at, used_at, passkey, started_from)
     values ($1, $2, $3, $4, $5, $6, $7, $8::timestamptz, $9::timestamptz, $10::timestamptz, $8::timestamptz, $11, $12)`,
    [
      session.id,
      machine ? 'machine' : 'browser',
      session.person,
      session.device,
      'cookieHash' in session ? session.cookieHash : null,
      machine?.sshKey ?? null,
      machine?.clientSpki ?? null,
      session.startedAt.toISOString(),
      session.endsAt.toISOString(),
      session.assertedAt.toISOString(),
      session.passkey,
      session.from,
    ],
  )
}

const standingRow = z
  .object({
    is_open: z.boolean(),
    is_active: z.boolean(),
    has_passkey: z.boolean(),
  })
  .transform(row => ({
    isOpen: row.is_open,
    isActive: row.is_active,
    hasPasskey: row.has_passkey,
  }))

/** What somebody's deeds rely on, as it is now; `undefined` where there is no such session of this person. */
export async function selectStanding(
  t: Queryable,
  of: { readonly session: string; readonly identity: PersonIdentity },
  at: Date,
): Promise<z.infer<typeof standingRow> | undefined> {
  const [row] = await t.query(
    `select s.ended_at is null and s.ends_at > $3::timestamptz as is_open, p.state = 'active' as is_active,
       s.passkey is null or exists (select from passkey k where k.id = s.passkey and k.person = p.identity) as has_passkey
     from person_session s join person p on p.identity = s.person where s.id = $1 and p.identity = $2`,
    [of.session, of.identity, at.toISOString()],
    standingRow,
  )
  return row
}

const idRow = z.object({ id: z.string() })

/** Whose sessions: all of a person, but one of them where `except` names it; or a single one. */
export type WhoseSessions = { readonly person: PersonIdentity; readonly except?: string } | { readonly session: string }

/** Gives the IDs of those that were not ended before. */
export const endSessionRows = async (t: Queryable, by: WhoseSessions, at: Date): Promise<string[]> =>
  (
    await t.query(
      `update person_session set ended_at = $2::timestamptz
       where ${'person' in by ? 'person' : 'id'} = $1 and id is distinct from $3 and ended_at is null returning id`,
      'person' in by ? [by.person, at.toISOString(), by.except ?? null] : [by.session, at.toISOString(), null],
      idRow,
    )
  ).map(row => row.id)

/** The passkey that was touched stands for the session from now on. False where the session has ended. */
export const touchAssertion = async (
  t: Queryable,
  session: { id: string; at: Date; passkey: string; cookieHash?: Uint8Array | undefined },
): Promise<boolean> =>
  (await t.execute(
    `update person_session set asserted_at = $2::timestamptz, cookie_hash = coalesce($3, cookie_hash), passkey = $4
     where id = $1 and ended_at is null and ends_at > $2::timestamptz`,
    [session.id, session.at.toISOString(), session.cookieHash ?? null, session.passkey],
  )) > 0

export const touchUse = (on: Queryable, id: string, at: Date): Promise<number> =>
  on.execute('update person_session set used_at = $2::timestamptz where id = $1', [id, at.toISOString()])

/**
 * Every server forgets what it holds of these: at once by the notification, which goes out with the commit, else within a
 * second. It says of what kind they are, `person` or `session`: who listens for persons alone has nothing to do when
 * somebody signs out or touches a passkey.
 */
export async function announceChange(t: Queryable, subjects: readonly string[]): Promise<void> {
  if (subjects.length === 0) return
  await t.execute('insert into identity_change (subject) select s from jsonb_array_elements_text($1::jsonb) as s', [
    JSON.stringify(subjects),
  ])
  for (const kind of new Set(subjects.map(subject => subject.slice(0, subject.indexOf(':')))))
    await t.execute(`select pg_notify('identity', $1)`, [kind])
}

const changeRow = z.object({ id: z.bigint(), subject: z.string() })

/** Of the last minute: rows may become visible later than their numbers say, but not a minute later. */
export const selectChanges = (on: Queryable) =>
  on.query(
    `select id, subject from identity_change where at > clock_timestamp() - interval '60 seconds'`,
    [],
    changeRow,
  )

/** Long after the end: what is gone can't be looked at again, and a clock may be days ahead. */
const KEPT_AFTER_END = '30 days'

/**
 * What nobody needs any more. It can't be undone, so it goes by the later-going of two clocks, the server's and the database's:
 * one that is ahead takes nothing away.
 */
export async function sweep(store: Store, now: Date, fence: Fence): Promise<void> {
  // Each by itself, and the fence last: nobody waits for it while there is much to take away.
  const taken = (what: string, parameters: readonly Parameter[] = []) =>
    store.transaction({ name: 'sweep', deadlineMs: 30_000 }, async t => {
      await t.execute(`delete from ${what}`, parameters)
      await fence(t)
    })
  const ended = (table: string, ago: string) =>
    taken(`${table} where ends_at < least(clock_timestamp(), $1::timestamptz) - interval '${ago}'`, [now.toISOString()])
  await taken(`identity_change where at < clock_timestamp() - interval '10 minutes'`)
  await ended('webauthn_challenge', '0 hours')
  await ended('login_transaction', '1 hour')
  await ended('action_transaction', '1 hour')
  await ended('person_session', KEPT_AFTER_END)
}
