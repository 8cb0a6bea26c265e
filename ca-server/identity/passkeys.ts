import type { Ledger } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { orTaken, passkeyEntry } from './login/enrolment.ts'
import type { Passkeys, PasskeyView } from './port.ts'
import {
  gone,
  isPasskeyGone,
  passkeyFact,
  passkeyId,
  passkeyNameFact,
  passkeyOfFact,
  passkeyOfId,
} from './records/facts.ts'
import {
  deletePasskey,
  insertPasskey,
  type PasskeyRow,
  renamePasskey,
  selectPasskeys,
} from './records/person-records.ts'
import { newId } from './records/secrets.ts'
import type { Room } from './room.ts'
import { endSessions } from './sessions/end-sessions.ts'
import type { Act } from './standing.ts'
import { giveChallenge, takeChallenge } from './webauthn/challenges.ts'
import { creationOptions, parseRegistration, verifyRegistration } from './webauthn.ts'

/** Of one person: nobody has more authenticators, and lists stay readable. */
const MAX_PASSKEYS = 20

/** One's own passkeys. That adding and removing needs a fresh assertion stands in the routes (`action`). */
export function createPasskeys(room: Room, act: Act): Passkeys {
  const { deps, rp } = room
  const { store, now, random } = deps

  return {
    async list(person) {
      // What each is called says the log as it is now.
      await deps.ledger.follow()
      const own = await deps.ledger.vouched(
        () => selectPasskeys(store, person),
        passkey => [passkeyFact(passkey)],
      )
      return own
        .filter(passkey => !isPasskeyGone(deps.ledger.facts, passkey))
        .map(passkey => toView(named(deps, passkey)))
    },

    async addOptions(caller) {
      const own = await selectPasskeys(store, caller.identity)
      const userHandle = own[0]?.userHandle
      if (!userHandle) throw new KeymanError('not-signed-in', 'there is no passkey that could have signed in')
      if (own.length >= MAX_PASSKEYS) throw tooMany()
      const challenge = await giveChallenge(room, { purpose: 'passkey', subject: caller.session })
      const known = own.map(passkey => passkey.credentialId)
      return creationOptions(rp, { identity: caller.identity, userHandle, challenge, known })
    },

    async add(by, { name, registration }) {
      const { identity, session } = by.standing.caller
      const answer = parseRegistration(registration)
      const challenge = { challenge: answer.challenge, purpose: 'passkey', subject: session } as const
      await takeChallenge(room, challenge)
      const passkey = await verifyRegistration(rp, answer)
      const id = newId('passkey', random)
      return orTaken(identity, () =>
        act(by, { name: 'passkey add', changes: [`person:${identity}`] }, async t => {
          const createdAt = now()
          await insertPasskey(t, { ...passkey, id, person: identity, name, at: createdAt })
          const own = await selectPasskeys(t, identity)
          if (own.length > MAX_PASSKEYS) throw tooMany()
          await deps.ledger.appendIn(t, [passkeyEntry(by, { ...passkey, id, person: identity, name, createdAt })])
          return toView(find(own, id))
        }),
      )
    },

    async rename(by, id, name) {
      await deps.ledger.follow()
      return act(by, { name: 'passkey rename' }, async t => {
        const { identity } = by.standing.caller
        assertOwn(deps, identity, find(await selectPasskeys(t, identity), id))
        if (!(await renamePasskey(t, identity, id, name))) throw noSuchPasskey(id)
        await deps.ledger.appendIn(t, [
          { ...by, kind: 'passkey-renamed', target: id, details: { name }, facts: [passkeyNameFact({ id, name })] },
        ])
        return toView(find(await selectPasskeys(t, identity), id))
      })
    },

    async remove(by, id, within = async () => []) {
      const { identity, session } = by.standing.caller
      await deps.ledger.follow()
      // What is issued to any of the sessions from here on is decided anew.
      await act(by, { name: 'passkey remove', changes: [`person:${identity}`] }, async t => {
        const own = await selectPasskeys(t, identity)
        const passkey = find(own, id)
        assertOwn(deps, identity, passkey)
        const { name } = named(deps, passkey)
        if (own.length === 1)
          throw new KeymanError('conflict', 'this is the last passkey: without it nobody could sign in', {
            hint: 'add another one first',
          })
        await deletePasskey(t, identity, id)
        const { sessions, facts } = await endSessions(room, t, { person: identity, except: session })
        await deps.ledger.appendIn(t, [
          {
            ...by,
            kind: 'passkey-removed',
            target: id,
            details: { name, sessions: sessions.length },
            facts: [
              ...[passkeyId(id), passkeyNameFact({ id, name }).id, passkeyOfId(identity, id)].map(gone),
              ...facts,
            ],
          },
          ...(await within(t, sessions)),
        ])
      })
      await room.sessions.refresh()
    },
  }
}

/** With the name that the log gives it; one from before names were said has the one of its row. */
export function named<Row extends { readonly id: string; readonly name: string }>(
  { ledger: { facts } }: { readonly ledger: Pick<Ledger, 'facts'> },
  passkey: Row,
): Row {
  const fact = passkeyNameFact(passkey)
  return !facts.has(fact.id) || facts.holds(fact) ? passkey : { ...passkey, name: 'unknown: not as it was named' }
}

/** A passkey that the log knows as another's is nothing that its person does anything with, whatever its row says. */
function assertOwn(
  { ledger: { facts } }: { readonly ledger: Pick<Ledger, 'facts'> },
  identity: string,
  passkey: PasskeyRow,
): void {
  if (passkey.person !== identity || !facts.holds(passkeyFact(passkey))) throw noSuchPasskey(passkey.id)
}

/** When it was made, by the log. */
export const madeAt = (
  { ledger: { facts } }: { readonly ledger: Pick<Ledger, 'facts'> },
  passkey: Pick<PasskeyRow, 'id' | 'person' | 'createdAt'>,
): string =>
  facts.holds(passkeyOfFact(passkey)) ? passkey.createdAt.toISOString() : 'at a time that the audit log does not say'

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
