import { endedFact, type Fact } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { gone, goneLinks, loginFact, personId, sessionFact, sessionId } from '../records/facts.ts'
import { endLinks } from '../records/link-records.ts'
import { CONSENT_WITHIN, REDEEM_WITHIN } from '../records/login-id.ts'
import { refuseConsented } from '../records/login-records.ts'
import { announceChange, endSessionRows, selectSessions, type WhoseSessions } from '../records/session-records.ts'
import { addSeconds, type Room } from '../room.ts'

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
  await announceChange(t, 'person' in by ? [personId(by.person)] : [`session:${by.session}`])
  const facts =
    'person' in by
      ? [
          // Also what no row tells of.
          endedFact(by.person, by.except),
          ...logins.map(id => loginFact(id, 'refused', addSeconds(deps.now(), CONSENT_WITHIN + REDEEM_WITHIN))),
          ...goneLinks(deps.ledger.facts, links),
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
