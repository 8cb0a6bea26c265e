import { and, asc, eq, exists, lt, or, sql } from 'drizzle-orm'
import { builder, eachRow, prepared, type Queryable, rows, run } from '#server/store/index.ts'
import { isPersonIdentity, type PersonIdentity } from '#shared/names.ts'
import type { PersonView } from '../port.ts'
import { passkey, person, relyingParty } from '../tables.ts'
import type { NewPasskey } from '../webauthn.ts'

/** Persons and their passkeys. */

const { identity, owner, state, userHandle, createdAt, lastLoginAt } = person

export type PersonRow = PersonView & { readonly userHandle: Uint8Array }
const passkeyCount = sql`(select count(*) from ${passkey} where ${eq(passkey.person, identity)})`.mapWith(Number)
const persons = () =>
  builder.select({ identity, owner, state, userHandle, createdAt, lastLoginAt, passkeys: passkeyCount }).from(person)
const toPerson = (row: Awaited<ReturnType<typeof persons>>[number]): PersonRow => ({
  ...row,
  lastLoginAt: row.lastLoginAt ?? undefined,
})

/** A row that does not fit is nobody: it must not keep the others from being read. */
export const selectPersons = async (on: Queryable): Promise<PersonRow[]> =>
  (await eachRow(on, persons().orderBy(asc(identity)))).flatMap(({ row }) => (row ? [toPerson(row)] : []))

const personBy = prepared({ identity }, given => persons().where(eq(identity, given.identity)))
export async function selectPerson(on: Queryable, identity: string): Promise<PersonRow | undefined> {
  const [row] = isPersonIdentity(identity) ? await rows(on, personBy({ identity })) : []
  return row && toPerson(row)
}

const lockedPerson = prepared({ identity }, given =>
  builder
    .select({ identity, state, owner, userHandle })
    .from(person)
    .where(eq(identity, given.identity))
    .for('no key update'),
)
/**
 * The person's row, locked to the transaction's end: nobody disables the person or changes the passkeys meanwhile. Not a
 * shared lock: who holds one and then writes to the row waits for ever for another who does the same.
 */
export async function lockPerson(t: Queryable, identity: PersonIdentity) {
  const [row] = await rows(t, lockedPerson({ identity }))
  return row && { ...row, identity }
}

/** `undefined` where there is no such person. */
export async function selectUserHandle(on: Queryable, whose: PersonIdentity): Promise<Uint8Array | undefined> {
  const [row] = await rows(on, builder.select({ userHandle }).from(person).where(eq(identity, whose)))
  return row?.userHandle
}

/** Active owners with a passkey, in order and locked, so that two do not disable each other at once. */
export const lockOwners = async (t: Queryable): Promise<PersonIdentity[]> => {
  const own = builder.select({ id: passkey.id }).from(passkey).where(eq(passkey.person, identity))
  const isOne = and(eq(owner, true), eq(state, 'active'), exists(own))
  const locked = builder.select({ identity }).from(person).where(isOne).orderBy(asc(identity)).for('update')
  return (await rows(t, locked)).map(row => row.identity)
}

export async function insertPerson(
  t: Queryable,
  added: { identity: PersonIdentity; owner: boolean; userHandle: Uint8Array; at: Date },
): Promise<void> {
  const { at, ...rest } = added
  await run(t, builder.insert(person).values({ ...rest, state: 'active', createdAt: at }))
}

const change = (t: Queryable, whose: PersonIdentity, to: Partial<typeof person.$inferInsert>): Promise<number> =>
  run(t, builder.update(person).set(to).where(eq(identity, whose)))

/** False where there is no such person. */
export const updateState = async (t: Queryable, whose: PersonIdentity, state: 'active' | 'disabled') =>
  (await change(t, whose, { state })) > 0

export const updateOwner = (t: Queryable, whose: PersonIdentity, owner: boolean): Promise<number> =>
  change(t, whose, { owner })

export const makeOwner = (t: Queryable, whose: PersonIdentity): Promise<number> =>
  change(t, whose, { owner: true, state: 'active' })

const login = prepared({ identity, lastLoginAt }, given =>
  builder.update(person).set({ lastLoginAt: given.lastLoginAt }).where(eq(identity, given.identity)),
)
export const touchLogin = (t: Queryable, identity: PersonIdentity, at: Date): Promise<number> =>
  run(t, login({ identity, lastLoginAt: at }))

