import type { Ledger } from '#server/ledger/index.ts'
import {
  type HostName,
  isPersonIdentity,
  type PersonIdentity,
  type Place,
  type SubjectPrincipal,
  workloadPrincipal,
} from '#shared/names.ts'
import { changedGrant, isWider } from './changes/change-grant.ts'
import { hiddenGrants, roleId, teamsOf } from './facts.ts'
import type { Access, Given, SelectableHost, Want } from './port.ts'
import { EVERYTHING_GRANTED, endOf, givenBy, powersOf } from './roles.ts'
import { isLive, personSubject, placeNamedBy, type Snapshot } from './snapshot.ts'

type GivingDeps = {
  readonly current: () => Snapshot
  readonly now: () => Date
  readonly facts: Pick<Ledger['facts'], 'has' | 'ids'>
  readonly hostNamed: (name: HostName) => SelectableHost | undefined
}

/** What a change takes of whoever makes it, and what it gives others, by what is known now. What is not shown may be anything. */
export function createGiving({
  current,
  now,
  facts,
  hostNamed,
}: GivingDeps): Pick<Access, 'takes' | 'gives' | 'placeOf'> {
  /** Whom the log knows and the database does not show may be anybody. */
  function mayBeOwner(identity: PersonIdentity): boolean {
    const known = current().persons.get(identity)
    return known ? known.owner : facts.has(personSubject(identity))
  }
  const isGrantHidden = (): boolean => hiddenGrants(facts.ids, current().byId).length > 0
  /** One that the log has and the database does not show, or not as it is, may give anything. */
  const isRoleHidden = (name: string): boolean => !current().roles.has(name) && facts.has(roleId(name))
  /** Of a grant that the database does not show nobody knows whose it is, nor what it gives; in which teams somebody is says the log. */
  function being(who: SubjectPrincipal | `team:${string}`): Want[] {
    const snapshot = current()
    const teams = isPersonIdentity(who) ? teamsOf(facts.ids, who).map((team): `team:${string}` => `team:${team}`) : []
    const isHidden = isGrantHidden() || [...facts.ids(roleId(''))].some(id => isRoleHidden(id.slice(roleId('').length)))
    return [
      ...[who, ...teams].flatMap(each => powersOf(snapshot, each, now())),
      ...(isHidden ? EVERYTHING_GRANTED : []),
      ...(isPersonIdentity(who) && mayBeOwner(who) ? [want('owner.change')] : []),
    ]
  }
  /** Whoever comes into their place, or into this team, has these; by a link or a name that they had before, too. */
  function logins(who: PersonIdentity | `team:${string}`): Want[] {
    const teams = isPersonIdentity(who) ? teamsOf(facts.ids, who).map(team => `team:${team}`) : []
    const given = [...current().byId.values()].filter(
      grant => grant.kind === 'login' && [who, ...teams].includes(grant.who) && isLive(grant, now()),
    )
    return [...new Set(given.map(placeOf))].map(place => want('grant.add', place))
  }
  /** Of a role the right to give it, too, though it gave nothing at the moment: no mandate covers giving one. */
  const byGrant = (grant: Given): Want[] => [
    ...(grant.kind === 'role' ? [want('grant.add', grant.in)] : []),
    ...givenBy(current(), grant),
  ]
  /** Of one host where that host is; of labels alone nowhere less than everywhere. */
  function placeOf(grant: Given): Place | undefined {
    const place = placeNamedBy(grant)
    if (place !== undefined || grant.kind !== 'login') return place
    return 'host' in grant.hosts ? hostNamed(grant.hosts.host)?.place : undefined
  }
  const placeOfId = (id: string): Place | undefined => {
    const grant = current().byId.get(id)
    return grant && placeOf(grant)
  }
  return {
    placeOf,
    takes: {
      giving: grant => [want('grant.add', placeOf(grant))],
      changing(id, change) {
        const grant = current().byId.get(id)
        const place = grant && placeOf(grant)
        const gives = grant?.kind === 'login' && isWider(grant, changedGrant(grant, change))
        return [want('grant.change', place), ...(gives ? [want('grant.add', place)] : [])]
      },
      takingAway: id => [want('grant.remove', placeOfId(id))],
      changingHost(place, { labels, in: to }) {
        const places = to === undefined ? [place] : [place, to ?? undefined]
        const gives = to !== undefined || labels !== undefined
        return places.flatMap(where => [want('host.change', where), ...(gives ? [want('grant.add', where)] : [])])
      },
      addingPlaces({ name, environments }) {
        const isWithin = environments.length > 0 && current().places.some(place => place.name === name)
        return [want('project.add', isWithin ? name : undefined)]
      },
      becoming(name) {
        const who = workloadPrincipal(name)
        const given = [...current().byId.values()].filter(grant => grant.who === who)
        return [...given.map(grant => want('grant.add', placeOf(grant))), ...being(who)]
      },
      logins,
      touching: identity => (mayBeOwner(identity) ? [want('owner.change')] : []),
    },
    gives: {
      grant: byGrant,
      changed(id, { endsAt }) {
        const grant = current().byId.get(id)
        if (!grant || (grant.kind === 'role' && isRoleHidden(grant.role))) return EVERYTHING_GRANTED
        return byGrant(changedGrant(grant, { endsAt }))
      },
      role(name, { add }) {
        const { roles, byId } = current()
        const added = add.filter(action => !roles.get(name)?.gives.includes(action))
        const given = [...byId.values()].filter(grant => grant.kind === 'role' && grant.role === name)
        const gained = given.flatMap(grant => {
          if (grant.kind !== 'role' || !isLive(grant, now())) return []
          return added.map(action => ({ ...want(action, grant.in), until: endOf(grant.endsAt) }))
        })
        const mayBeAnybodys = isGrantHidden() || isRoleHidden(name)
        return mayBeAnybodys ? [...gained, ...added.map(action => ({ ...want(action), until: Infinity }))] : gained
      },
      invitation: ({ identity, owner }) => [...being(identity), ...(owner ? [want('owner.change')] : [])],
      being,
    },
  }
}

const want = (action: Want['action'], place?: Place): Want => ({
  action,
  ...(place === undefined ? {} : { in: place }),
})
