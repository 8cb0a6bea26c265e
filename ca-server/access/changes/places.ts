import type { Ledger } from '#server/ledger/index.ts'
import { type Queryable, type Store, StoreError } from '#server/store/index.ts'
import type { Line } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  isOneSegment,
  isPlace,
  isWithin,
  isWorkloadName,
  type Place,
  parsePlace,
  placeOfWorkload,
  type WorkloadName,
} from '#shared/names.ts'
import { concernsPlaces, placeFact, placeId, shownGrants, workloadNames } from '../facts.ts'
import type { By, Grant, NewProject, Project, SelectableHost } from '../port.ts'
import { deletePlace, insertPlace, type PlaceRow, selectGrants, selectPlaces } from '../records.ts'
import { placeNamedBy } from '../snapshot.ts'
import { type ChangeDeps, change } from './change.ts'

/** Projects and their environments. */

type ContentDeps = {
  readonly ledger: Pick<Ledger, 'facts'>
  /** Every living host by the rows of this transaction; and, in words, those that the log has and these do not show. */
  readonly hostsShown: (
    t: Queryable,
  ) => Promise<{ readonly hosts: readonly SelectableHost[]; readonly hidden: readonly string[] }>
}
type ChangeOf = Pick<ChangeDeps, 'act' | 'now'> & {
  readonly ledger: Pick<Ledger, 'appendIn' | 'facts' | 'follow' | 'saysMore'>
}
export type PlaceDeps = ChangeOf & ContentDeps

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
export async function addProject(deps: ChangeOf, project: NewProject, by: By): Promise<void> {
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

/**
 * Throws `conflict` where something is left in it, naming that; or where something may be: of what the database does not show the log has no more
 * than a digest, but for environments and workloads, whose names say where they are.
 */
async function assertEmpty({ ledger: { facts }, hostsShown }: ContentDeps, t: Queryable, place: Place): Promise<void> {
  const hosts = await hostsShown(t)
  const grants = shownGrants(facts, await selectGrants(t))
  const left = contentsOf(place, {
    hosts: hosts.hosts,
    grants: grants.vouched,
    places: [...facts.ids(placeId(''))].map(id => id.slice(placeId('').length)),
    workloads: workloadNames(facts.ids).filter(isWorkloadName),
  })
  const hidden = [...hosts.hidden.map(host => `the host ${host}`), ...grants.hidden]
  const all = [
    ...left.places,
    ...left.hosts.map(({ name }) => `host ${name}`),
    ...left.workloads.map(name => `workload ${name}`),
    ...left.grants.map(({ id }) => id),
    ...hidden.map(what => `maybe ${what}, which the database does not show`),
  ]
  if (all.length === 0) return
  const more = all.length > SHOWN ? ` and ${all.length - SHOWN} more` : ''
  throw notEmpty(place, `${all.slice(0, SHOWN).join(', ')}${more}`, hidden.length === 0 ? TAKE_OUT : TAKE_OUT_HIDDEN)
}
const SHOWN = 8
const TAKE_OUT = 'take these out of it or away first'
const TAKE_OUT_HIDDEN = `${TAKE_OUT}: keyman host remove NAME and keyman grant remove ID go by the audit log; or try again, where another server changed it at this moment`

const notEmpty = (place: Place, what: string, hint: string): KeymanError =>
  new KeymanError('conflict', `${place} is not empty: ${what}`, { hint })

/** Throws `not-found`, and `conflict` where something is left in it, naming that. */
export async function removePlace(deps: PlaceDeps, place: Place, by: By): Promise<void> {
  const { ledger } = deps
  // One that another server took away a moment ago is none that is hidden.
  await ledger.follow()
  try {
    await change(deps, 'project remove', {}, by, async t => {
      await assertEmpty(deps, t, place)
      if ((await deletePlace(t, place)) === 0 && !ledger.facts.has(placeId(place))) throw noSuchPlace(place)
      await ledger.appendIn(t, [
        { ...by, kind: 'project-removed', target: place, facts: [{ id: placeId(place), is: null }] },
      ])
    })
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'foreign-key')
      throw notEmpty(place, 'something came into it at this moment', TAKE_OUT)
    throw error
  }
}

/** For whoever is to touch a passkey for its removal. Nobody is asked for what would be refused: throws as that does. */
export async function placeInWords(deps: ContentDeps, on: Queryable, place: Place): Promise<Line[]> {
  await assertEmpty(deps, on, place)
  return [
    { name: place.includes('/') ? 'Environment' : 'Project', value: place },
    { name: 'What is in it', value: 'nothing' },
  ]
}

export const noSuchPlace = (place: Place): KeymanError =>
  new KeymanError('not-found', `there is no ${place.includes('/') ? 'environment' : 'project'} ${place}`, {
    hint: 'see keyman project list; keyman project add makes one',
  })
