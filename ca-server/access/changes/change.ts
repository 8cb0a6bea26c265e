import type { Act, Acting } from '#server/identity/index.ts'
import type { Entry, Ledger } from '#server/ledger/index.ts'
import { type Queryable, type Store, StoreError } from '#server/store/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { canonicalJson } from '#shared/canonical-json.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  type HostName,
  isPersonIdentity,
  type PersonIdentity,
  type Place,
  parseTeamName,
  type TeamName,
} from '#shared/names.ts'
import { describe } from '../describe.ts'
import { givenTo, grantFact, memberFact, memberId } from '../facts.ts'
import type { By, Grant, NewGrant, SelectableHost, Team, TeamChange } from '../port.ts'
import { deleteMember, insertGrant, insertMember, selectGrantsTo, selectMembers } from '../records.ts'
import { personSubject, placeNamedBy, type Snapshot, withGrant, withMember } from '../snapshot.ts'

export type ChangeDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'appendIn' | 'facts' | 'follow' | 'vouched' | 'recordOf'>
  readonly act: Act
  readonly now: () => Date
  readonly random: (bytes: number) => Uint8Array
  /** The living host of this name. */
  readonly hostNamed: (name: HostName) => SelectableHost | undefined
  /** Throws `not-found` for a project or environment that is not there. */
  readonly assertIsThere: (place: Place) => void
  /** Throws where hosts could not be told what holds after this change: `change` makes that of what holds now. */
  readonly assertFits: (change: (now: Snapshot) => Snapshot, field: string) => void
}

/**
 * Each change is one transaction: first the numbers of everybody whom it touches, then the change, then its record
 * (invariant 2). Whoever changes a team, or what a team may do, takes the team's own number first and its members' after:
 * so a person who joins at the same moment is never missed, and nobody waits for the other in a circle.
 */
export async function addGrant(deps: ChangeDeps, grant: NewGrant, by: By): Promise<Grant> {
  if (grant.kind === 'login' && 'host' in grant.hosts && !deps.hostNamed(grant.hosts.host))
    throw new KeymanError('not-found', `there is no host ${grant.hosts.host}`, { hint: 'see `keyman host list`' })
  const place = placeNamedBy(grant)
  if (place !== undefined) deps.assertIsThere(place)
  assertToCome(grant, deps.now())
  const added: Grant = {
    ...grant,
    id: `grant_${toBase64Url(deps.random(12))}`,
    // One spelling, with the fractions cut off: sshd's expiry-time has whole seconds.
    ...(grant.endsAt === undefined ? {} : { endsAt: wholeSeconds(grant.endsAt) }),
    createdAt: deps.now().toISOString(),
    createdBy: by.actor.kind === 'person' ? by.actor.identity : by.actor.kind,
  }
  deps.assertFits(now => withGrant(now, added), 'who')
  const looked = new Set<string>()
  for (;;) {
    try {
      await change(deps, 'grant add', holders(added.who), by, async t => {
        await refuseSame(deps, t, added, looked)
        await insertGrant(t, added)
        await deps.ledger.appendIn(t, [
          {
            ...by,
            kind: 'grant-added',
            target: added.id,
            details: { ...givenTo(added), words: describe(added) },
            facts: [grantFact(added)],
          },
        ])
      })
      return added
    } catch (error) {
      if (error instanceof StoreError && error.kind === 'foreign-key')
        throw new KeymanError('conflict', `${place} was removed at this moment`, { hint: 'see keyman project list' })
      if (!(error instanceof Unheard)) throw error
      // Given a moment ago, here or by another server: whether the log vouches for it is heard outside of a transaction only, and
      // this one left nothing behind, not even a touch that was used.
      looked.add(error.id)
      await deps.ledger.follow()
    }
  }
}

/** Throws `invalid-input` where its end has passed. */
export function assertToCome({ endsAt }: { readonly endsAt?: string | undefined }, now: Date): void {
  if (endsAt === undefined || Date.parse(endsAt) > now.getTime()) return
  throw new KeymanError('invalid-input', `endsAt: ${endsAt} has passed`, {
    fields: [{ field: 'endsAt', message: 'must be in the future' }],
  })
}

