import { and, asc, desc, eq, gt, isNull, lt, ne, type SQL, sql } from 'drizzle-orm'
import type { PgColumn, PgTable } from 'drizzle-orm/pg-core'
import { z } from 'zod'
import type { Ledger } from '#server/ledger/index.ts'
import { builder, type Fence, prepared, type Queryable, rows, run, type Store } from '#server/store/index.ts'
import type { PersonIdentity } from '#shared/names.ts'
import {
  actionTransaction,
  identityChange,
  loginTransaction,
  passkey,
  person,
  personSession,
  webauthnChallenge,
} from '../tables.ts'

/** Sessions, and what servers have to forget. */

const { id, cookieHash, endsAt, endedAt, usedAt } = personSession

const sessions = () =>
  builder
    .select({
      id,
      kind: personSession.kind,
      person: personSession.person,
      device: personSession.device,
      cookieHash,
      sshKey: personSession.sshKey,
      clientSpki: personSession.clientSpki,
      startedAt: personSession.startedAt,
      endsAt,
      assertedAt: personSession.assertedAt,
      usedAt,
      endedAt,
      passkey: personSession.passkey,
      /** Of the person, as it is now. */
      owner: person.owner,
      state: person.state,
      userHandle: person.userHandle,
    })
    .from(personSession)
    .innerJoin(person, eq(person.identity, personSession.person))
const toSession = ({ endedAt, ...row }: Awaited<ReturnType<typeof sessions>>[number]) => ({
  ...row,
  cookieHash: row.cookieHash ?? undefined,
  sshKey: row.sshKey ?? undefined,
  clientSpki: row.clientSpki ?? undefined,
  passkey: row.passkey ?? undefined,
  ended: endedAt !== null,
})
export type SessionRow = ReturnType<typeof toSession>

const session = prepared({ id }, given => sessions().where(eq(id, given.id)))
export async function selectSession(on: Queryable, id: string): Promise<SessionRow | undefined> {
  const [row] = await rows(on, session({ id }))
  return row && toSession(row)
}

/** Of any number, in one parameter. */
const isAmong = (ids: readonly string[]) =>
  sql`${id} in (select i from jsonb_array_elements_text(${JSON.stringify(ids)}::jsonb) as i)`

export const selectSessions = async (on: Queryable, ids: readonly string[]): Promise<SessionRow[]> =>
  (await rows(on, sessions().where(isAmong(ids)))).map(toSession)

/** What is shown of sessions and lets nobody in: where they began, when they were used, what their passkey is called. */
export async function selectUseOfSessions(on: Queryable, ids: readonly string[]) {
  const lastIssued = sql`(select to_timestamp(max(c.valid_after)) from issued_certificate c where c.session = ${id})`
  const found = await rows(
    on,
    builder
      .select({
        session: id,
        from: personSession.startedFrom,
        lastUsedAt: sql`greatest(${usedAt}, ${lastIssued})`.mapWith(usedAt),
        passkeyName: passkey.name,
      })
      .from(personSession)
      .leftJoin(passkey, and(eq(passkey.id, personSession.passkey), eq(passkey.person, personSession.person)))
      .where(isAmong(ids)),
  )
  return found.map(row => ({ ...row, from: row.from ?? undefined, passkeyName: row.passkeyName ?? undefined }))
}

/** Newest first; of one person, or of everybody. */
export async function selectOpenSessions(
  on: Queryable,
  { person, limit }: { readonly person: PersonIdentity | undefined; readonly limit: number },
  at: Date,
): Promise<SessionRow[]> {
  const isAsked = person === undefined ? undefined : eq(personSession.person, person)
  const open = sessions().where(and(isNull(endedAt), gt(endsAt, at), isAsked))
  return (await rows(on, open.orderBy(desc(personSession.startedAt), asc(id)).limit(limit))).map(toSession)
}

