import { type ActionName, isBuiltInRole, lettingIn, ROLES } from '#shared/api/index.ts'
import { scopeText } from '#shared/grant-text.ts'
import { isPersonIdentity, isWithin, isWorkloadPrincipal, type Place, type SubjectPrincipal } from '#shared/names.ts'
import type { Given, Want } from './port.ts'
import { type Holder, isLive, type Snapshot } from './snapshot.ts'

/** Pure: what roles let somebody do, and where. */

/** A role that somebody has; without `in` on the whole organisation. `until`: when it ends, Unix milliseconds, Infinity for good. */
type HeldRole = {
  readonly role: string
  readonly actions: readonly ActionName[]
  readonly in?: Place | undefined
  readonly until: number
  readonly via: string
}

const OWNER = { role: 'owner', actions: ROLES.owner, until: Infinity } as const

/** What a role gives where it was given for this. One that is not there gives nothing, nor does one that was given for what it is not for. */
export function actionsOf(
  snapshot: Pick<Snapshot, 'roles'>,
  { role, in: where }: { readonly role: string; readonly in?: Place | undefined },
): readonly ActionName[] {
  if (isBuiltInRole(role)) return ROLES[role]
  const own = snapshot.roles.get(role)
  return own?.of === (where === undefined ? 'organisation' : 'place') ? own.gives : []
}

/** Whether it has what this release has not: that gives nothing here, and at a server that knows it, or after an upgrade, may give anything. */
function hasUnknown({ roles }: Pick<Snapshot, 'roles'>, { role }: Pick<HeldRole, 'role'>): boolean {
  const own = isBuiltInRole(role) ? undefined : roles.get(role)
  return own?.actions.some(action => !own.gives.some(given => given === action)) ?? false
}

/** By their own grants, by those of their teams, and as an owner. */
export function rolesOf(
  snapshot: Snapshot,
  person: Pick<Holder, 'identity' | 'owner' | 'teams'>,
  now: Date,
): HeldRole[] {
  const granted = [person.identity, ...person.teams.map(team => `team:${team}`)].flatMap(who =>
    liveRoles(snapshot, who, now),
  )
  return person.owner ? [{ ...OWNER, via: person.identity }, ...granted] : granted
}

const liveRoles = (snapshot: Snapshot, who: string, now: Date): HeldRole[] =>
  (snapshot.rolesTo.get(who) ?? [])
    .filter(grant => isLive(grant, now))
    .map(grant => ({
      role: grant.role,
      actions: actionsOf(snapshot, grant),
      in: grant.in,
      until: endOf(grant.endsAt),
      via: who,
    }))
    // Held when it is given and when a role is changed; here too, so that it hangs on neither.
    .filter(({ actions }) => !isWorkloadPrincipal(who) || lettingIn(actions).length === 0)

export const endOf = (endsAt: string | undefined): number => (endsAt === undefined ? Infinity : Date.parse(endsAt))

/**
 * Whether this role is enough. A role on a project is one on its environments; what is done to the organisation takes one on it; what is
 * given for longer than the role lasts takes a longer one.
 */
const covers = (held: HeldRole, { action, in: where, until = 0 }: Want): boolean =>
  held.actions.includes(action) &&
  held.until >= until &&
  (held.in === undefined || where === 'anywhere' || (where !== undefined && isWithin(where, held.in)))

export const rolesThatGive = (held: readonly HeldRole[], want: Want): HeldRole[] =>
  held.filter(role => covers(role, want))

/** The first of these that no role gives. */
export const missing = (held: readonly HeldRole[], wants: readonly Want[]): Want | undefined =>
  wants.find(want => !held.some(role => covers(role, want)))

/** All that these give, one by one: nobody gives more than they have, and what they give is all of this. */
const allOfEach = (snapshot: Snapshot, held: readonly HeldRole[]): Want[] => [
  ...held.flatMap(allOf),
  ...(held.some(role => hasUnknown(snapshot, role)) ? EVERYTHING_GRANTED : []),
]
const allOf = ({ actions, in: where, until }: Pick<HeldRole, 'actions' | 'in' | 'until'>): Want[] =>
  actions.map(action => ({ action, until, ...(where === undefined ? {} : { in: where }) }))

/** What any grant at all may give: of one that is not known. */
export const EVERYTHING_GRANTED: readonly Want[] = allOf({ actions: ROLES.administrator, until: Infinity })

/** What whoever gets the place of this person or workload, or comes into this team, can do by it; disabled, or not enrolled yet, or not. */
export function powersOf(snapshot: Snapshot, who: SubjectPrincipal | `team:${string}`, now: Date): Want[] {
  if (!isPersonIdentity(who)) return allOfEach(snapshot, liveRoles(snapshot, who, now))
  const teams = [...snapshot.teams].filter(([, members]) => members.includes(who)).map(([team]) => team)
  const person = snapshot.persons.get(who) ?? { identity: who, owner: false, teams }
  return allOfEach(snapshot, rolesOf(snapshot, person, now))
}

/** What somebody gives who gives this. */
export function givenBy(snapshot: Snapshot, grant: Given): Want[] {
  if (grant.kind !== 'role') return []
  const { role, in: where, endsAt, who } = grant
  return allOfEach(snapshot, [{ role, actions: actionsOf(snapshot, grant), in: where, until: endOf(endsAt), via: who }])
}

export const wantText = ({ action, in: where, until }: Want): string =>
  `${action} on ${where === 'anywhere' ? 'anything' : scopeText(where)}${lastsText(until)}`
export const lastsText = (until: number | undefined): string => {
  if (until === undefined) return ''
  return until === Infinity ? ', for good' : `, until ${new Date(until).toISOString()}`
}
export const roleText = ({ role, in: where, via }: HeldRole): string => `${role} on ${scopeText(where)} by ${via}`
