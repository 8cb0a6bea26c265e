import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { isPersonIdentity, type PersonIdentity } from '#shared/names.ts'
import type { PersonView } from '../port.ts'
import type { NewPasskey } from '../webauthn.ts'

/** Persons and their passkeys: `migrations/0003_identity.sql`. */

/** What stands in the database is checked like anything else: a name that does not fit gives no person. */
export const personColumn = z.string().refine(isPersonIdentity).transform(asIdentity)
function asIdentity(text: string): PersonIdentity {
  if (isPersonIdentity(text)) return text
  throw new TypeError('a person without an identity')
}
const stateColumn = z.enum(['active', 'disabled'])

export type PersonRow = PersonView & { readonly userHandle: Uint8Array }
const viewRow = z
  .object({
    identity: personColumn,
    owner: z.boolean(),
    state: stateColumn,
    passkeys: z.bigint(),
    created_at: z.date(),
    last_login_at: z.date().nullable(),
    user_handle: z.instanceof(Uint8Array),
  })
  .transform(
    ({ created_at, last_login_at, passkeys, user_handle, ...rest }): PersonRow => ({
      ...rest,
      passkeys: Number(passkeys),
      createdAt: created_at,
      lastLoginAt: last_login_at ?? undefined,
      userHandle: user_handle,
    }),
  )
const VIEW = `select p.identity, p.administrator as owner, p.state, p.created_at, p.last_login_at, p.user_handle,
  (select count(*) from passkey k where k.person = p.identity) as passkeys from person p`

/** A row that does not fit is nobody: it must not keep the others from being read. */
export const selectPersons = async (on: Queryable): Promise<PersonRow[]> =>
  (await on.query(`${VIEW} order by p.identity`, [], viewRow.or(z.unknown().transform(() => [])))).flat()

export async function selectPerson(on: Queryable, identity: string): Promise<PersonRow | undefined> {
  const [row] = await on.query(`${VIEW} where p.identity = $1`, [identity], viewRow)
  return row
}

const lockedRow = z.object({ state: stateColumn, owner: z.boolean(), user_handle: z.instanceof(Uint8Array) })

/**
 * The person's row, locked to the transaction's end: nobody disables the person or changes the passkeys meanwhile. Not a
 * shared lock: who holds one and then writes to the row waits for ever for another who does the same.
 */
export async function lockPerson(t: Queryable, identity: PersonIdentity) {
  const [row] = await t.query(
    'select state, administrator as owner, user_handle from person where identity = $1 for no key update',
    [identity],
    lockedRow,
  )
  return row && { identity, state: row.state, owner: row.owner, userHandle: row.user_handle }
}

/** `undefined` where there is no such person. */
export async function selectUserHandle(on: Queryable, identity: PersonIdentity): Promise<Uint8Array | undefined> {
  const [row] = await on.query(
    'select state, administrator as owner, user_handle from person where identity = $1',
    [identity],
    lockedRow,
  )
  return row?.user_handle
}

/** Active owners with a passkey, in order and locked, so that two do not disable each other at once. */
export const lockOwners = async (t: Queryable): Promise<PersonIdentity[]> =>
  (
    await t.query(
      `select identity from person where administrator and state = 'active'
         and exists (select from passkey k where k.person = identity) order by identity for update`,
      [],
      z.object({ identity: personColumn }),
    )
  ).map(row => row.identity)

export async function insertPerson(
  t: Queryable,
  person: { identity: PersonIdentity; owner: boolean; userHandle: Uint8Array; at: Date },
): Promise<void> {
  await t.execute(
    `insert into person (identity, administrator, state, user_handle, created_at)
     values ($1, $2, 'active', $3, $4::timestamptz)`,
    [person.identity, person.owner, person.userHandle, person.at.toISOString()],
  )
}

/** False where there is no such person. */
export const updateState = async (t: Queryable, identity: PersonIdentity, state: 'active' | 'disabled') =>
  (await t.execute('update person set state = $2 where identity = $1', [identity, state])) > 0

export const updateOwner = (t: Queryable, identity: PersonIdentity, owner: boolean): Promise<number> =>
  t.execute('update person set administrator = $2 where identity = $1', [identity, owner])

export const makeOwner = (t: Queryable, identity: PersonIdentity): Promise<number> =>
  t.execute(`update person set administrator = true, state = 'active' where identity = $1`, [identity])

export const touchLogin = (t: Queryable, identity: PersonIdentity, at: Date): Promise<number> =>
  t.execute('update person set last_login_at = $2::timestamptz where identity = $1', [identity, at.toISOString()])