/** There is a row that gives just the same, and the log was not asked for it since. */
class Unheard extends Error {
  readonly id: string
  constructor(id: string) {
    super(`the log was not asked for ${id} yet`)
    this.id = id
  }
}
/** Rows that give just the same, of which each is asked for once: whoever writes rows must not keep a change waiting for good. */
const MOST_LOOKED = 8

/**
 * Of two that give just the same, taking one away would take nothing away: throws where there is one. What the log does not vouch
 * for gives nothing; throws `Unheard` where it was not asked since there is such a row, if it says which were (`looked`).
 */
export async function refuseSame(
  { ledger }: ChangeDeps,
  t: Queryable,
  added: Grant,
  looked?: ReadonlySet<string>,
): Promise<void> {
  const gives = (grant: Grant) => canonicalJson(grantFact({ ...grant, id: '' }).is)
  const others = (await selectGrantsTo(t, added.who)).filter(({ id }) => id !== added.id)
  const alike = others.filter(grant => gives(grant) === gives(added))
  const same = alike.find(grant => ledger.facts.holds(grantFact(grant)))
  if (same)
    throw new KeymanError('conflict', `${same.id} gives just this already`, {
      hint: `see keyman grant show ${same.id}; keyman grant change gives it other limits or another end`,
    })
  const unheard = looked && alike.find(({ id }) => !looked.has(id))
  if (unheard && looked.size < MOST_LOOKED) throw new Unheard(unheard.id)
}

/** All of it or nothing. */
export async function changeTeam(deps: ChangeDeps, team: TeamName, members: TeamChange, by: By): Promise<Team> {
  const { add, remove } = members
  deps.assertFits(now => add.reduce((before, person) => withMember(before, team, person), now), 'persons')
  const touched = { teams: [`team:${team}`], changes: [...add, ...remove].map(personSubject) }
  return change(deps, 'team change', touched, by, async t => {
    const entries: Entry[] = []
    for (const person of new Set(add))
      if (await insertMember(t, team, person, deps.now())) entries.push(teamEntry(team, person, 'added', by))
    for (const person of new Set(remove)) {
      if (!(await deleteMember(t, team, person)) && !deps.ledger.facts.has(memberId(team, person)))
        throw new KeymanError('not-found', `${person} is not in a team ${team}`, { hint: 'see `keyman team list`' })
      entries.push(teamEntry(team, person, 'removed', by))
    }
    await deps.ledger.appendIn(t, entries)
    return readTeam(t, team)
  })
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

export function holders(who: string): Pick<Acting, 'teams' | 'changes'> {
  if (isPersonIdentity(who)) return { changes: [personSubject(who)] }
  const team = parseTeamName(who.replace(/^team:/, ''), 'who')
  return {
    teams: [`team:${team}`],
    // A new statement sees the members as they are under the team's lock.
    changes: async t => {
      const members = await selectMembers(t, team)
      if (members) return members.map(personSubject)
      throw new KeymanError('not-found', `there is no team ${team}`, {
        hint: `a team is made by its first member: keyman team add ${team} PERSON`,
      })
    },
  }
}

async function readTeam(t: Queryable, name: TeamName): Promise<Team> {
  const members = (await selectMembers(t, name)) ?? []
  return { name, members: members.filter(isPersonIdentity) }
}

export const noSuchGrant = (id: string): KeymanError =>
  new KeymanError('not-found', `there is no grant ${id}`, { hint: 'see `keyman grant list`' })

export const wholeSeconds = (time: string): string => new Date(Math.floor(Date.parse(time) / 1000) * 1000).toISOString()

const teamEntry = (team: TeamName, person: PersonIdentity, change: 'added' | 'removed', by: By): Entry => ({
  ...by,
  kind: 'team-changed',
  target: team,
  details: { person, change },
  facts: [change === 'added' ? memberFact(team, person) : { id: memberId(team, person), is: null }],
})
