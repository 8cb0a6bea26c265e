import type { Fact, Ledger, NewerLog } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { endAllMandates, refuseAllActions } from './records/action-records.ts'
import { deleteAllChallenges } from './records/challenge-records.ts'
import { gone, passkeyEnd, passkeyFact, passkeyId, personFact } from './records/facts.ts'
import {
  deletePasskey,
  type PersonRow,
  selectPasskeys,
  selectPersons,
  updateOwner,
  updateState,
} from './records/person-records.ts'
import { endEverything } from './sessions/end-everything.ts'

/** What a backup still holds as good, and may have been used or ended since. */
const ENDED = ['session:', 'link:', 'touch:', 'mandate:', 'join-token:'] as const

/**
 * A backup was put back: whatever somebody could go on with by it ends, and everybody is disabled but those of `keep`, since
 * any of them may have been disabled meanwhile; where nothing is unknown, those who were. What a newer log took away is taken away again:
 * passkeys, and the rights of owners. Gives who that is, and what the record has to say.
 */
export async function suspendAllIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  { keep, at, newer, isComplete }: Suspending,
): Promise<{
  readonly suspended: readonly PersonIdentity[]
  /** IDs of what was taken away again. */
  readonly taken: readonly string[]
  readonly facts: readonly Fact[]
}> {
  // What the log does not say is so counts for nothing, and need not end. Whoever is active by the log is, whatever a row says.
  const rows = await selectPersons(t)
  const active = rows.filter(person => ledger.facts.holds(personFact({ ...person, state: 'active' })))
  const known = new Set(
    [...active, ...rows.filter(person => ledger.facts.holds(personFact({ ...person, state: 'disabled' })))].map(
      person => personFact(person).id,
    ),
  )
  // Of whom there is no row, nobody can say that they are disabled; and the row could come back.
  const hidden = [...ledger.facts.ids('person:')].filter(id => !known.has(id))
  if (hidden.length > 0)
    throw new KeymanError(
      'conflict',
      `the database does not say of ${hidden.length} persons what its audit log says: ${hidden.slice(0, 10).join(', ')}`,
      {
        hint: 'somebody changed the table person, or the backup is not whole: put back what is missing, then try again',
      },
    )
  for (const identity of keep)
    if (!active.some(person => person.identity === identity))
      throw new KeymanError('not-found', `${identity} is no person who could sign in when the backup was made`)
  const disabled = active.filter(person => newer && stateBy(newer.facts, person)?.state === 'disabled')
  for (const { identity } of disabled)
    if (keep.includes(identity))
      throw new KeymanError('conflict', `${identity} was disabled after the backup, by the export of the log`, {
        hint: 'keep somebody else, or let an administrator confirm them afterwards',
      })
  // Whom the log as it was at the end does not know as they are here, nobody says to be active.
  const suspended = active.filter(person =>
    isComplete && newer ? stateBy(newer.facts, person)?.state !== 'active' : !keep.includes(person.identity),
  )
  for (const { identity } of suspended) await updateState(t, identity, 'disabled')
  const demoted = active.filter(person => newer && person.owner && stateBy(newer.facts, person)?.owner === false)
  for (const { identity } of demoted) await updateOwner(t, identity, false)
  const passkeys = newer ? await takePasskeysIn(ledger, t, newer) : []
  await endEverything(t, at)
  await endAllMandates(t, at)
  await refuseAllActions(t)
  await deleteAllChallenges(t)
  return {
    suspended: suspended.map(({ identity }) => identity),
    taken: [...demoted.map(({ identity }) => `owner:${identity}`), ...passkeys.map(({ id }) => id)],
    facts: [
      ...[...new Set([...suspended, ...demoted])].map(person =>
        personFact({
          ...person,
          owner: person.owner && !demoted.includes(person),
          state: suspended.includes(person) ? 'disabled' : 'active',
        }),
      ),
      ...passkeys,
      ...ENDED.flatMap(prefix => [...ledger.facts.ids(prefix)].map(gone)),
    ],
  }
}

export type Suspending = {
  readonly keep: readonly PersonIdentity[]
  readonly at: Date
  /** An export of the log from after the backup. */
  readonly newer?: NewerLog | undefined
  /** Whether nothing happened after it, as far as anybody knows. */
  readonly isComplete: boolean
}

/** What a log says of somebody, found by the digest of each thing that it can say. */
function stateBy(facts: NewerLog['facts'], person: PersonRow) {
  for (const state of ['active', 'disabled'] as const)
    for (const owner of [true, false]) if (facts.holds(personFact({ ...person, state, owner }))) return { state, owner }
  return undefined
}

async function takePasskeysIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  { facts, changed }: NewerLog,
): Promise<Fact[]> {
  const ended = new Set([...ledger.facts.ids('passkey:')].filter(id => facts.isGone(id)))
  for (const { identity } of await selectPersons(t))
    for (const passkey of await selectPasskeys(t, identity)) {
      // Of another's that the database gives for one of these nothing is said.
      if (!ledger.facts.holds(passkeyFact(passkey)) || passkeyEnd(facts, passkey) === undefined) continue
      ended.add(passkeyId(passkey.id))
      await deletePasskey(t, identity, passkey.id)
    }
  const all = [...changed.keys()].filter(id => id.startsWith('passkeys-ended:') && facts.has(id))
  return [...[...ended].map(gone), ...all.map(id => ({ id, is: 'ended' }))]
}