const passkeyRow = z
  .object({
    id: z.string(),
    person: personColumn,
    name: z.string(),
    credential_id: z.instanceof(Uint8Array),
    public_key: z.instanceof(Uint8Array),
    counter: z.bigint().transform(Number),
    transports: z.array(z.string()),
    synced: z.boolean(),
    created_at: z.date(),
    last_used_at: z.date().nullable(),
    state: stateColumn,
    owner: z.boolean(),
    user_handle: z.instanceof(Uint8Array),
  })
  .transform(row => ({
    id: row.id,
    person: row.person,
    name: row.name,
    credentialId: row.credential_id,
    publicKey: row.public_key,
    counter: row.counter,
    transports: row.transports,
    synced: row.synced,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at ?? undefined,
    /** Of its person. */
    state: row.state,
    owner: row.owner,
    userHandle: row.user_handle,
  }))
export type PasskeyRow = z.infer<typeof passkeyRow>
const PASSKEY = `select k.id, k.person, k.name, k.credential_id, k.public_key, k.counter, k.transports, k.synced,
  k.created_at, k.last_used_at, p.state, p.administrator as owner, p.user_handle from passkey k join person p on p.identity = k.person`

export const selectPasskeys = (on: Queryable, person: PersonIdentity): Promise<PasskeyRow[]> =>
  on.query(`${PASSKEY} where k.person = $1 order by k.created_at, k.id`, [person], passkeyRow)

export async function selectCredential(on: Queryable, credentialId: Uint8Array): Promise<PasskeyRow | undefined> {
  const [row] = await on.query(`${PASSKEY} where k.credential_id = $1`, [credentialId], passkeyRow)
  return row
}

export const isPasskeyOf = async (t: Queryable, person: PersonIdentity, id: string): Promise<boolean> =>
  (await t.query('select id from passkey where id = $1 and person = $2', [id, person], z.object({ id: z.string() })))
    .length > 0

export async function insertPasskey(
  t: Queryable,
  passkey: NewPasskey & { id: string; person: PersonIdentity; name: string; at: Date },
): Promise<void> {
  await t.execute(
    `insert into passkey (id, person, name, credential_id, public_key, counter, transports, synced, backed_up, created_at)
     values ($1, $2, $3, $4, $5, $6::bigint, $7::jsonb, $8, $9, $10::timestamptz)`,
    [
      passkey.id,
      passkey.person,
      passkey.name,
      passkey.credentialId,
      passkey.publicKey,
      passkey.counter,
      JSON.stringify(passkey.transports),
      passkey.synced,
      passkey.backedUp,
      passkey.at.toISOString(),
    ],
  )
}

/** False where another assertion has meanwhile brought the counter as far: one of the two is a copy. Synced passkeys stay at 0. */
export const advanceCounter = async (
  t: Queryable,
  passkey: { id: string; counter: number; backedUp: boolean; at: Date },
): Promise<boolean> =>
  (await t.execute(
    `update passkey set counter = $2::bigint, backed_up = $3, last_used_at = $4::timestamptz
     where id = $1 and (counter < $2::bigint or (counter = 0 and $2::bigint = 0))`,
    [passkey.id, passkey.counter, passkey.backedUp, passkey.at.toISOString()],
  )) > 0

export const renamePasskey = async (t: Queryable, person: PersonIdentity, id: string, name: string): Promise<boolean> =>
  (await t.execute('update passkey set name = $3 where id = $1 and person = $2', [id, person, name])) > 0

/** All of a person. */
export const deletePasskeys = (t: Queryable, person: PersonIdentity): Promise<number> =>
  t.execute('delete from passkey where person = $1', [person])

export const deletePasskey = async (t: Queryable, person: PersonIdentity, id: string): Promise<boolean> =>
  (await t.execute('delete from passkey where id = $1 and person = $2', [id, person])) > 0

const partyRow = z.object({ rp_id: z.string(), origin: z.string() })

export async function selectRelyingParty(on: Queryable): Promise<{ id: string; origin: string } | undefined> {
  const [row] = await on.query('select rp_id, origin from relying_party', [], partyRow)
  return row && { id: row.rp_id, origin: row.origin }
}

/** With the first passkey. A second transaction that makes a first passkey at the same time waits here for this one. */
export const fixRelyingParty = (t: Queryable, rp: { id: string; origin: string }, at: Date): Promise<number> =>
  t.execute(
    'insert into relying_party (rp_id, origin, fixed_at) values ($1, $2, $3::timestamptz) on conflict (singleton) do nothing',
    [rp.id, rp.origin, at.toISOString()],
  )
