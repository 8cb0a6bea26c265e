import { and, desc, eq, gt, inArray, lt, sql } from 'drizzle-orm'
import { builder, prepared, type Queryable, rows, run } from '#server/store/index.ts'
import { addressKey } from '#shared/ip-address.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { type Evidence, evidence, loginTransaction as login } from '../tables.ts'

/** Login transactions. */

export type { Evidence } from '../tables.ts'

const { id, state, begunBy, attempts, createdAt, endsAt, userCodeHash } = login

const toLogin = (row: typeof login.$inferSelect) => ({
  id: row.id,
  kind: row.kind,
  state: row.state,
  sshKey: row.sshKey,
  clientSpki: row.clientSpki,
  lifetime: row.lifetime,
  device: row.device,
  startedFrom: row.startedFrom,
  /** Of a loopback login. */
  redirect:
    row.redirectUri !== null && row.codeChallenge !== null && row.oauthState !== null
      ? { uri: row.redirectUri, codeChallenge: row.codeChallenge, state: row.oauthState }
      : undefined,
  userCodeHash: row.userCodeHash ?? undefined,
  deviceCodeHash: row.deviceCodeHash ?? undefined,
  pollInterval: row.pollInterval,
  polledAt: row.polledAt ?? undefined,
  endsAt: row.endsAt,
  /** From consent on. */
  consent:
    row.person !== null && row.assertedAt !== null && row.assertion !== null && row.codeEndsAt !== null
      ? {
          person: row.person,
          assertedAt: row.assertedAt,
          assertedFrom: row.assertedFrom ?? '',
          evidence: evidence.parse(row.assertion),
          ended: row.assertion.ended,
          seal: row.assertion.seal,
          codeHash: row.codeHash ?? undefined,
          codeEndsAt: row.codeEndsAt,
        }
      : undefined,
})
export type LoginRow = ReturnType<typeof toLogin>

const byId = prepared({ id }, given => builder.select().from(login).where(eq(id, given.id)))
export async function selectLogin(on: Queryable, id: string): Promise<LoginRow | undefined> {
  const [row] = await rows(on, byId({ id }))
  return row && toLogin(row)
}

const locked = prepared({ id }, given => builder.select().from(login).where(eq(id, given.id)).for('update'))
/** Locked to the transaction's end: a login is redeemed once. */
export async function lockLogin(t: Queryable, id: string): Promise<LoginRow | undefined> {
  const [row] = await rows(t, locked({ id }))
  return row && toLogin(row)
}

const byUserCode = prepared({ userCodeHash }, given =>
  builder.select().from(login).where(eq(userCodeHash, given.userCodeHash)),
)
export async function selectLoginByUserCode(on: Queryable, hash: Uint8Array): Promise<LoginRow | undefined> {
  const [row] = await rows(on, byUserCode({ userCodeHash: hash }))
  return row && toLogin(row)
}

export type NewLogin = {
  readonly id: string
  readonly sshKey: Uint8Array
  readonly clientSpki: Uint8Array
  readonly lifetime: number
  readonly device: string
  readonly startedFrom: string
  readonly proof: string
  readonly pollInterval: number
  readonly createdAt: Date
  readonly endsAt: Date
} & (
  | { readonly kind: 'loopback'; readonly redirect: { uri: string; codeChallenge: string; state: string } }
  | { readonly kind: 'device'; readonly userCodeHash: Uint8Array; readonly deviceCodeHash: Uint8Array }
)

/** Of one address, and of all; beyond, the oldest go that nobody has consented to, in the end those of whoever has most. */
export const MOST_LOGINS_OF_ADDRESS = 100
export const MOST_LOGINS = 10_000

const isUnconsented = inArray(state, ['waiting', 'refused'])

const boundOfAddress = prepared({ begunBy }, given => {
  const own = and(eq(begunBy, given.begunBy), isUnconsented)
  const beyond = builder.select({ id }).from(login).where(own).orderBy(desc(createdAt), id)
  return builder.delete(login).where(inArray(id, beyond.offset(MOST_LOGINS_OF_ADDRESS - 1)))
})
/**
 * Makes room for one more. The proof of a row that went could be used once more, within its two minutes and for the same two
 * keys: what it begins is worth something to whoever holds them, and to nobody else.
 */
export async function boundLogins(on: Queryable, from: string, inAll: boolean): Promise<void> {
  await run(on, boundOfAddress({ begunBy: addressKey(from) }))
  if (!inAll) return
  const nth = sql`row_number() over (partition by ${begunBy} order by ${createdAt} desc, ${id})`
    .mapWith(Number)
    .as('nth')
  const ofEach = builder.select({ id, createdAt, nth }).from(login).where(isUnconsented).as('of_each')
  const place = sql`row_number() over (order by ${ofEach.nth}, ${ofEach.createdAt} desc)`.mapWith(Number).as('place')
  const ofAll = builder.select({ id: ofEach.id, place }).from(ofEach).as('of_all')
  const beyond = builder
    .select({ id: ofAll.id })
    .from(ofAll)
    .where(gt(ofAll.place, MOST_LOGINS - 1))
  await run(on, builder.delete(login).where(inArray(id, beyond)))
}

