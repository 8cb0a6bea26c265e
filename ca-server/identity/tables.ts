import { sql } from 'drizzle-orm'
import { check, bigint as generatedBigint, pgTable } from 'drizzle-orm/pg-core'
import { z } from 'zod'
import { bigintAsNumber, boolean, bytea, integer, jsonbOf, text, textOf, timestamptz } from '#server/store/index.ts'
import { isPersonIdentity } from '#shared/names.ts'

/** The tables of this room, as the migrations make them; what a column is for stands there. */

/** What stands in the database is checked like anything else: a name that does not fit gives no person. */
const identity = textOf(z.string().refine(isPersonIdentity))

export const person = pgTable(
  'person',
  {
    identity: identity('identity').primaryKey(),
    owner: boolean('administrator').notNull(),
    state: textOf(z.enum(['active', 'disabled']))('state').notNull(),
    userHandle: bytea('user_handle').notNull().unique('person_user_handle_key'),
    createdAt: timestamptz('created_at').notNull(),
    lastLoginAt: timestamptz('last_login_at'),
  },
  row => [
    check('person_state_check', sql`${row.state} in ('active', 'disabled')`),
    check('person_user_handle_check', sql`length(${row.userHandle}) = 64`),
  ],
)

export const passkey = pgTable(
  'passkey',
  {
    id: text('id').primaryKey(),
    person: identity('person')
      .notNull()
      .references(() => person.identity),
    name: text('name').notNull(),
    credentialId: bytea('credential_id').notNull().unique('passkey_credential'),
    publicKey: bytea('public_key').notNull(),
    counter: bigintAsNumber('counter').notNull(),
    transports: jsonbOf(z.array(z.string()))('transports').notNull(),
    synced: boolean('synced').notNull(),
    backedUp: boolean('backed_up').notNull(),
    createdAt: timestamptz('created_at').notNull(),
    lastUsedAt: timestamptz('last_used_at'),
  },
  row => [
    check('passkey_credential_id_check', sql`length(${row.credentialId}) between 1 and 1023`),
    check('passkey_counter_check', sql`${row.counter} >= 0`),
  ],
)

export const relyingParty = pgTable(
  'relying_party',
  {
    singleton: boolean('singleton').primaryKey().default(sql`true`),
    rpId: text('rp_id').notNull(),
    origin: text('origin').notNull(),
    fixedAt: timestamptz('fixed_at').notNull(),
  },
  row => [check('relying_party_singleton_check', sql`${row.singleton}`)],
)

export const enrolmentLink = pgTable(
  'enrolment_link',
  {
    id: text('id').primaryKey(),
    secretHash: bytea('secret_hash').notNull().unique('enrolment_link_secret_hash_key'),
    kind: textOf(z.enum(['administrator', 'invitation', 'reset']))('kind').notNull(),
    isFirst: boolean('is_first').notNull(),
    identity: text('identity').notNull(),
    identityFixed: boolean('identity_fixed').notNull(),
    owner: boolean('administrator').notNull(),
    createdBy: text('created_by').notNull(),
    createdAt: timestamptz('created_at').notNull(),
    endsAt: timestamptz('ends_at').notNull(),
    usedAt: timestamptz('used_at'),
    usedBy: text('used_by'),
  },
  row => [
    check('enrolment_link_secret_hash_check', sql`length(${row.secretHash}) = 32`),
    check('enrolment_link_kind_check', sql`${row.kind} in ('administrator', 'invitation', 'reset')`),
  ],
)

export const personSession = pgTable(
  'person_session',
  {
    id: text('id').primaryKey(),
    kind: textOf(z.enum(['machine', 'browser']))('kind').notNull(),
    person: identity('person')
      .notNull()
      .references(() => person.identity),
    device: text('device').notNull(),
    cookieHash: bytea('cookie_hash').unique('person_session_cookie_hash_key'),
    sshKey: bytea('ssh_key'),
    clientSpki: bytea('client_spki'),
    startedAt: timestamptz('started_at').notNull(),
    endsAt: timestamptz('ends_at').notNull(),
    assertedAt: timestamptz('asserted_at').notNull(),
    usedAt: timestamptz('used_at').notNull(),
    endedAt: timestamptz('ended_at'),
    passkey: text('passkey'),
    startedFrom: text('started_from'),
  },
  row => [
    check('person_session_kind_check', sql`${row.kind} in ('machine', 'browser')`),
    check('person_session_cookie_hash_check', sql`length(${row.cookieHash}) = 32`),
    check(
      'person_session_check',
      sql`case ${row.kind} when 'machine'
        then ${row.sshKey} is not null and ${row.clientSpki} is not null and ${row.cookieHash} is null
        else ${row.sshKey} is null and ${row.clientSpki} is null and ${row.cookieHash} is not null end`,
    ),
  ],
)

