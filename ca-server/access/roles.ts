import { ROLES, type RoleName } from '#shared/api/index.ts'
import { scopeText } from '#shared/grant-text.ts'
import { isWithin, type PersonIdentity, type Place } from '#shared/names.ts'
import type { Grant, NewGrant, Want } from './port.ts'
import { isLive, type KnownPerson, type Snapshot } from './snapshot.ts'

/** Pure: what roles let somebody do, and where. */

/** A role that somebody has; without `in` on the whole organisation. */
type HeldRole = { readonly role: RoleName | 'owner'; readonly in?: Place | undefined; readonly via: string }

/** By their own grants, by those of their teams, and as an owner. */
export function rolesOf(snapshot: Snapshot, person: KnownPerson, now: Date): HeldRole[] {
  const granted = [person.identity, ...person.teams.map(team => `team:${team}`)].flatMap(who =>
    liveRoles(snapshot, who, now),
  )
  return person.owner ? [{ role: 'owner', via: person.identity }, ...granted] : granted
}

const liveRoles = (snapshot: Snapshot, who: string, now: Date): HeldRole[] =>
  (snapshot.rolesTo.get(who) ?? [])
    .filter(grant => isLive(grant, now))
    .map(({ role, in: where }) => ({ role, in: where, via: who }))

/** Whether this role is enough. A role on a project is one on its environments; what is done to the organisation takes one on it. */
const covers = (held: HeldRole, { action, in: where }: Want): boolean =>
  ROLES[held.role].includes(action) &&
  (held.in === undefined || where === 'anywhere' || (where !== undefined && isWithin(where, held.in)))

export const rolesThatGive = (held: readonly HeldRole[], want: Want): HeldRole[] =>
  held.filter(role => covers(role, want))

/** The first of these that no role gives. */
export const missing = (held: readonly HeldRole[], wants: readonly Want[]): Want | undefined =>
  wants.find(want => !held.some(role => covers(role, want)))

/** All that a role gives, one by one: nobody gives more than they have, and what they give is all of this. */
export const allOf = ({ role, in: where }: Pick<HeldRole, 'role' | 'in'>): Want[] =>
  ROLES[role].map(action => ({ action, ...(where === undefined ? {} : { in: where }) }))

/** What whoever gets the place of this person, or comes into this team, can do by it; disabled or not. */
export function powersOf(snapshot: Snapshot, who: PersonIdentity | `team:${string}`, now: Date): Want[] {
  const person = [...snapshot.persons.values()].find(({ identity }) => identity === who)
  return (person ? rolesOf(snapshot, person, now) : liveRoles(snapshot, who, now)).flatMap(allOf)
}

/** What somebody gives who gives this. */
export const givenBy = (grant: Grant | NewGrant): Want[] => (grant.kind === 'role' ? allOf(grant) : [])

export const wantText = ({ action, in: where }: Want): string =>
  `${action} on ${where === 'anywhere' ? 'anything' : scopeText(where)}`
export const roleText = ({ role, in: where, via }: HeldRole): string => `${role} on ${scopeText(where)} by ${via}`