const newLogin = prepared(
  {
    id,
    kind: login.kind,
    sshKey: login.sshKey,
    clientSpki: login.clientSpki,
    lifetime: login.lifetime,
    device: login.device,
    startedFrom: login.startedFrom,
    proof: login.proof,
    redirectUri: login.redirectUri,
    codeChallenge: login.codeChallenge,
    oauthState: login.oauthState,
    userCodeHash,
    deviceCodeHash: login.deviceCodeHash,
    pollInterval: login.pollInterval,
    createdAt,
    endsAt,
    begunBy,
  },
  given => builder.insert(login).values({ ...given, state: 'waiting' }),
)
/** Throws `StoreError` `unique` on `login_transaction_proof` where the proof was used before. */
export async function insertLogin(on: Queryable, login: NewLogin): Promise<void> {
  const redirect = login.kind === 'loopback' ? login.redirect : undefined
  const device = login.kind === 'device' ? login : undefined
  await run(
    on,
    newLogin({
      ...login,
      redirectUri: redirect?.uri ?? null,
      codeChallenge: redirect?.codeChallenge ?? null,
      oauthState: redirect?.state ?? null,
      userCodeHash: device?.userCodeHash ?? null,
      deviceCodeHash: device?.deviceCodeHash ?? null,
      begunBy: addressKey(login.startedFrom),
    }),
  )
}

const counted = prepared({ id, max: attempts }, given =>
  builder
    .update(login)
    .set({ attempts: sql`${attempts} + 1` })
    .where(and(eq(id, given.id), lt(attempts, given.max))),
)
/** Counts one more ceremony; false beyond `max`. */
export const countAttempt = async (on: Queryable, id: string, max: number): Promise<boolean> =>
  (await run(on, counted({ id, max }))) > 0

export type Consented = {
  readonly person: PersonIdentity
  readonly assertedAt: Date
  readonly assertedFrom: string
  readonly evidence: Evidence
  /** The record by which all that the person had was ended last. */
  readonly ended: string
  readonly codeHash: Uint8Array | undefined
  readonly codeEndsAt: Date
}

const { person, assertedAt, assertedFrom, assertion, codeHash, codeEndsAt } = login
const confirmed = prepared(
  { id, person, assertedAt, assertedFrom, assertion, codeHash, codeEndsAt },
  ({ id: confirmedId, ...given }) =>
    builder
      .update(login)
      .set({ ...given, state: 'confirmed' })
      .where(and(eq(id, confirmedId), eq(state, 'waiting'), gt(endsAt, given.assertedAt))),
)
/** Once: false where it was answered before, or has ended. */
export const confirmLogin = async (
  on: Queryable,
  consent: Consented & { readonly id: string; readonly seal: string },
): Promise<boolean> => {
  const { evidence, ended, seal, ...rest } = consent
  const assertion = { ...evidence, ended, seal }
  return (await run(on, confirmed({ ...rest, assertion, codeHash: consent.codeHash ?? null }))) > 0
}

export const refuseLogin = async (on: Queryable, refused: string): Promise<boolean> =>
  (await run(
    on,
    builder
      .update(login)
      .set({ state: 'refused' })
      .where(and(eq(id, refused), eq(state, 'waiting'))),
  )) > 0

const inState = prepared({ id, state }, given =>
  builder.update(login).set({ state: given.state }).where(eq(id, given.id)),
)
export const setLoginState = (t: Queryable, id: string, state: 'redeemed' | 'refused'): Promise<number> =>
  run(t, inState({ id, state }))

const polled = prepared({ id, polledAt: login.polledAt, pollInterval: login.pollInterval }, ({ id: polledId, ...to }) =>
  builder.update(login).set(to).where(eq(id, polledId)),
)
export const notePoll = (t: Queryable, id: string, at: Date, interval: number): Promise<number> =>
  run(t, polled({ id, polledAt: at, pollInterval: interval }))

/** What this person has consented to and nobody has redeemed yet; gives it. Waits for whoever is redeeming. */
export const refuseConsented = async (t: Queryable, whose: PersonIdentity): Promise<string[]> => {
  // Not as a parameter: the index is of these alone.
  const isConsented = and(eq(person, whose), sql`${state} = 'confirmed'`)
  const refused = builder.update(login).set({ state: 'refused' }).where(isConsented).returning({ id })
  return (await rows(t, refused)).map(row => row.id)
}

/** Whatever is under way. */
export const refuseAllLogins = (t: Queryable): Promise<number> =>
  run(
    t,
    builder
      .update(login)
      .set({ state: 'refused' })
      .where(inArray(state, ['waiting', 'confirmed'])),
  )
