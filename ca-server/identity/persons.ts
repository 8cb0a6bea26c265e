import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { endLinks } from './link-records.ts'
import { refuseConsented } from './login-records.ts'
import { lockAdministrators, selectPerson, selectPersons, updateState } from './person-records.ts'
import type { Act, Persons } from './port.ts'
import type { Room } from './room.ts'
import { announceChange, endSessionRows, type WhoseSessions } from './session-records.ts'

export function createPersons(room: Room, act: Act): Persons {
  const { deps } = room
  const { store, ledger } = deps

  async function show(on: Queryable, identity: PersonIdentity) {
    const person = await selectPerson(on, identity)
    if (!person)
      throw new KeymanError('not-found', `there is no person ${identity}`, { hint: 'see keyman person list' })
    return person
  }

  return {
    list: () => selectPersons(store),
    show: identity => show(store, identity),

    async disable(identity, by, within = async () => []) {
      const person = await act(by, { name: 'person disable', changes: [`person:${identity}`] }, async t => {
        const administrators = await lockAdministrators(t)
        if (administrators.length === 1 && administrators[0] === identity)
          throw new KeymanError('conflict', `${identity} is the last administrator who could sign in`, {
            hint: 'make another one first: keyman person invite --administrator',
          })
        const before = await show(t, identity)
        await updateState(t, identity, 'disabled')
        const sessions = (await endSessions(room, t, { person: identity })).length
        const more = await within(t)
        if (before.state === 'active' || sessions > 0 || more.length > 0)
          await ledger.appendIn(t, [
            { ...by, kind: 'person-disabled', target: identity, details: { sessions } },
            ...more,
          ])
        return { ...before, state: 'disabled' as const }
      })
      await room.sessions.refresh()
      return person
    },

    async enable(identity, by) {
      const person = await act(by, { name: 'person enable', changes: [`person:${identity}`] }, async t => {
        const before = await show(t, identity)
        if (before.state === 'active') return before
        await updateState(t, identity, 'active')
        await announceChange(t, [`person:${identity}`])
        await ledger.appendIn(t, [{ ...by, kind: 'person-enabled', target: identity }])
        return { ...before, state: 'active' as const }
      })
      await room.sessions.refresh()
      return person
    },
  }
}

/**
 * The room's `endSessions`; gives their IDs. With all of a person's end the invitations that the person made and nobody has
 * used: whoever had the sessions may have made them.
 */
export async function endSessions({ deps }: Room, t: Queryable, by: WhoseSessions): Promise<string[]> {
  // First what was consented to: whoever is redeeming it is waited for, and its session is then found by the next statement.
  if ('person' in by) await refuseConsented(t, by.person)
  if ('person' in by) await endLinks(t, { createdBy: by.person }, deps.now())
  const ids = await endSessionRows(t, by, deps.now())
  await announceChange(t, 'person' in by ? [`person:${by.person}`] : ids.map(id => `session:${id}`))
  return ids
}
