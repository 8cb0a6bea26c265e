import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { addressKey } from '#shared/ip-address.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { personColumn } from './person-records.ts'

/** Login transactions: `migrations/0003_identity.sql`. */

const bytes = z.instanceof(Uint8Array)
const evidence = z.object({
  nonce: z.string(),
  credentialId: z.string(),
  publicKey: z.string(),
  authenticatorData: z.string(),
  clientDataJSON: z.string(),
  signature: z.string(),
})
export type Evidence = z.infer<typeof evidence>
/** As it is kept: one of an earlier release has no seal, and counts for nothing. */
const sealed = evidence.extend({ ended: z.string().default(''), seal: z.string().default('') })

const loginRow = z
  .object({
    id: z.string(),
    kind: z.enum(['loopback', 'device']),
    state: z.enum(['waiting', 'confirmed', 'refused', 'redeemed']),
    ssh_key: bytes,
    client_spki: bytes,
    lifetime: z.int(),
    device: z.string(),
    started_from: z.string(),
    redirect_uri: z.string().nullable(),
    code_challenge: z.string().nullable(),
    oauth_state: z.string().nullable(),
    user_code_hash: bytes.nullable(),
    device_code_hash: bytes.nullable(),
    poll_interval: z.int(),
    polled_at: z.date().nullable(),
    ends_at: z.date(),
    person: personColumn.nullable(),
    asserted_at: z.date().nullable(),
    asserted_from: z.string().nullable(),
    assertion: sealed.nullable(),
    code_hash: bytes.nullable(),
    code_ends_at: z.date().nullable(),
  })
  .transform(row => ({
    id: row.id,
    kind: row.kind,
    state: row.state,
    sshKey: row.ssh_key,
    clientSpki: row.client_spki,
    lifetime: row.lifetime,
    device: row.device,
    startedFrom: row.started_from,
    /** Of a loopback login. */
    redirect:
      row.redirect_uri !== null && row.code_challenge !== null && row.oauth_state !== null
        ? { uri: row.redirect_uri, codeChallenge: row.code_challenge, state: row.oauth_state }
        : undefined,
    userCodeHash: row.user_code_hash ?? undefined,
    deviceCodeHash: row.device_code_hash ?? undefined,
    pollInterval: row.poll_interval,
    polledAt: row.polled_at ?? undefined,
    endsAt: row.ends_at,
    /** From consent on. */
    consent:
      row.person !== null && row.asserted_at !== null && row.assertion !== null && row.code_ends_at !== null
        ? {
            person: row.person,
            assertedAt: row.asserted_at,
            assertedFrom: row.asserted_from ?? '',
            evidence: evidence.parse(row.assertion),
            ended: row.assertion.ended,
            seal: row.assertion.seal,
            codeHash: row.code_hash ?? undefined,
            codeEndsAt: row.code_ends_at,
          }
        : undefined,
  }))
export type LoginRow = z.infer<typeof loginRow>
const LOGIN = `select id, kind, state, ssh_key, client_spki, lifetime, device, started_from, redirect_uri, code_challenge,
  oauth_state, user_code_hash, device_code_hash, poll_interval, polled_at, ends_at, person, asserted_at, asserted_from, assertion, code_hash,
  code_ends_at from login_transaction`

export async function selectLogin(on: Queryable, id: string): Promise<LoginRow | undefined> {
  const [row] = await on.query(`${LOGIN} where id = $1`, [id], loginRow)
  return row
}

/** Locked to the transaction's end: a login is redeemed once. */
export async function lockLogin(t: Queryable, id: string): Promise<LoginRow | undefined> {
  const [row] = await t.query(`${LOGIN} where id = $1 for update`, [id], loginRow)
  return row
}

