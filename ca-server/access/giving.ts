import type { Ledger } from '#server/ledger/index.ts'
import {
  type HostName,
  isPersonIdentity,
  type PersonIdentity,
  type Place,
  type SubjectPrincipal,
  workloadPrincipal,
} from '#shared/names.ts'
import { changedGrant } from './changes/change-grant.ts'
import { grantId, teamsOf } from './facts.ts'
import type { Access, Given, SelectableHost, Want } from './port.ts'
import { EVERYTHING_GRANTED, givenBy, powersOf } from './roles.ts'
import { personSubject, placeNamedBy, type Snapshot } from './snapshot.ts'

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
  /** Of a grant that the database does not show nobody knows whose it is, nor what it gives; in which teams somebody is says the log. */
  function being(who: SubjectPrincipal | `team:${string}`): Want[] {
    const snapshot = current()
    const teams = isPersonIdentity(who) ? teamsOf(facts.ids, who).map((team): `team:${string}` => `team:${team}`) : []
    const isHidden = [...facts.ids(grantId(''))].some(id => !snapshot.byId.has(id.slice(grantId('').length)))
    return [
      ...[who, ...teams].flatMap(each => powersOf(snapshot, each, now())),
      ...(isHidden ? EVERYTHING_GRANTED : []),
      ...(isPersonIdentity(who) && mayBeOwner(who) ? [want('owner.change')] : []),
    ]
  }
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
      changing: id => [want('grant.change', placeOfId(id))],
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
      touching: identity => (mayBeOwner(identity) ? [want('owner.change')] : []),
    },
    gives: {
      grant: givenBy,
      changed(id, { endsAt }) {
        const grant = current().byId.get(id)
        return grant ? givenBy(changedGrant(grant, { endsAt })) : EVERYTHING_GRANTED
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
