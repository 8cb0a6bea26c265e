import type { PersonIdentity } from '#shared/names.ts'
import type { Grant, PersonState, SelectableHost, Team } from './port.ts'

/** Pure: what decisions read, as it stood at one moment; a new one replaces it whole. */
export type Snapshot = {
  readonly persons: ReadonlyMap<PersonIdentity, KnownPerson>
  readonly teams: ReadonlyMap<string, readonly PersonIdentity[]>
  readonly grants: readonly Grant[]
  /** By `who`: a person's identity, or `team:NAME`. */
  readonly grantsTo: ReadonlyMap<string, readonly Grant[]>
}
export type KnownPerson = PersonState & { readonly teams: readonly string[]; readonly epoch: bigint }

export function makeSnapshot(rows: {
  readonly persons: readonly PersonState[]
  readonly teams: readonly Team[]
  readonly grants: readonly Grant[]
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
  return {
    persons,
    teams: new Map(rows.teams.map(team => [team.name, team.members])),
    grants: rows.grants,
    grantsTo: Map.groupBy(rows.grants, grant => grant.who),
  }
}

/** The name under which the ledger keeps a person's number. */
export const personSubject = (identity: string): string => `person:${identity}`

/** The grants that count now for a person, with those of their teams. `via` is `team:NAME` or the identity. */
export function liveGrantsOf(snapshot: Snapshot, person: KnownPerson, now: Date): Grant[] {
  const live: Grant[] = []
  for (const who of [person.identity, ...person.teams.map(team => `team:${team}`)])
    for (const grant of snapshot.grantsTo.get(who) ?? []) if (isLive(grant, now)) live.push(grant)
  return live
}

export const isLive = (grant: Grant, now: Date): boolean =>
  grant.endsAt === undefined || Date.parse(grant.endsAt) > now.getTime()

/** A selector without any label selects nothing: by an oversight it must not mean every host. */
export function selects(grant: Grant, host: SelectableHost): boolean {
  if ('host' in grant.hosts) return grant.hosts.host === host.name
  const wanted = Object.entries(grant.hosts.labels)
  return wanted.length > 0 && wanted.every(([key, value]) => host.labels[key] === value)
}

/** What would hold with one more: for questions before a change, so the persons and their numbers are those of now. */
export const withGrant = (snapshot: Snapshot, grant: Grant): Snapshot => ({
  ...snapshot,
  grants: [...snapshot.grants, grant],
})
export const withMember = (snapshot: Snapshot, team: string, person: PersonIdentity): Snapshot => ({
  ...snapshot,
  teams: new Map(snapshot.teams).set(team, [...new Set([...(snapshot.teams.get(team) ?? []), person])]),
})
