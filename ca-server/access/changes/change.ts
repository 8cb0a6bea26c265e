import type { Act, Acting } from '#server/identity/index.ts'
import type { Ledger } from '#server/ledger/index.ts'
import type { Queryable, Store } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  type HostName,
  isPersonIdentity,
  isWorkloadPrincipal,
  type Place,
  parseTeamName,
  type WorkloadName,
} from '#shared/names.ts'
import { membersOf, workloadNames } from '../facts.ts'
import type { By, SelectableHost } from '../port.ts'
import { selectMembers } from '../records.ts'
import { type KnownRole, personSubject, type Snapshot } from '../snapshot.ts'

/**
 * What the changes have in common. Each is one transaction: first the numbers of everybody whom it touches, then the change, then its record
 * (invariant 2). Whoever changes a team, or what a team may do, takes the team's own number first and its members' after, and the number of an
 * own role before these:
 * so a person who joins at the same moment is never missed, and nobody waits for the other in a circle.
 */

export type ChangeDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'appendIn' | 'facts' | 'follow' | 'saysMore' | 'vouched' | 'recordOf'>
  /** Waits until what the log says by now is decided by. */
  readonly catchUp: () => Promise<void>
  readonly act: Act
  readonly now: () => Date
  readonly random: (bytes: number) => Uint8Array
  /** The own role of this name, as it is decided by. */
  readonly ownRole: (name: string) => KnownRole | undefined
  /** The living host of this name. */
  readonly hostNamed: (name: HostName) => SelectableHost | undefined
  /** Whether there is this workload, by rows of this transaction and by the log. */
  readonly isWorkload: (t: Queryable, name: WorkloadName) => Promise<boolean>
  /** Throws `not-found` for a project or environment that is not there. */
  readonly assertIsThere: (place: Place) => void
  /** Throws where hosts could not be told what holds after this change: `change` makes that of what holds now. */
  readonly assertFits: (change: (now: Snapshot) => Snapshot, field: string) => void
}

/** The notification goes out with the commit. */
export const change = <T>(
  { act }: Pick<ChangeDeps, 'act'>,
  name: string,
  touched: Pick<Acting, 'roles' | 'teams' | 'changes'>,
  by: By,
  work: (t: Queryable) => Promise<T>,
): Promise<T> =>
  act(by, { name, ...touched }, async t => {
    const result = await work(t)
    await t.execute(`select pg_notify('access', $1)`, [name])
    return result
  })

/**
 * Whoever has what is given to this person or team: of a team its members, those too whom the log has in it and the database does not show.
 * Where nobody knows to whom it is, everybody.
 */
export function holders({ facts }: Pick<Ledger, 'facts'>, who: string | undefined): Pick<Acting, 'teams' | 'changes'> {
  return holdersOfAll({ facts }, async () => (who === undefined ? everybody(facts) : [who]))
}

/** The same of several, asked for under the locks of what they have. */
export function holdersOfAll(
  { facts }: Pick<Ledger, 'facts'>,
  ask: (t: Queryable) => Promise<readonly string[]>,
): Pick<Acting, 'teams' | 'changes'> {
  const teamsOf = (all: readonly string[]) =>
    all.filter(who => !isPersonIdentity(who) && !isWorkloadPrincipal(who)).map(who => who.replace(/^team:/, ''))
  return {
    teams: async t => [...new Set(teamsOf(await ask(t)).map(team => `team:${team}`))],
    async changes(t) {
      const all = await ask(t)
      const touched = new Set<string>(all.filter(isWorkloadPrincipal))
      for (const person of all.filter(isPersonIdentity)) touched.add(personSubject(person))
      // A new statement sees the members as they are under the team's lock.
      for (const team of teamsOf(all).map(name => parseTeamName(name, 'who')))
        for (const member of [...((await selectMembers(t, team)) ?? []), ...membersOf(facts.ids, team)])
          touched.add(personSubject(member))
      return [...touched]
    },
  }
}

/** Everybody who may have been given something, by the log: as grants name them. Their teams need not be taken: all that these have is theirs. */
export const everybody = ({ ids }: Ledger['facts']): string[] => [
  ...[...ids(personSubject(''))].map(id => id.slice(personSubject('').length)),
  ...workloadNames(ids).map(name => `workload:${name}`),
]

/** As rows say who made something. */
export const makerOf = ({ actor }: By): string => (actor.kind === 'person' ? actor.identity : actor.kind)

/** Throws `invalid-input` where its end has passed. */
export function assertToCome({ endsAt }: { readonly endsAt?: string | undefined }, now: Date): void {
  if (endsAt === undefined || Date.parse(endsAt) > now.getTime()) return
  throw new KeymanError('invalid-input', `endsAt: ${endsAt} has passed`, {
    fields: [{ field: 'endsAt', message: 'must be in the future' }],
  })
}

export const noSuchGrant = (id: string): KeymanError =>
  new KeymanError('not-found', `there is no grant ${id}`, { hint: 'see `keyman grant list`' })

export const wholeSeconds = (time: string): string => new Date(Math.floor(Date.parse(time) / 1000) * 1000).toISOString()
