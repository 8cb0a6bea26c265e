import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { insertChallenge, takeChallenge } from './challenge-records.ts'
import { orTaken, passkeyEntry } from './enrolment.ts'
import {
  deletePasskey,
  insertPasskey,
  lockPerson,
  type PasskeyRow,
  renamePasskey,
  selectPasskeys,
} from './person-records.ts'
import { endSessions } from './persons.ts'
import type { At, Passkeys, PasskeyView, PersonCaller } from './port.ts'
import { inTransaction, type Room } from './room.ts'
import { newId } from './secrets.ts'
import { isOpenSession } from './session-records.ts'
import { ended } from './sessions.ts'
import { creationOptions, parseRegistration, verifyRegistration } from './webauthn.ts'

/** Of one person: nobody has more authenticators, and lists stay readable. */
const MAX_PASSKEYS = 20

/** One's own passkeys. That adding and removing needs a fresh assertion stands in the routes (`action`). */
export function createPasskeys(room: Room): Passkeys {
  const { deps, rp } = room
  const { store, now, random } = deps

  return {
    list: async person => (await selectPasskeys(store, person)).map(toView),

    async addOptions(caller) {
      const own = await selectPasskeys(store, caller.identity)
      const userHandle = own[0]?.userHandle
      if (!userHandle) throw new KeymanError('not-signed-in', 'there is no passkey that could have signed in')
      if (own.length >= MAX_PASSKEYS) throw tooMany()
      const challenge = random(32)
      await insertChallenge(store, { challenge, purpose: 'passkey', subject: caller.session, nonce: challenge }, now())
      const known = own.map(passkey => passkey.credentialId)
      return creationOptions(rp, { identity: caller.identity, userHandle, challenge, known })
    },

    async add(caller, { name, registration }, at) {
      const answer = parseRegistration(registration)
      const challenge = { challenge: answer.challenge, purpose: 'passkey', subject: caller.session } as const
      await takeChallenge(store, challenge, now())
      const passkey = await verifyRegistration(rp, answer)
      const id = newId('passkey', random)
      return orTaken(caller.identity, () =>
        inTransaction(room, 'passkey add', async t => {
          await lockLiving(room, t, caller)
          await insertPasskey(t, { ...passkey, id, person: caller.identity, name, at: now() })
          const own = await selectPasskeys(t, caller.identity)
          if (own.length > MAX_PASSKEYS) throw tooMany()
          await deps.ledger.appendIn(t, [passkeyEntry(entryOf(caller, at), id, name, passkey)])
          return toView(find(own, id))
        }),
      )
    },

    rename: (caller, id, name, at) =>
      inTransaction(room, 'passkey rename', async t => {
        await lockLiving(room, t, caller)
        if (!(await renamePasskey(t, caller.identity, id, name))) throw noSuchPasskey(id)
        await deps.ledger.appendIn(t, [
          { ...entryOf(caller, at), kind: 'passkey-renamed', target: id, details: { name } },
        ])
        return toView(find(await selectPasskeys(t, caller.identity), id))
      }),

    async remove(caller, id, at, within = async () => []) {
      await inTransaction(room, 'passkey remove', async t => {
        // Before anything else, as everybody who revokes: what is issued to any of the sessions from here on is decided anew.
        await deps.ledger.bumpEpochs(t, [`person:${caller.identity}`])
        await lockLiving(room, t, caller)
        const own = await selectPasskeys(t, caller.identity)
        const { name } = find(own, id)
        if (own.length === 1)
          throw new KeymanError('conflict', 'this is the last passkey: without it nobody could sign in', {
            hint: 'add another one first',
          })
        await deletePasskey(t, caller.identity, id)
        const sessions = await endSessions(room, t, { person: caller.identity, except: caller.session })
        await deps.ledger.appendIn(t, [
          { ...entryOf(caller, at), kind: 'passkey-removed', target: id, details: { name, sessions: sessions.length } },
          ...(await within(t, sessions)),
        ])
      })
      await room.sessions.refresh()
    },
  }
}

/** A request may have been on its way since before the person was disabled, or the session ended. */
async function lockLiving({ deps }: Room, t: Queryable, { identity, session }: PersonCaller): Promise<void> {
  const person = await lockPerson(t, identity)
  if (person?.state !== 'active' || !(await isOpenSession(t, session, deps.now()))) throw ended()
}

const entryOf = (caller: PersonCaller, at: At) =>
  ({
    ...at,
    actor: { kind: 'person', identity: caller.identity, session: caller.session },
  }) as const

function find(own: readonly PasskeyRow[], id: string): PasskeyRow {
  const passkey = own.find(each => each.id === id)
  if (!passkey) throw noSuchPasskey(id)
  return passkey
}

const toView = (row: PasskeyRow): PasskeyView => ({
  id: row.id,
  name: row.name,
  createdAt: row.createdAt.toISOString(),
  ...(row.lastUsedAt ? { lastUsedAt: row.lastUsedAt.toISOString() } : {}),
  synced: row.synced,
  transports: row.transports,
})

const noSuchPasskey = (id: string): KeymanError =>
  new KeymanError('not-found', `you have no passkey ${id.slice(0, 64)}`, { hint: 'see keyman passkey list' })
const tooMany = (): KeymanError =>
  new KeymanError('conflict', `a person has at most ${MAX_PASSKEYS} passkeys`, { hint: 'remove one first' })
