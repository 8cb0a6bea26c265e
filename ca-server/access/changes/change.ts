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
import { membersOf } from '../facts.ts'
import type { By, SelectableHost } from '../port.ts'
import { selectMembers } from '../records.ts'
import { personSubject, type Snapshot } from '../snapshot.ts'

/**
 * What the changes have in common. Each is one transaction: first the numbers of everybody whom it touches, then the change, then its record
 * (invariant 2). Whoever changes a team, or what a team may do, takes the team's own number first and its members' after:
 * so a person who joins at the same moment is never missed, and nobody waits for the other in a circle.
 */

export type ChangeDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'appendIn' | 'facts' | 'follow' | 'vouched' | 'recordOf'>
  readonly act: Act
  readonly now: () => Date
  readonly random: (bytes: number) => Uint8Array
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
  touched: Pick<Acting, 'teams' | 'changes'>,
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
  if (who === undefined) return { changes: async () => [...facts.ids(personSubject(''))] }
  if (isPersonIdentity(who)) return { changes: [personSubject(who)] }
  if (isWorkloadPrincipal(who)) return { changes: [who] }
  const team = parseTeamName(who.replace(/^team:/, ''), 'who')
  return {
    teams: [`team:${team}`],
    // A new statement sees the members as they are under the team's lock.
    changes: async t =>
      [...new Set<string>([...((await selectMembers(t, team)) ?? []), ...membersOf(facts.ids, team)])].map(
        personSubject,
      ),
  }
}

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