const sessionByCookie = prepared({ cookieHash }, given => sessions().where(eq(cookieHash, given.cookieHash)))
export async function selectSessionByCookie(on: Queryable, hash: Uint8Array): Promise<SessionRow | undefined> {
  const [row] = await rows(on, sessionByCookie({ cookieHash: hash }))
  return row && toSession(row)
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

const newSession = prepared(
  {
    id,
    kind: personSession.kind,
    person: personSession.person,
    device: personSession.device,
    cookieHash,
    sshKey: personSession.sshKey,
    clientSpki: personSession.clientSpki,
    startedAt: personSession.startedAt,
    endsAt,
    assertedAt: personSession.assertedAt,
    usedAt,
    passkey: personSession.passkey,
    startedFrom: personSession.startedFrom,
  },
  given => builder.insert(personSession).values(given),
)
export async function insertSession(t: Queryable, session: NewSession): Promise<void> {
  const machine = 'sshKey' in session ? session : undefined
  const { from, ...rest } = session
  await run(
    t,
    newSession({
      ...rest,
      kind: machine ? 'machine' : 'browser',
      cookieHash: 'cookieHash' in session ? session.cookieHash : null,
      sshKey: machine?.sshKey ?? null,
      clientSpki: machine?.clientSpki ?? null,
      usedAt: session.startedAt,
      startedFrom: from,
    }),
  )
}

const flag = z.boolean().parse
const standing = prepared({ id, identity: person.identity, at: endsAt }, given => {
  const own = and(eq(passkey.id, personSession.passkey), eq(passkey.person, person.identity))
  return builder
    .select({
      isOpen: sql`${endedAt} is null and ${endsAt} > ${given.at}`.mapWith(flag),
      isActive: sql`${person.state} = 'active'`.mapWith(flag),
      hasPasskey: sql`${personSession.passkey} is null or exists (select from ${passkey} where ${own})`.mapWith(flag),
    })
    .from(personSession)
    .innerJoin(person, eq(person.identity, personSession.person))
    .where(and(eq(id, given.id), eq(person.identity, given.identity)))
})
/** What somebody's deeds rely on, as it is now; `undefined` where there is no such session of this person. */
export async function selectStanding(
  t: Queryable,
  of: { readonly session: string; readonly identity: PersonIdentity },
  at: Date,
) {
  const [row] = await rows(t, standing({ id: of.session, identity: of.identity, at }))
  return row
}

/** Whose sessions: all of a person, but one of them where `except` names it; or a single one. */
export type WhoseSessions = { readonly person: PersonIdentity; readonly except?: string } | { readonly session: string }

/** Gives the IDs of those that were not ended before. */
export const endSessionRows = async (t: Queryable, by: WhoseSessions, at: Date): Promise<string[]> => {
  const isMeant =
    'person' in by
      ? and(eq(personSession.person, by.person), by.except === undefined ? undefined : ne(id, by.except))
      : eq(id, by.session)
  const ended = builder
    .update(personSession)
    .set({ endedAt: at })
    .where(and(isMeant, isNull(endedAt)))
  return (await rows(t, ended.returning({ id }))).map(row => row.id)
}

/** The passkey that was touched stands for the session from now on. False where the session has ended. */
export const touchAssertion = async (
  t: Queryable,
  session: { id: string; at: Date; passkey: string; cookieHash?: Uint8Array | undefined },
): Promise<boolean> => {
  const { at: assertedAt, passkey, cookieHash } = session
  const isOpen = and(eq(id, session.id), isNull(endedAt), gt(endsAt, assertedAt))
  // What is undefined stays as it is.
  return (await run(t, builder.update(personSession).set({ assertedAt, passkey, cookieHash }).where(isOpen))) > 0
}

export const touchUse = (on: Queryable, session: string, at: Date): Promise<number> =>
  run(on, builder.update(personSession).set({ usedAt: at }).where(eq(id, session)))

/**
 * Every server forgets what it holds of these: at once by the notification, which goes out with the commit, else within a
 * second. It says of what kind they are, `person` or `session`: who listens for persons alone has nothing to do when
 * somebody signs out or touches a passkey.
 */
export async function announceChange(t: Queryable, subjects: readonly string[]): Promise<void> {
  if (subjects.length === 0) return
  // One text for any number of them.
  await t.execute('insert into identity_change (subject) select s from jsonb_array_elements_text($1::jsonb) as s', [
    JSON.stringify(subjects),
  ])
  for (const kind of new Set(subjects.map(subject => subject.slice(0, subject.indexOf(':')))))
    await t.execute(`select pg_notify('identity', $1)`, [kind])
}

const changes = prepared({}, () =>
  builder
    .select({ id: identityChange.id, subject: identityChange.subject })
    .from(identityChange)
    .where(gt(identityChange.at, sql`clock_timestamp() - interval '60 seconds'`)),
)
/** Of the last minute: rows may become visible later than their numbers say, but not a minute later. */
export const selectChanges = (on: Queryable) => rows(on, changes({}))

/** Long after the end: what is gone can't be looked at again, and a clock may be days ahead. */
const KEPT_AFTER_END = '30 days'

/**
 * What nobody needs any more. It can't be undone, so it goes by the later-going of two clocks, the server's and the database's:
 * one that is ahead takes nothing away.
 */
export async function sweep(
  store: Store,
  now: Date,
  fence: Fence,
  { forgetEpochs }: Pick<Ledger, 'forgetEpochs'>,
): Promise<void> {
  // Each by itself, and the fence last: nobody waits for it while there is much to take away.
  const taken = (table: PgTable, which: SQL) =>
    store.transaction({ name: 'sweep', deadlineMs: 30_000 }, async t => {
      await run(t, builder.delete(table).where(which))
      await fence(t)
    })
  const earlier = sql`least(clock_timestamp(), ${now.toISOString()}::timestamptz)`
  const ended = (table: PgTable, endsAt: PgColumn, ago: string) =>
    taken(table, lt(endsAt, sql`${earlier} - ${ago}::interval`))
  await taken(identityChange, lt(identityChange.at, sql`clock_timestamp() - interval '10 minutes'`))
  await ended(webauthnChallenge, webauthnChallenge.endsAt, '0 hours')
  await ended(loginTransaction, loginTransaction.endsAt, '1 hour')
  await ended(actionTransaction, actionTransaction.endsAt, '1 hour')
  await store.transaction({ name: 'sweep', deadlineMs: 30_000 }, async t => {
    const isOver = lt(endsAt, sql`${earlier} - ${KEPT_AFTER_END}::interval`)
    const gone = await rows(t, builder.delete(personSession).where(isOver).returning({ id }))
    await forgetEpochs(
      t,
      gone.map(row => `session:${row.id}`),
    )
    await fence(t)
  })
}

/** Everybody's. */
export const endAllSessions = (t: Queryable, at: Date): Promise<number> =>
  run(t, builder.update(personSession).set({ endedAt: at }).where(isNull(endedAt)))
