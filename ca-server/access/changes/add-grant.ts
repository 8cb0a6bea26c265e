import { type Queryable, StoreError } from '#server/store/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { canonicalJson } from '#shared/canonical-json.ts'
import { KeymanError } from '#shared/errors.ts'
import { isPersonIdentity, isWorkloadPrincipal, parseTeamName, workloadNamed } from '#shared/names.ts'
import { describe } from '../describe.ts'
import { givenTo, grantFact } from '../facts.ts'
import type { By, Grant, NewGrant } from '../port.ts'
import { insertGrant, selectGrantsTo, selectMembers } from '../records.ts'
import { placeNamedBy, withGrant } from '../snapshot.ts'
import { assertToCome, type ChangeDeps, holders, makerOf, wholeSeconds } from './change.ts'
import { assertMayBeGiven, changeUnderRoles, rolesTaken } from './own-roles.ts'

/** What is to be given; throws where it can't be. */
function newGrantOf(deps: ChangeDeps, grant: NewGrant, createdBy: string): Grant {
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
    createdBy,
  }
  deps.assertFits(now => withGrant(now, added), 'who')
  return added
}

/** Nobody is asked to touch a passkey for what would be refused: throws as `addGrant` does, for whoever looks before. */
export async function assertMayBeAdded(deps: ChangeDeps, on: Queryable, grant: NewGrant): Promise<void> {
  const added = newGrantOf(deps, grant, 'nobody yet')
  await assertHasHolders(deps, on, added.who)
  await refuseSame(deps, on, added)
}

/** See the door. */
export async function addGrant(deps: ChangeDeps, grant: NewGrant, by: By): Promise<Grant> {
  const added = newGrantOf(deps, grant, makerOf(by))
  const place = placeNamedBy(grant)
  const looked = new Set<string>()
  for (;;) {
    try {
      const touched = { roles: rolesTaken(added), ...holders(deps.ledger, added.who) }
      await changeUnderRoles(deps, 'grant add', touched, by, async t => {
        if (added.kind === 'role') assertMayBeGiven(deps, added)
        await assertHasHolders(deps, t, added.who)
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

/** Throws `not-found` for a team or workload that is not there: a person may come after the grant. */
async function assertHasHolders({ isWorkload }: ChangeDeps, t: Queryable, who: string): Promise<void> {
  if (isPersonIdentity(who)) return
  if (isWorkloadPrincipal(who)) {
    const name = workloadNamed(who)
    if (await isWorkload(t, name)) return
    throw new KeymanError('not-found', `there is no workload ${name}`, {
      hint: `see keyman workload list; keyman workload add ${name} makes it`,
    })
  }
  const team = parseTeamName(who.replace(/^team:/, ''), 'who')
  if (await selectMembers(t, team)) return
  throw new KeymanError('not-found', `there is no team ${team}`, {
    hint: `a team is made by its first member: keyman team add ${team} PERSON`,
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