/** What an auditor checks an assertion with. */
export const evidence = z.object({
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

export const loginTransaction = pgTable(
  'login_transaction',
  {
    id: text('id').primaryKey(),
    kind: textOf(z.enum(['loopback', 'device']))('kind').notNull(),
    state: textOf(z.enum(['waiting', 'confirmed', 'refused', 'redeemed']))('state').notNull(),
    sshKey: bytea('ssh_key').notNull(),
    clientSpki: bytea('client_spki').notNull(),
    lifetime: integer('lifetime').notNull(),
    device: text('device').notNull(),
    startedFrom: text('started_from').notNull(),
    proof: text('proof').notNull().unique('login_transaction_proof'),
    redirectUri: text('redirect_uri'),
    codeChallenge: text('code_challenge'),
    oauthState: text('oauth_state'),
    userCodeHash: bytea('user_code_hash').unique('login_transaction_user_code_hash_key'),
    deviceCodeHash: bytea('device_code_hash'),
    pollInterval: integer('poll_interval').notNull(),
    polledAt: timestamptz('polled_at'),
    attempts: integer('attempts').notNull().default(sql`0`),
    createdAt: timestamptz('created_at').notNull(),
    endsAt: timestamptz('ends_at').notNull(),
    person: identity('person').references(() => person.identity),
    assertedAt: timestamptz('asserted_at'),
    assertedFrom: text('asserted_from'),
    assertion: jsonbOf(sealed)('assertion'),
    codeHash: bytea('code_hash'),
    codeEndsAt: timestamptz('code_ends_at'),
    begunBy: text('begun_by'),
  },
  row => [
    check('login_transaction_kind_check', sql`${row.kind} in ('loopback', 'device')`),
    check('login_transaction_state_check', sql`${row.state} in ('waiting', 'confirmed', 'refused', 'redeemed')`),
    check('login_transaction_lifetime_check', sql`${row.lifetime} > 0`),
  ],
)

export const actionTransaction = pgTable(
  'action_transaction',
  {
    id: text('id').primaryKey(),
    session: text('session')
      .notNull()
      .references(() => personSession.id, { onDelete: 'cascade' }),
    action: text('action').notNull(),
    target: text('target').notNull().default(sql`''`),
    shown: text('shown'),
    request: bytea('request'),
    askedFrom: text('asked_from').notNull(),
    state: textOf(z.enum(['waiting', 'confirmed', 'refused', 'used']))('state').notNull(),
    attempts: integer('attempts').notNull().default(sql`0`),
    createdAt: timestamptz('created_at').notNull(),
    endsAt: timestamptz('ends_at').notNull(),
    usedBy: text('used_by'),
    answer: bytea('answer'),
  },
  row => [
    check('action_transaction_state_check', sql`${row.state} in ('waiting', 'confirmed', 'refused', 'used')`),
    check('action_transaction_request_check', sql`length(${row.request}) = 32`),
  ],
)

export const mandate = pgTable('mandate', {
  id: text('id').primaryKey(),
  session: text('session')
    .notNull()
    .references(() => personSession.id, { onDelete: 'cascade' }),
  begunAt: timestamptz('begun_at').notNull(),
  endsAt: timestamptz('ends_at').notNull(),
  endedAt: timestamptz('ended_at'),
})

const purpose = z.enum(['enrolment', 'passkey', 'sign-in', 'login', 'action'])
export type Purpose = z.infer<typeof purpose>

export const webauthnChallenge = pgTable(
  'webauthn_challenge',
  {
    challenge: bytea('challenge').primaryKey(),
    purpose: textOf(purpose)('purpose').notNull(),
    subject: text('subject').notNull(),
    nonce: bytea('nonce').notNull(),
    identity: text('identity'),
    userHandle: bytea('user_handle'),
    endsAt: timestamptz('ends_at').notNull(),
  },
  row => [
    check('webauthn_challenge_challenge_check', sql`length(${row.challenge}) = 32`),
    check(
      'webauthn_challenge_purpose_check',
      sql`${row.purpose} in ('enrolment', 'passkey', 'sign-in', 'login', 'action')`,
    ),
  ],
)

export const identityChange = pgTable('identity_change', {
  // Drizzle's own: types of columns of ours can't be numbered by the database.
  id: generatedBigint('id', { mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity(),
  subject: text('subject').notNull(),
  at: timestamptz('at').notNull().default(sql`clock_timestamp()`),
})
