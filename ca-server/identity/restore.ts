import type { Fact, Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { endEverything } from './end-everything.ts'
import { gone, personFact } from './facts.ts'
import { selectPersons, updateState } from './person-records.ts'

/** What a backup still holds as good, and may have been used or ended since. */
const ENDED = ['session:', 'link:', 'touch:', 'mandate:', 'join-token:'] as const

/**
 * A backup was put back: whatever somebody could go on with by it ends, and everybody is disabled but those of `keep`, since
 * any of them may have been disabled meanwhile. Gives who that is, and what the record has to say.
 */
export async function suspendAllIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  { keep, at }: { readonly keep: readonly PersonIdentity[]; readonly at: Date },
): Promise<{ readonly suspended: readonly PersonIdentity[]; readonly facts: readonly Fact[] }> {
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
  const suspended = active.filter(person => !keep.includes(person.identity))
  for (const { identity } of suspended) await updateState(t, identity, 'disabled')
  await endEverything(t, at)
  await t.execute('update mandate set ended_at = $1::timestamptz where ended_at is null', [at.toISOString()])
  await t.execute(`update action_transaction set state = 'refused' where state in ('waiting', 'confirmed')`, [])
  await t.execute('delete from webauthn_challenge', [])
  return {
    suspended: suspended.map(({ identity }) => identity),
    facts: [
      ...suspended.map(person => personFact({ ...person, state: 'disabled' })),
      ...ENDED.flatMap(prefix => [...ledger.facts.ids(prefix)].map(gone)),
    ],
  }
}
