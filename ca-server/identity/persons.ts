import type { Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { endOf } from './links/redeem.ts'
import { confirmIn } from './links/reset.ts'
import type { Persons, PersonView } from './port.ts'
import { goneLinks, personFact, personId, resetBy } from './records/facts.ts'
import { endLinks } from './records/link-records.ts'
import { lockOwners, type PersonRow, selectPerson, updateOwner, updateState } from './records/person-records.ts'
import { announceChange } from './records/session-records.ts'
import { found, notWhatTheLogSays, vouchedPerson, vouchedPersons } from './records/vouched.ts'
import type { Room } from './room.ts'
import { endSessions } from './sessions/end-sessions.ts'
import type { Act, By } from './standing.ts'

export function createPersons(room: Room, act: Act): Persons {
  const { deps } = room
  const { ledger } = deps

  const view = (person: PersonRow): PersonView => toView(person, ledger.facts.ids)
  /** Whether the log says the same of the person, in this state or the other. */
  const isKnown = (person: PersonRow): boolean =>
    (['active', 'disabled'] as const).some(state => ledger.facts.holds(personFact({ ...person, state })))
  /** Whom the log knows and the database does not show: nobody is kept from being disabled by that. Throws `not-found`. */
  const unseen = (row: PersonRow | undefined, identity: PersonIdentity): PersonRow => {
    if (!ledger.facts.has(personId(identity))) return found(row, identity)
    const nothing = { owner: false, passkeys: 0, lastLoginAt: undefined, userHandle: new Uint8Array() }
    return { ...nothing, identity, state: 'active', createdAt: deps.now() }
  }
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
    list: async () => (await vouchedPersons(room)).map(view),
    show: async identity => view(found(await vouchedPerson(room, identity), identity)),

    async disable(identity, by, within = async () => []) {
      const attempt = (isLast: boolean) =>
        act(by, { name: 'person disable', changes: [personId(identity)] }, async t => {
          await assertNotTheLast(t, identity, by)
          const row = await selectPerson(t, identity)
          if (row?.identity !== identity && !isLast) throw new Unknown()
          const before = row?.identity === identity ? row : unseen(row, identity)
          if (!isKnown(before) && !isLast) throw new Unknown()
          await updateState(t, identity, 'disabled')
          const links = await endLinks(t, { identity }, deps.now())
          const { sessions, facts: ended } = await endSessions(room, t, { person: identity })
          const facts = [...ended, ...goneLinks(ledger.facts, links)]
          // By the log, or whoever writes 'disabled' into the row beforehand is not disabled when the row says 'active' again.
          // And what it does not say, it does not come to say by this: then no owner is disabled.
          const owner = isKnown(before) && before.owner
          const disabled = personFact({ ...before, owner, state: 'disabled' })
          const more = await within(t)
          // Said even where the log, as this server has followed it, says so already: another may have enabled the person just now.
          await ledger.appendIn(t, [
            {
              ...by,
              kind: 'person-disabled',
              target: identity,
              details: { sessions: sessions.length },
              facts: [disabled, ...facts],
            },
            ...more,
          ])
          return view({ ...before, state: 'disabled' })
        })
      const person = await followed(attempt)
      await room.sessions.refresh()
      return person
    },

    async enable(identity, by) {
      await ledger.follow()
      const attempt = (isLast: boolean) =>
        act(by, { name: 'person enable', changes: [personId(identity)] }, async t => {
          const before = found(await selectPerson(t, identity), identity)
          if (!ledger.facts.holds(personFact(before))) throw isLast ? notWhatTheLogSays(identity) : new Unknown()
          if (before.state === 'active') return view(before)
          // A reset that comes meanwhile makes it a yes to something else.
          const sinceEnd = endOf(room, identity)
          const yes = before.owner ? await confirmIn(room, t, before, by) : undefined
          await updateState(t, identity, 'active')
          await announceChange(t, [personId(identity)])
          await ledger.appendIn(t, [
            {
              ...by,
              kind: 'person-enabled',
              target: identity,
              sinceEnd,
              ...(yes && { confirmed: yes.confirmed }),
              facts: [personFact({ ...before, state: 'active' }), ...(yes?.facts ?? [])],
            },
          ])
          return view({ ...before, state: 'active' })
        })
      const person = await followed(attempt)
      await room.sessions.refresh()
      return person
    },

    async change(identity, { owner }, by) {
      await ledger.follow()
      const attempt = (isLast: boolean) =>
        act(by, { name: 'person change', changes: [personId(identity)] }, async t => {
          if (!owner) await assertNotTheLast(t, identity, by)
          const before = found(await selectPerson(t, identity), identity)
          if (!ledger.facts.holds(personFact(before))) throw isLast ? notWhatTheLogSays(identity) : new Unknown()
          if (before.owner === owner) return view(before)
          // Else whoever has reset somebody could have the rights back without the yes that they wait for.
          const sinceEnd = endOf(room, identity)
          const yes = owner ? await confirmIn(room, t, before, by) : undefined
          // What an owner has prepared ends with the right to, and so does what is under way: no row says of either that there is none.
          const ended = owner ? undefined : await endSessions(room, t, { person: identity })
          await updateOwner(t, identity, owner)
          await announceChange(t, [personId(identity)])
          const changed = { ...before, owner }
          await ledger.appendIn(t, [
            {
              ...by,
              kind: 'person-changed',
              target: identity,
              sinceEnd,
              details: { owner, sessions: ended?.sessions.length },
              ...(yes && { confirmed: yes.confirmed }),
              facts: [personFact(changed), ...(yes?.facts ?? []), ...(ended?.facts ?? [])],
            },
          ])
          return view(changed)
        })
      const person = await followed(attempt)
      await room.sessions.refresh()
      return person
    },
  }
}

/** The row is not what the log says, as far as it was followed. */
class Unknown extends Error {}
/** `resetBy`: by whom, where the new passkey waits for somebody's yes. */
function toView({ userHandle: _, ...person }: PersonRow, ids: Ledger['facts']['ids']): PersonView {
  const waits = person.owner && person.state === 'disabled'
  return { ...person, resetBy: waits ? resetBy(ids, person.identity)[0] : undefined }
}

/** On every path that takes an owner away. */
async function assertNotTheLast(t: Queryable, identity: PersonIdentity, { standing }: By): Promise<void> {
  const owners = await lockOwners(t)
  // Another who asks is one, whomever the database names: nobody keeps from being disabled by hiding the others.
  const caller = standing?.caller
  const isAsked = caller?.kind === 'person' && caller.owner && caller.identity !== identity
  if (!isAsked && owners.length === 1 && owners[0] === identity)
    throw new KeymanError('conflict', `${identity} is the last owner who could sign in`, {
      hint: 'make another one first: keyman person invite --owner, or keyman person change --owner yes',
    })
}
