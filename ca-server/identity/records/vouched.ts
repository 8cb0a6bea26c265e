import { isEndedWithAll } from '#server/ledger/index.ts'
import { equalBytes, fromBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import type { Room } from '../room.ts'
import { type ActionRow, type MandateRow, selectAction, selectMandate } from './action-records.ts'
import {
  isPasskeyGone,
  mandateFact,
  passkeyEnd,
  passkeyFact,
  personFact,
  personId,
  sessionFact,
  sessionId,
  touchFact,
  touchUsedId,
} from './facts.ts'
import { type PasskeyRow, type PersonRow, selectCredential, selectPerson, selectPersons } from './person-records.ts'
import { type SessionRow, selectSession } from './session-records.ts'

/**
 * Rows of this room that let somebody in, read so that they count only if the log says the same (`Ledger.vouched`). That a row is
 * the one that was asked for is looked at here: the database may answer with one that is true, and another's.
 */

const one = <Row>(row: Row | undefined): Row[] => (row === undefined ? [] : [row])

export const vouchedPersons = ({ deps }: Room): Promise<PersonRow[]> =>
  deps.ledger.vouched(
    () => selectPersons(deps.store),
    person => [personFact(person)],
    personId(''),
  )

export async function vouchedPerson({ deps }: Room, identity: string): Promise<PersonRow | undefined> {
  const [row] = await deps.ledger.vouched(
    async () => one(await selectPerson(deps.store, identity)).filter(row => row.identity === identity),
    person => [personFact(person)],
  )
  return row
}

/** The passkey of this credential ID (base64url), with its person. */
export async function vouchedCredential({ deps }: Room, credentialId: string): Promise<PasskeyRow | undefined> {
  const wanted = fromBase64Url(credentialId)
  const [row] = await deps.ledger.vouched(
    async () => one(await selectCredential(deps.store, wanted)).filter(found => equalBytes(found.credentialId, wanted)),
    passkey => [passkeyFact(passkey), personFact({ ...passkey, identity: passkey.person })],
  )
  return row && isPasskeyGone(deps.ledger.facts, row) ? undefined : row
}

/** A session that has not ended, with its person. One that has ended lets nobody in, whatever its row says. */
export async function vouchedSession({ deps }: Pick<Room, 'deps'>, id: string): Promise<SessionRow | undefined> {
  const read = async () => {
    const row = await selectSession(deps.store, id)
    return one(row?.ended || row?.id !== id ? undefined : row)
  }
  const [row] = await deps.ledger.vouched(read, session => [
    sessionFact(session),
    personFact({ ...session, identity: session.person }),
  ])
  const { facts } = deps.ledger
  if (!row || isEndedWithAll(facts, sessionId(id), row.person)) return undefined
  // Signed in by a passkey that was gone by then. One that was removed later ends what it has to end by itself.
  const end = row.passkey === undefined ? undefined : passkeyEnd(facts, { id: row.passkey, person: row.person })
  return end !== undefined && facts.isOlder(end, sessionId(id)) ? undefined : row
}

/** A touch that was confirmed, or used since: one that waits gives nothing, nor one that was used and says that it was not. */
export async function vouchedTouch({ deps }: Room, id: string): Promise<ActionRow | undefined> {
  const read = async () => {
    const row = await selectAction(deps.store, id)
    return one(row?.id === id && (row.state === 'confirmed' || row.state === 'used') ? row : undefined)
  }
  // Whether it was used says the log too: the row alone would have somebody told that what never happened was done already. It is used
  // once, so where it happens at this moment the two say the same the second time.
  for (let attempt = 0; attempt < 2; attempt++) {
    await deps.ledger.follow()
    const [row] = await deps.ledger.vouched(read, touch => [touchFact(touch)])
    if (row?.state === (deps.ledger.facts.has(touchUsedId(id)) ? 'used' : 'confirmed')) return row
  }
  return undefined
}

/** The session's mandate that still counts. */
export async function vouchedMandate({ deps }: Room, session: string): Promise<MandateRow | undefined> {
  const [row] = await deps.ledger.vouched(
    // When it ends is said by the log, that it has not ended by this server's own clock: the database says neither.
    async () =>
      one(await selectMandate(deps.store, session, deps.now())).filter(
        row => row.session === session && row.endsAt > deps.now(),
      ),
    mandate => [mandateFact(mandate)],
  )
  return row
}

export function found(person: PersonRow | undefined, identity: PersonIdentity): PersonRow {
  if (!person) throw new KeymanError('not-found', `there is no person ${identity}`, { hint: 'see keyman person list' })
  // A true row, and another's: what was asked for would befall them.
  if (person.identity !== identity) throw notWhatTheLogSays(identity)
  return person
}

export const notWhatTheLogSays = (identity: PersonIdentity): KeymanError =>
  new KeymanError('conflict', `what the database says of ${identity} is not what the audit log says`, {
    hint: 'somebody changed it: see the server log; keyman-server admin-link makes an owner anew',
  })