const passkeys = () =>
  builder
    .select({
      id: passkey.id,
      person: passkey.person,
      name: passkey.name,
      credentialId: passkey.credentialId,
      publicKey: passkey.publicKey,
      counter: passkey.counter,
      transports: passkey.transports,
      synced: passkey.synced,
      createdAt: passkey.createdAt,
      lastUsedAt: passkey.lastUsedAt,
      /** Of its person. */
      state,
      owner,
      userHandle,
    })
    .from(passkey)
    .innerJoin(person, eq(identity, passkey.person))
const toPasskey = (row: Awaited<ReturnType<typeof passkeys>>[number]) => ({
  ...row,
  lastUsedAt: row.lastUsedAt ?? undefined,
})
export type PasskeyRow = ReturnType<typeof toPasskey>

const passkeysOf = prepared({ person: passkey.person }, given =>
  passkeys().where(eq(passkey.person, given.person)).orderBy(asc(passkey.createdAt), asc(passkey.id)),
)
export const selectPasskeys = async (on: Queryable, person: PersonIdentity): Promise<PasskeyRow[]> =>
  (await rows(on, passkeysOf({ person }))).map(toPasskey)

const credential = prepared({ credentialId: passkey.credentialId }, given =>
  passkeys().where(eq(passkey.credentialId, given.credentialId)),
)
export async function selectCredential(on: Queryable, credentialId: Uint8Array): Promise<PasskeyRow | undefined> {
  const [row] = await rows(on, credential({ credentialId }))
  return row && toPasskey(row)
}

const isOwn = (person: PersonIdentity, id: string) => and(eq(passkey.id, id), eq(passkey.person, person))
const ownPasskey = prepared({ id: passkey.id, person: passkey.person }, given =>
  builder
    .select({ id: passkey.id })
    .from(passkey)
    .where(and(eq(passkey.id, given.id), eq(passkey.person, given.person))),
)
export const isPasskeyOf = async (t: Queryable, person: PersonIdentity, id: string): Promise<boolean> =>
  (await rows(t, ownPasskey({ id, person }))).length > 0

export async function insertPasskey(
  t: Queryable,
  added: NewPasskey & { id: string; person: PersonIdentity; name: string; at: Date },
): Promise<void> {
  const { at, transports, ...rest } = added
  await run(t, builder.insert(passkey).values({ ...rest, transports: [...transports], createdAt: at }))
}

const { id, counter, backedUp, lastUsedAt } = passkey
const advanced = prepared({ id, counter, backedUp, lastUsedAt }, given =>
  builder
    .update(passkey)
    .set({ counter: given.counter, backedUp: given.backedUp, lastUsedAt: given.lastUsedAt })
    .where(
      and(eq(id, given.id), or(lt(counter, given.counter), and(eq(counter, 0), sql`${given.counter}::bigint = 0`))),
    ),
)
/** False where another assertion has meanwhile brought the counter as far: one of the two is a copy. Synced passkeys stay at 0. */
export const advanceCounter = async (
  t: Queryable,
  passkey: { id: string; counter: number; backedUp: boolean; at: Date },
): Promise<boolean> => {
  const { at, ...rest } = passkey
  return (await run(t, advanced({ ...rest, lastUsedAt: at }))) > 0
}

export const renamePasskey = async (t: Queryable, person: PersonIdentity, id: string, name: string): Promise<boolean> =>
  (await run(t, builder.update(passkey).set({ name }).where(isOwn(person, id)))) > 0

/** All of a person. */
export const deletePasskeys = (t: Queryable, person: PersonIdentity): Promise<number> =>
  run(t, builder.delete(passkey).where(eq(passkey.person, person)))

export const deletePasskey = async (t: Queryable, person: PersonIdentity, id: string): Promise<boolean> =>
  (await run(t, builder.delete(passkey).where(isOwn(person, id)))) > 0

export async function selectRelyingParty(on: Queryable): Promise<{ id: string; origin: string } | undefined> {
  const [row] = await rows(on, builder.select().from(relyingParty))
  return row && { id: row.rpId, origin: row.origin }
}

/** With the first passkey. A second transaction that makes a first passkey at the same time waits here for this one. */
export const fixRelyingParty = (
  t: Queryable,
  { id, origin }: { id: string; origin: string },
  at: Date,
): Promise<number> =>
  run(
    t,
    builder
      .insert(relyingParty)
      .values({ rpId: id, origin, fixedAt: at })
      .onConflictDoNothing({ target: relyingParty.singleton }),
  )
