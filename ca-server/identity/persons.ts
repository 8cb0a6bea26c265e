import type { Fact } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { endedFact, gone, linkId, loginFact, personFact, sessionFact, sessionId } from './facts.ts'
import { endLinks } from './link-records.ts'
import { CONSENT_WITHIN, REDEEM_WITHIN } from './login-id.ts'
import { refuseConsented } from './login-records.ts'
import { lockAdministrators, type PersonRow, selectPerson, updateState } from './person-records.ts'
import type { Act, Persons, PersonView } from './port.ts'
import { addSeconds, type Room } from './room.ts'
import { announceChange, endSessionRows, selectSessions, type WhoseSessions } from './session-records.ts'
import { vouchedPerson, vouchedPersons } from './vouched.ts'

export function createPersons(room: Room, act: Act): Persons {
  const { deps } = room
  const { ledger } = deps

  function found(person: PersonRow | undefined, identity: PersonIdentity): PersonRow {
    if (!person)
      throw new KeymanError('not-found', `there is no person ${identity}`, { hint: 'see keyman person list' })
    // A true row, and another's: what was asked for would befall them.
    if (person.identity !== identity) throw notWhatTheLogSays(identity)
    return person
  }

  /** Whether the log says the same of the person, in this state or the other. */
  const isKnown = (person: PersonRow): boolean =>
    (['active', 'disabled'] as const).some(state => ledger.facts.holds(personFact({ ...person, state })))
  /** Inside of a transaction the log can't be followed: so once more, where it may only be behind. */
  async function followed<T>(work: (isLast: boolean) => Promise<T>): Promise<T> {
    try {
      return await work(false)
    } catch (error) {
      if (!(error instanceof Unknown)) throw error
      await ledger.follow()
      return work(true)
    }
  }

  return {
    list: async () => (await vouchedPersons(room)).map(toView),
    show: async identity => toView(found(await vouchedPerson(room, identity), identity)),

    async disable(identity, by, within = async () => []) {
      const attempt = (isLast: boolean) =>
        act(by, { name: 'person disable', changes: [`person:${identity}`] }, async t => {
          const administrators = await lockAdministrators(t)
          if (administrators.length === 1 && administrators[0] === identity)
            throw new KeymanError('conflict', `${identity} is the last administrator who could sign in`, {
              hint: 'make another one first: keyman person invite --administrator',
            })
          const before = found(await selectPerson(t, identity), identity)
          if (!isKnown(before) && !isLast) throw new Unknown()
          await updateState(t, identity, 'disabled')
          const { sessions, facts } = await endSessions(room, t, { person: identity })
          // By the log, or whoever writes 'disabled' into the row beforehand is not disabled when the row says 'active' again.
          // And what it does not say, it does not come to say by this: then no administrator is disabled.
          const administrator = isKnown(before) && before.administrator
          const disabled = personFact({ ...before, administrator, state: 'disabled' })
          const isChanged = !ledger.facts.holds(disabled)
          const more = await within(t)
          if (isChanged || facts.length > 0 || more.length > 0)
            await ledger.appendIn(t, [
              {
                ...by,
                kind: 'person-disabled',
                target: identity,
                details: { sessions: sessions.length },
                facts: [...(isChanged ? [disabled] : []), ...facts],
              },
              ...more,
            ])
          return toView({ ...before, state: 'disabled' })
        })
      const person = await followed(attempt)
      await room.sessions.refresh()
      return person
    },

    async enable(identity, by) {
      const attempt = (isLast: boolean) =>
        act(by, { name: 'person enable', changes: [`person:${identity}`] }, async t => {
          const before = found(await selectPerson(t, identity), identity)
          if (!ledger.facts.holds(personFact(before))) throw isLast ? notWhatTheLogSays(identity) : new Unknown()
          if (before.state === 'active') return toView(before)
          await updateState(t, identity, 'active')
          await announceChange(t, [`person:${identity}`])
          await ledger.appendIn(t, [
            { ...by, kind: 'person-enabled', target: identity, facts: [personFact({ ...before, state: 'active' })] },
          ])
          return toView({ ...before, state: 'active' })
        })
      const person = await followed(attempt)
      await room.sessions.refresh()
      return person
    },
  }
}

/** The row is not what the log says, as far as it was followed. */
class Unknown extends Error {}
const notWhatTheLogSays = (identity: PersonIdentity): KeymanError =>
  new KeymanError('conflict', `what the database says of ${identity} is not what the audit log says`, {
    hint: 'somebody changed it: see the server log; an invitation by keyman-server admin-link makes an administrator anew',
  })

const toView = ({ userHandle: _, ...person }: PersonRow): PersonView => person

/**
 * The room's `endSessions`; gives their IDs, and what the record has to say. With all of a person's end the invitations that the
 * person made and nobody has used: whoever had the sessions may have made them.
 */
export async function endSessions(
  room: Room,
  t: Queryable,
  by: WhoseSessions,
): Promise<{ sessions: string[]; facts: Fact[] }> {
  const { deps } = room
  // First what was consented to: whoever is redeeming it is waited for, and its session is then found by the next statement.
  const logins = 'person' in by ? await refuseConsented(t, by.person) : []
  const links = 'person' in by ? await endLinks(t, { createdBy: by.person }, deps.now()) : []
  const sessions = await endSessionRows(t, by, deps.now())
  await announceChange(t, 'person' in by ? [`person:${by.person}`] : [`session:${by.session}`])
  const facts =
    'person' in by
      ? [
          // Also what no row tells of.
          endedFact(by.person, by.except),
          ...logins.map(id => loginFact(id, 'refused', addSeconds(deps.now(), CONSENT_WITHIN + REDEEM_WITHIN))),
          ...links.map(id => gone(linkId(id))),
          ...(await ownOf(room, t, by.person, sessions)).map(id => gone(sessionId(id))),
        ]
      : // The one that was asked for, whichever the database says has ended.
        deps.ledger.facts.isGone(sessionId(by.session))
        ? []
        : [gone(sessionId(by.session))]
  return { sessions, facts }
}

/** Which of these the log says are this person's: of another's nothing is said to have ended. */
const ownOf = async ({ deps }: Room, t: Queryable, person: PersonIdentity, ids: readonly string[]): Promise<string[]> =>
  (await selectSessions(t, ids))
    .filter(row => ids.includes(row.id) && row.person === person && deps.ledger.facts.holds(sessionFact(row)))
    .map(({ id }) => id)
