import type { Entry, Fact } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import type { Enrolment } from '../port.ts'
import {
  gone,
  goneLinks,
  passkeyFact,
  passkeyId,
  passkeyOfId,
  passkeysBy,
  passkeysEndedFact,
  personFact,
  personId,
  resetBy,
  resetFact,
  resetId,
} from '../records/facts.ts'
import { endLinks } from '../records/link-records.ts'
import {
  deletePasskeys,
  lockOwners,
  type PersonRow,
  selectPasskeys,
  selectPerson,
  selectPersons,
  updateState,
} from '../records/person-records.ts'
import { found, notWhatTheLogSays } from '../records/vouched.ts'
import type { Room } from '../room.ts'
import { endSessions } from '../sessions/end-sessions.ts'
import type { Act, By } from '../standing.ts'
import { linkDetails, loginLine, makeLink, nameOf } from './links.ts'

/**
 * Somebody has lost the passkeys: all that the person has ends, and a link makes a new one for the same identity and rights. Whoever
 * makes the link could use it, so that it gives all that the person has: only who has as much may. An owner's new passkey lets nobody in before another owner has said yes to it (`person enable`).
 */
export function createReset(room: Room, act: Act): Pick<Enrolment, 'reset'> {
  const { deps } = room
  const { ledger } = deps
  return {
    async reset(identity, { removePasskeys, lifetime }, by, within = async () => []) {
      if (by.actor.kind === 'person' && by.actor.identity === identity)
        throw new KeymanError('conflict', 'you are signed in, so that you need no new link', {
          hint: 'add another passkey: keyman passkey add; then remove the lost one',
        })
      await ledger.follow()
      const made = await act(by, { name: 'person reset', changes: [personId(identity)] }, async t => {
        await lockOwners(t)
        const before = found(await selectPerson(t, identity), identity)
        if (!ledger.facts.holds(personFact(before))) throw notWhatTheLogSays(identity)
        if (before.state === 'disabled' && resetBy(ledger.facts.ids, identity).length === 0)
          throw new KeymanError('conflict', `${identity} is disabled, and can not sign in by any passkey`, {
            hint: `first: keyman person enable ${identity}`,
          })
        const reset = await resetIn(room, t, { identity, removePasskeys, by })
        const waits = before.owner && (await isThereAnother(room, t, [identity, nameOf(by)]))
        const state = waits ? 'disabled' : 'active'
        if (state !== before.state) await updateState(t, identity, state)
        const { owner } = before
        const link = await makeLink(
          room,
          t,
          { kind: 'reset', isFirst: false, identity, identityFixed: true, owner, createdBy: nameOf(by) },
          lifetime,
        )
        const more = await within(t)
        await ledger.appendIn(t, [
          {
            ...by,
            kind: 'person-reset',
            target: identity,
            details: { ...linkDetails(link, identity, owner), ...reset.details, waits },
            facts: [
              ...(state === before.state ? [] : [personFact({ ...before, state })]),
              ...reset.facts,
              ...link.facts,
              resetFact(identity, nameOf(by)),
            ],
          },
          ...more,
        ])
        return { link: link.link, endsAt: link.endsAt, owner, waits }
      })
      await room.sessions.refresh()
      return { identity, login: loginLine(deps), ...made }
    },
  }
}

/**
 * What every reset ends, with what the record has to say of it. A passkey that came by an earlier reset and that nobody has said yes
 * to goes too: else the next one's yes would be a yes to it.
 */
export async function resetIn(
  room: Room,
  t: Queryable,
  { identity, removePasskeys, by }: { identity: PersonIdentity; removePasskeys: boolean; by: By },
): Promise<{ before: PersonRow | undefined; facts: readonly Fact[]; details: NonNullable<Entry['details']> }> {
  const { facts } = room.deps.ledger
  const before = await selectPerson(t, identity)
  const earlier = resetBy(facts.ids, identity)
  const isActive = before !== undefined && facts.holds(personFact({ ...before, state: 'active' }))
  const removes = removePasskeys || (earlier.length > 0 && !isActive)
  const own = removes ? await selectPasskeys(t, identity) : []
  if (removes) await deletePasskeys(t, identity)
  // Another's passkey that the database gives for one of these is not said to be gone: it would never come back.
  const removed = own
    .filter(
      passkey =>
        passkey.person === identity && (facts.holds(passkeyFact(passkey)) || !facts.has(passkeyId(passkey.id))),
    )
    .map(({ id }) => id)
  const links = await endLinks(t, { identity }, room.deps.now())
  const ended = await endSessions(room, t, { person: identity })
  return {
    before,
    facts: [
      ...ended.facts,
      ...goneLinks(facts, links),
      ...removed.flatMap(id => [gone(passkeyId(id)), gone(passkeyOfId(identity, id))]),
      // Also those that somebody hides in the database at this moment.
      ...(removes ? [passkeysEndedFact(identity)] : []),
      ...earlier.filter(name => name !== nameOf(by)).map(name => gone(resetId(identity, name))),
    ],
    details: { sessions: ended.sessions.length, passkeysRemoved: removed },
  }
}

/**
 * Whether there is an owner besides these. By the log, and whoever it knows and the database hides may be one: else somebody who
 * hides the others could have a yes taken for needless.
 */
async function isThereAnother({ deps }: Room, t: Queryable, except: readonly string[]): Promise<boolean> {
  const { facts } = deps.ledger
  const rows = new Map<string, PersonRow>((await selectPersons(t)).map(row => [row.identity, row]))
  for (const id of facts.ids(personId(''))) {
    const row = rows.get(id.slice(personId('').length))
    if (except.some(identity => id === personId(identity))) continue
    if (!row || !facts.holds(personFact(row)) || (row.owner && row.state === 'active')) return true
  }
  return false
}

/**
 * Throws where this would be a yes to one's own reset, while there is somebody else to say it. What it is a yes to is what there is
 * now: gives what the record has to say. Undefined where nobody was reset.
 */
export async function confirmIn(
  room: Room,
  t: Queryable,
  person: PersonRow,
  by: By,
): Promise<{ readonly facts: readonly Fact[]; readonly confirmed: string[] } | undefined> {
  const { identity } = person
  const earlier = resetBy(room.deps.ledger.facts.ids, identity)
  if (earlier.length === 0) return undefined
  if (earlier.includes(nameOf(by)) && (await isThereAnother(room, t, [identity, nameOf(by)])))
    throw new KeymanError('denied', `you have reset ${identity} yourself: another owner has to say yes`, {
      hint: `ask one of them: keyman person show ${identity}, then keyman person enable ${identity}`,
    })
  const { shown, hidden } = passkeysBy(room.deps.ledger.facts, identity, await selectPasskeys(t, identity))
  if (hidden.length > 0)
    throw new KeymanError(
      'conflict',
      `the audit log knows a passkey of ${identity} that the database does not show: ${hidden.join(', ')}`,
      { hint: 'somebody changed the database: nobody says yes to what nobody sees; see the server log' },
    )
  if (shown.length === 0)
    throw new KeymanError('conflict', `${identity} has not made the new passkey yet: there is nothing to say yes to`, {
      hint: `the link may have ended; a new one: keyman person reset ${identity}`,
    })
  const links = await endLinks(t, { identity }, room.deps.now())
  return {
    facts: [...earlier.map(name => gone(resetId(identity, name))), ...goneLinks(room.deps.ledger.facts, links)],
    // One that is made meanwhile nobody has seen.
    confirmed: shown.map(({ id }) => id),
  }
}
