import type { Ledger } from '#server/ledger/index.ts'
import { type Store, StoreError } from '#server/store/index.ts'
import type { Line } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  isOneSegment,
  isPlace,
  isWithin,
  type Place,
  parsePlace,
  placeOfWorkload,
  type WorkloadName,
} from '#shared/names.ts'
import { concernsPlaces, placeFact, placeId, shownGrants } from '../facts.ts'
import type { By, Grant, NewProject, Project, SelectableHost } from '../port.ts'
import { deletePlace, insertPlace, type PlaceRow, selectGrants, selectPlaces } from '../records.ts'
import { placeNamedBy } from '../snapshot.ts'
import { type ChangeDeps, change } from './change.ts'

/** Projects and their environments. */

type PlaceDeps = Pick<ChangeDeps, 'act' | 'now'> & {
  readonly ledger: Pick<Ledger, 'appendIn' | 'facts' | 'follow' | 'saysMore'>
}

export const vouchedPlaces = ({
  store,
  ledger,
}: {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'vouched'>
}): Promise<PlaceRow[]> =>
  ledger.vouched(
    () => selectPlaces(store),
    ({ name }) => [placeFact(name)],
    placeId(''),
  )

/** Pure: a project each, with the environments of it. */
export function toProjects(rows: readonly PlaceRow[]): Project[] {
  const within = Map.groupBy(rows, ({ name }) => name.split('/')[0] ?? name)
  return rows
    .filter(({ name }) => isOneSegment(name))
    .map(({ name, createdAt }) => ({
      name: parsePlace(name, 'name'),
      environments: (within.get(name) ?? []).map(row => row.name).filter(other => isPlace(other) && other !== name),
      createdAt: createdAt.toISOString(),
    }))
}

/** Makes what is new of it. Throws `conflict` where all of it is there already. */
export async function addProject(deps: PlaceDeps, project: NewProject, by: By): Promise<void> {
  const { now, ledger } = deps
  const wanted = [project.name, ...project.environments.map(environment => `${project.name}/${environment}`)]
  const changing = () => new KeymanError('conflict', `${project.name} changes at this moment`, { hint: 'try again' })
  await ledger.follow()
  try {
    await change(deps, 'project add', {}, by, async t => {
      const added: string[] = []
      for (const name of wanted) if (await insertPlace(t, parsePlace(name, 'name'), now())) added.push(name)
      const isSaid = (name: string) => ledger.facts.holds(placeFact(name))
      // Said twice, it would be another one than that which things were put into meanwhile; not at all, none.
      const isStrange = wanted.some(name => added.includes(name) === isSaid(name))
      if (isStrange && (await ledger.saysMore(t, concernsPlaces))) throw changing()
      // By the log: a row that it does not vouch for is nothing, and stands in the way of none that is.
      const isNew = wanted.filter(name => !isSaid(name))
      if (isNew.length === 0)
        throw new KeymanError('conflict', `${wanted.join(', ')} ${wanted.length === 1 ? 'is' : 'are'} there already`, {
          hint:
            added.length === 0
              ? 'see keyman project list'
              : `the database does not show ${added.join(', ')}: an operator has to look at it`,
        })
      await ledger.appendIn(t, [
        { ...by, kind: 'project-added', target: project.name, details: { added: isNew }, facts: isNew.map(placeFact) },
      ])
    })
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'foreign-key') throw changing()
    throw error
  }
}

/** What is in a place, by what is known now. */
export function contentsOf(
  place: Place,
  {
    hosts,
    grants,
    places,
    workloads,
  }: {
    hosts: readonly SelectableHost[]
    grants: Iterable<Grant>
    places: readonly string[]
    workloads: readonly WorkloadName[]
  },
) {
  const isHere = (other: Place | undefined): boolean => other !== undefined && isWithin(other, place)
  return {
    places: places.filter(isPlace).filter(other => other !== place && isHere(other)),
    hosts: hosts.filter(host => isHere(host.place)),
    grants: [...grants].filter(grant => isHere(placeNamedBy(grant))),
    workloads: workloads.filter(name => isHere(placeOfWorkload(name))),
  }
}

/** Throws `not-found`, and `conflict` where something is left in it, naming that. */
export async function removePlace(
  deps: PlaceDeps,
  place: Place,
  left: () => ReturnType<typeof contentsOf>,
  by: By,
): Promise<void> {
  const refuse = (what: string): KeymanError =>
    new KeymanError('conflict', `${place} is not empty: ${what}`, { hint: 'take these out of it or away first' })
  const { ledger } = deps
  // One that another server took away a moment ago is none that is hidden.
  await ledger.follow()
  try {
    await change(deps, 'project remove', {}, by, async t => {
      const { places, hosts, grants, workloads } = left()
      const all = [
        ...places,
        ...hosts.map(({ name }) => `host ${name}`),
        ...workloads.map(name => `workload ${name}`),
        ...grants.map(({ id }) => id),
        // Any of these may be of this place: put back later it would give what it gave in the next one of its name.
        ...shownGrants(ledger.facts, await selectGrants(t)).hidden.map(
          id => `maybe ${id}, which the database does not show`,
        ),
      ]
      const more = all.length > SHOWN ? ` and ${all.length - SHOWN} more` : ''
      if (all.length > 0) throw refuse(`${all.slice(0, SHOWN).join(', ')}${more}`)
      if ((await deletePlace(t, place)) === 0 && !ledger.facts.has(placeId(place))) throw noSuchPlace(place)
      await ledger.appendIn(t, [
        { ...by, kind: 'project-removed', target: place, facts: [{ id: placeId(place), is: null }] },
      ])
    })
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'foreign-key')
      throw refuse('something came into it at this moment')
    throw error
  }
}

const SHOWN = 8

export const placeInWords = (
  place: Place,
  { places, hosts, grants, workloads }: ReturnType<typeof contentsOf>,
): Line[] => [
  { name: place.includes('/') ? 'Environment' : 'Project', value: place },
  {
    name: 'What is in it',
    value:
      places.length + hosts.length + grants.length + workloads.length === 0
        ? 'nothing'
        : `${places.length} environments, ${hosts.length} hosts, ${workloads.length} workloads, ${grants.length} grants`,
  },
]

export const noSuchPlace = (place: Place): KeymanError =>
  new KeymanError('not-found', `there is no ${place.includes('/') ? 'environment' : 'project'} ${place}`, {
    hint: 'see keyman project list; keyman project add makes one',
  })
