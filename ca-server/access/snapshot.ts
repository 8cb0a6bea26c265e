import { type ActionName, ROLE_ACTIONS } from '#shared/api/index.ts'
import {
  isWorkloadPrincipal,
  type PersonIdentity,
  type Place,
  type SubjectPrincipal,
  type WorkloadName,
  type WorkloadPrincipal,
  workloadNamed,
  workloadPrincipal,
} from '#shared/names.ts'
import type {
  Given,
  Grant,
  LoginGrant,
  NamedSubject,
  NamesGrant,
  OwnRole,
  PersonState,
  RoleGrant,
  Team,
} from './port.ts'
import type { PlaceRow } from './records.ts'

/** Pure: what decisions read, as it stood at one moment; a new one replaces it whole. */
export type Snapshot = {
  readonly persons: ReadonlyMap<PersonIdentity, KnownPerson>
  readonly workloads: ReadonlyMap<WorkloadPrincipal, KnownWorkload>
  readonly teams: ReadonlyMap<string, readonly PersonIdentity[]>
  /** Of logins. */
  readonly grants: readonly LoginGrant[]
  /** By `who`: a person's identity, `team:NAME`, or a workload's principal. */
  readonly grantsTo: ReadonlyMap<string, readonly LoginGrant[]>
  readonly rolesTo: ReadonlyMap<string, readonly RoleGrant[]>
  readonly namesTo: ReadonlyMap<string, readonly NamesGrant[]>
  readonly byId: ReadonlyMap<string, Grant>
  /** Those that are not built in, by name. */
  readonly roles: ReadonlyMap<string, KnownRole>
  readonly places: readonly PlaceRow[]
}
/** `gives`: of its actions those that this release has, and has in such a role. */
export type KnownRole = OwnRole & { readonly gives: readonly ActionName[] }
export type KnownPerson = PersonState & { readonly teams: readonly string[]; readonly epoch: bigint }
export type KnownWorkload = {
  readonly identity: WorkloadPrincipal
  readonly owner: false
  readonly teams: readonly []
  readonly epoch: bigint
}
/** Whoever grants give something to, with what is given to their teams. */
export type Holder = Omit<KnownPerson, 'state'> | KnownWorkload

export function makeSnapshot(rows: {
  readonly persons: readonly PersonState[]
  readonly workloads?: readonly WorkloadName[]
  readonly teams: readonly Team[]
  readonly grants: readonly Grant[]
  readonly roles?: readonly OwnRole[]
  readonly places?: readonly PlaceRow[]
  readonly epochs: ReadonlyMap<string, bigint>
}): Snapshot {
  const teamsOf = Map.groupBy(
    rows.teams.flatMap(team => team.members.map(member => ({ team: team.name, member }))),
    entry => entry.member,
  )
  const persons = new Map<PersonIdentity, KnownPerson>()
  for (const person of rows.persons) {
    // Somebody whose number was not read was enrolled meanwhile; the next snapshot knows them.
    const epoch = rows.epochs.get(personSubject(person.identity))
    if (epoch === undefined) continue
    const teams = (teamsOf.get(person.identity) ?? []).map(entry => entry.team)
    persons.set(person.identity, { ...person, teams, epoch })
  }
  const workloads = new Map<WorkloadPrincipal, KnownWorkload>()
  for (const identity of (rows.workloads ?? []).map(workloadPrincipal)) {
    const epoch = rows.epochs.get(identity)
    if (epoch !== undefined) workloads.set(identity, { identity, owner: false, teams: [], epoch })
  }
  const grants = rows.grants.filter(grant => grant.kind === 'login')
  return {
    persons,
    workloads,
    teams: new Map(rows.teams.map(team => [team.name, team.members])),
    grants,
    grantsTo: Map.groupBy(grants, grant => grant.who),
    rolesTo: Map.groupBy(
      rows.grants.filter(grant => grant.kind === 'role'),
      grant => grant.who,
    ),
    namesTo: Map.groupBy(
      rows.grants.filter(grant => grant.kind === 'names'),
      grant => grant.who,
    ),
    byId: new Map(rows.grants.map(grant => [grant.id, grant])),
    roles: new Map((rows.roles ?? []).map(role => [role.name, { ...role, gives: givenNow(role) }])),
    places: rows.places ?? [],
  }
}

/** What this release has of it, in the catalogue's order. */
const givenNow = ({ of, actions }: OwnRole): ActionName[] => ROLE_ACTIONS[of].filter(action => actions.includes(action))

/** The place that a grant names: where its role or its names hold, or where its hosts are. */
export function placeNamedBy(grant: Given): Place | undefined {
  if (grant.kind !== 'login') return grant.in
  return 'in' in grant.hosts ? grant.hosts.in : undefined
}

/** The name under which the ledger keeps a person's number. */
export const personSubject = (identity: string): string => `person:${identity}`

/** The same of a workload: its principal. */
export const subjectOf = ({ identity }: Pick<Holder, 'identity'>): string =>
  isWorkloadPrincipal(identity) ? identity : personSubject(identity)
/** Who has this principal. */
export const subjectNamed = (principal: SubjectPrincipal): NamedSubject =>
  isWorkloadPrincipal(principal)
    ? { kind: 'workload', name: workloadNamed(principal) }
    : { kind: 'person', identity: principal }
/** By which numbers something is decided of them. */
export const epochsOf = (holder: Holder) => [{ subject: subjectOf(holder), epoch: holder.epoch }]

/** The logins that count now for somebody, with those of their teams. */
export const liveGrantsOf = (snapshot: Snapshot, holder: Holder, now: Date): LoginGrant[] =>
  grantsTo(snapshot.grantsTo, holder).filter(grant => isLive(grant, now))

/** Those of somebody and of their teams, ended ones too. */
export const grantsTo = <Kind>(to: ReadonlyMap<string, readonly Kind[]>, { identity, teams }: Holder): Kind[] =>
  [identity, ...teams.map(team => `team:${team}`)].flatMap(who => to.get(who) ?? [])

export const isLive = (grant: Pick<Grant, 'endsAt'>, now: Date): boolean =>
  grant.endsAt === undefined || Date.parse(grant.endsAt) > now.getTime()

/** What would hold with one more, or with one that is changed: for questions before a change, so the persons and their numbers are those of now. */
export const withGrant = (snapshot: Snapshot, grant: Grant): Snapshot =>
  grant.kind === 'login'
    ? { ...snapshot, grants: [...snapshot.grants.filter(({ id }) => id !== grant.id), grant] }
    : snapshot
export const withMember = (snapshot: Snapshot, team: string, person: PersonIdentity): Snapshot => ({
  ...snapshot,
  teams: new Map(snapshot.teams).set(team, [...new Set([...(snapshot.teams.get(team) ?? []), person])]),
})