export async function selectLoginByUserCode(on: Queryable, hash: Uint8Array): Promise<LoginRow | undefined> {
  const [row] = await on.query(`${LOGIN} where user_code_hash = $1`, [hash], loginRow)
  return row
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

const UNCONSENTED = `state in ('waiting', 'refused')`

/**
 * Makes room for one more. The proof of a row that went could be used once more, within its two minutes and for the same two
 * keys: what it begins is worth something to whoever holds them, and to nobody else.
 */
export async function boundLogins(on: Queryable, from: string, inAll: boolean): Promise<void> {
  await on.execute(
    `delete from login_transaction where id in (select id from login_transaction where begun_by = $1 and ${UNCONSENTED}
       order by created_at desc, id offset $2::int)`,
    [addressKey(from), MOST_LOGINS_OF_ADDRESS - 1],
  )
  if (!inAll) return
  await on.execute(
    `delete from login_transaction where id in (
       select id from (
         select id, row_number() over (order by nth, created_at desc) as place from (
           select id, created_at, row_number() over (partition by begun_by order by created_at desc, id) as nth
           from login_transaction where ${UNCONSENTED}) as of_each) as of_all
       where place > $1::int)`,
    [MOST_LOGINS - 1],
  )
}

/** Throws `StoreError` `unique` on `login_transaction_proof` where the proof was used before. */
export async function insertLogin(on: Queryable, login: NewLogin): Promise<void> {
  const redirect = login.kind === 'loopback' ? login.redirect : undefined
  const device = login.kind === 'device' ? login : undefined
  await on.execute(
    `insert into login_transaction (id, kind, state, ssh_key, client_spki, lifetime, device, started_from, proof,
       redirect_uri, code_challenge, oauth_state, user_code_hash, device_code_hash, poll_interval, created_at, ends_at,
       begun_by)
     values ($1, $2, 'waiting', $3, $4, $5::int, $6, $7, $8, $9, $10, $11, $12, $13, $14::int, $15::timestamptz,
       $16::timestamptz, $17)`,
    [
      login.id,
      login.kind,
      login.sshKey,
      login.clientSpki,
      login.lifetime,
      login.device,
      login.startedFrom,
      login.proof,
      redirect?.uri ?? null,
      redirect?.codeChallenge ?? null,
      redirect?.state ?? null,
      device?.userCodeHash ?? null,
      device?.deviceCodeHash ?? null,
      login.pollInterval,
      login.createdAt.toISOString(),
      login.endsAt.toISOString(),
      addressKey(login.startedFrom),
    ],
  )
}

/** Counts one more ceremony; false beyond `max`. */
export const countAttempt = async (on: Queryable, id: string, max: number): Promise<boolean> =>
  (await on.execute('update login_transaction set attempts = attempts + 1 where id = $1 and attempts < $2::int', [
    id,
    max,
  ])) > 0

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

/** Once: false where it was answered before, or has ended. */
export const confirmLogin = async (
  on: Queryable,
  consent: Consented & { readonly id: string; readonly seal: string },
): Promise<boolean> =>
  (await on.execute(
    `update login_transaction set state = 'confirmed', person = $2, asserted_at = $3::timestamptz, asserted_from = $4,
       assertion = $5::jsonb, code_hash = $6, code_ends_at = $7::timestamptz
     where id = $1 and state = 'waiting' and ends_at > $3::timestamptz`,
    [
      consent.id,
      consent.person,
      consent.assertedAt.toISOString(),
      consent.assertedFrom,
      JSON.stringify({ ...consent.evidence, ended: consent.ended, seal: consent.seal }),
      consent.codeHash ?? null,
      consent.codeEndsAt.toISOString(),
    ],
  )) > 0

export const refuseLogin = async (on: Queryable, id: string): Promise<boolean> =>
  (await on.execute(`update login_transaction set state = 'refused' where id = $1 and state = 'waiting'`, [id])) > 0

export const setLoginState = (t: Queryable, id: string, state: 'redeemed' | 'refused'): Promise<number> =>
  t.execute('update login_transaction set state = $2 where id = $1', [id, state])

export const notePoll = (t: Queryable, id: string, at: Date, interval: number): Promise<number> =>
  t.execute('update login_transaction set polled_at = $2::timestamptz, poll_interval = $3::int where id = $1', [
    id,
    at.toISOString(),
    interval,
  ])

/** What this person has consented to and nobody has redeemed yet; gives it. Waits for whoever is redeeming. */
export const refuseConsented = (t: Queryable, person: PersonIdentity): Promise<string[]> =>
  t
    .query(
      `update login_transaction set state = 'refused' where person = $1 and state = 'confirmed' returning id`,
      [person],
      z.object({ id: z.string() }),
    )
    .then(rows => rows.map(({ id }) => id))
