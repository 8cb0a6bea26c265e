import type { By } from '#server/access/index.ts'
import { actorName, type Entry, type Fact, type IssuedCertificate } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import {
  type EndSelector,
  endOrderFact,
  revokedFact,
  revokedIntervals,
  revokedKeyFact,
  revokedKeyId,
  revokedSessionKeyFact,
  type SessionKey,
} from '#shared/audit/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  type HostName,
  isWorkloadPrincipal,
  type SubjectPrincipal,
  workloadNamed,
  workloadPrincipal,
} from '#shared/names.ts'
import { fingerprint } from '#shared/ssh/index.ts'
import type { HostSessions, Revocation, RevocationTarget, RevokedWith } from '../port.ts'
import {
  type Concerned,
  collect,
  concernedBy,
  type Found,
  fingerprintsOf,
  knowsKey,
  oneKey,
  type RevokeDeps,
  selectorsOf,
  sessionKeys,
} from './collect.ts'
import { raiseKrl } from './raise-krl.ts'
import { insertRevocation, insertRevoked, insertRevokedKey } from './records.ts'

/**
 * See `Authority.revoke`. One transaction: first the epochs of everybody concerned, then, by a new statement that sees what
 * was issued under the old ones, what is to be revoked (invariant 2). Revoking by person, key ID or key ends the sessions
 * too, or the next renewal would undo it; by serial it is the one certificate.
 */
export async function revoke(
  deps: RevokeDeps,
  target: RevocationTarget,
  reason: string | undefined,
  by: By,
  given?: HostSessions,
): Promise<Revocation> {
  const hostSessions = given ?? ('person' in target || 'workload' in target ? 'end' : 'keep')
  const { ledger, identity } = deps
  await ledger.follow()
  // A name that was mistyped must not be answered with 'revoked'. Whether somebody is here says the log, whatever the database shows.
  if ('person' in target && !ledger.facts.has(`person:${target.person}`)) await identity.persons.show(target.person)
  if ('workload' in target) deps.workloads.assertIsThere(target.workload)
  let concerned: Concerned = { subjects: [], sessions: [], keys: [] }
  const how = {
    name: 'revoke',
    deadlineMs: 30_000,
    changes: async (t: Queryable) => {
      concerned = await concernedBy(deps, t, target)
      return concerned.subjects
    },
    // Without a role one revokes only what is one's own.
    ends: by.standing !== undefined && by.standing.role === undefined,
  }
  const revocation = await identity.act(by, how, async t => {
    const key = 'publicKey' in target ? fingerprint(target.publicKey) : undefined
    const keys = [
      ...('person' in target ? sessionKeys(deps, target.person) : []),
      ...('workload' in target ? sessionKeys(deps, workloadPrincipal(target.workload)) : []),
      ...('session' in target ? oneKey(deps, target.session) : []),
      ...('keyId' in target ? concerned.keys : []),
    ]
    const found = await collect(deps, t, selectorsOf(deps.keys(), target), [
      ...keys.map(each => each.fingerprint),
      ...(key === undefined ? [] : [key]),
    ])
    if (key !== undefined && !ledger.facts.has(revokedKeyId(key)) && !(await knowsKey(deps, t, key)))
      deps.room.assertForStranger()
    // A session may live on without a certificate that is still good: it is what would get the next one.
    const ends = found.all > 0 || concerned.sessions.length > 0
    if (!ends && ('keyId' in target || 'serial' in target))
      throw new KeymanError('not-found', `no certificate that is still good has the ${describe(target)}`, {
        hint: 'it may have ended by itself; see `keyman audit list`',
      })
    const ended: { sessions: number; facts: readonly Fact[] }[] = []
    for (const whose of concerned.sessions) ended.push(await endOne(deps, t, whose))
    const sessions = ended.reduce((sum, each) => sum + each.sessions, 0)
    const facts = [
      ...ended.flatMap(each => each.facts),
      // By key ID alone the serials are enough, where they are named.
      ...('keyId' in target && found.all === found.named.length ? [] : revokedFacts(keys)),
    ]
    if (key !== undefined) facts.push(revokedKeyFact(key))
    const made = await list(deps, t, {
      ...{ found, sessions, facts, target: describe(target), reason, by },
      orders: hostSessions === 'end' ? ordersOf(deps, target, found.named) : [],
    })
    if (key !== undefined) await insertRevokedKey(t, key, made.revocation.id)
    await ledger.appendIn(t, made.entries)
    // Of a key that is named by itself nobody knows what else was made with it.
    const goodUntil = found.lastEnd ?? (key === undefined ? deps.now() : undefined)
    return { ...made.revocation, goodUntil }
  })
  await identity.refresh()
  return revocation
}

async function endOne(
  { identity, workloads }: RevokeDeps,
  t: Queryable,
  whose: Concerned['sessions'][number],
): Promise<{ sessions: number; facts: readonly Fact[] }> {
  if ('workload' in whose) return workloads.endIn(t, whose.workload, 'revoked')
  const { sessions, facts } = await identity.endSessions(t, whose)
  return { sessions: sessions.length, facts }
}

/** See `Authority.revokeAllIn`. */
export async function revokeAllIn(
  deps: RevokeDeps,
  t: Queryable,
  whose: SubjectPrincipal,
  by: By,
  hostSessions: HostSessions = 'end',
): Promise<RevokedWith> {
  const keys = sessionKeys(deps, whose)
  const found = await collect(deps, t, [{ person: whose }], fingerprintsOf(keys))
  const target = isWorkloadPrincipal(whose) ? describe({ workload: workloadNamed(whose) }) : `person ${whose}`
  const orders = hostSessions === 'end' ? [{ of: whose }] : []
  return listIn(deps, t, { found, keys, orders, target, by })
}

/** See `Authority.revokeSessionsIn`. */
export async function revokeSessionsIn(
  deps: RevokeDeps,
  t: Queryable,
  sessions: readonly string[],
  by: By,
): Promise<RevokedWith> {
  const standing = by.standing?.caller
  const caller = standing?.kind === 'person' ? standing : undefined
  const whose = caller ? { person: caller.identity } : {}
  const own = caller?.via === 'machine' ? caller.ssh.fingerprint : undefined
  const keys = caller ? sessionKeys(deps, caller.identity).filter(({ fingerprint }) => fingerprint !== own) : []
  const selectors = sessions.map(session => ({ session, ...whose }))
  const found = await collect(deps, t, selectors, fingerprintsOf(keys))
  const target = `${sessions.length} sessions of ${actorName(by.actor)}`
  return listIn(deps, t, { found, keys, target, by })
}

/** See `Authority.revokeHostIn`. By serials alone: of a host's keys nobody knows which, and they are its own when it joins again. */
export async function revokeHostIn(deps: RevokeDeps, t: Queryable, host: HostName, by: By) {
  const found = await collect(deps, t, [{ host }], [])
  const { entries, goodUntil } = await listIn(deps, t, { found, target: `host ${host}`, by })
  await deps.ledger.appendIn(t, entries)
  return { revoked: found.all, goodUntil }
}

/** Of a change of another room, which records it. */
async function listIn(
  deps: RevokeDeps,
  t: Queryable,
  {
    keys = [],
    ...listing
  }: Pick<Listing, 'found' | 'target' | 'by' | 'orders'> & { readonly keys?: readonly SessionKey[] },
): Promise<RevokedWith> {
  const { all: revoked, lastEnd: goodUntil = deps.now() } = listing.found
  const isOrder = (listing.orders ?? []).length > 0
  if (revoked === 0 && keys.length === 0 && !isOrder) return { entries: [], revoked, goodUntil }
  const facts = revokedFacts(keys)
  const { entries, revocation } = await list(deps, t, { ...listing, facts, sessions: 0, reason: undefined })
  return { entries, revoked, goodUntil, order: revocation.order }
}

/** One key may be that of several sessions. */
const revokedFacts = (keys: readonly SessionKey[]): Fact[] => [
  ...new Map(
    keys.flatMap((key): Fact[] => [revokedSessionKeyFact(key), { id: key.id, is: null }]).map(fact => [fact.id, fact]),
  ).values(),
]

type Listing = {
  readonly found: Found
  readonly sessions: number
  /** Of the sessions that ended. */
  readonly facts?: readonly Fact[]
  /** Whose sessions on hosts end with it. */
  readonly orders?: readonly EndSelector[]
  readonly target: string
  readonly reason: string | undefined
  readonly by: By
}

/** Puts them on the lists under a new version of the KRL, tells the other servers at the commit, and says what to record. */
async function list(
  { ledger, now, random }: RevokeDeps,
  t: Queryable,
  { found, sessions, facts = [], orders = [], target, reason, by }: Listing,
): Promise<{ revocation: Revocation; entries: Entry[] }> {
  const { named, all } = found
  const { version: krlVersion, at, facts: raised } = await raiseKrl({ ledger }, t, now())
  const ends = orders.map(order => endOrderFact({ ...order, number: krlVersion, at }))
  const id = `revocation_${toBase64Url(random(12))}`
  await insertRevocation(
    t,
    { id, target, reason, certificates: all, sessions, krlVersion },
    now().toISOString(),
    actorName(by.actor),
  )
  await insertRevoked(t, named, id)
  const hostSessions = orders.length > 0 ? 'end' : 'keep'
  const common = {
    ...{ id, krlVersion: krlVersion.toString(), certificates: all, sessions, hostSessions },
    ...(all === named.length ? {} : { byKey: all - named.length }),
  }
  const parts = inParts(named)
  const last = Math.max(parts.length - 1, 0)
  return {
    revocation: {
      ...{ id, target, revoked: all, sessions, krlVersion },
      ...(orders.length > 0 ? { order: krlVersion } : {}),
    },
    entries: (parts.length === 0 ? [undefined] : parts).map((part, n) => ({
      ...by,
      kind: 'revoked' as const,
      target,
      ...(reason === undefined ? {} : { reason }),
      details: { ...common, ...(part && { authority: part.authority, serials: part.serials }) },
      facts: [...(n === 0 ? [...facts, ...ends] : []), ...(part?.facts ?? []), ...(n === last ? raised : [])],
    })),
  }
}

/** Which were revoked, as intervals, in pieces that fit into a record: a revocation must never fail for being large. */
const MAX_INTERVALS = 500
function inParts(certificates: readonly IssuedCertificate[]) {
  return [...Map.groupBy(certificates, certificate => certificate.authority)].flatMap(([authority, of]) => {
    const intervals = revokedIntervals(authority, of)
    return Array.from({ length: Math.ceil(intervals.length / MAX_INTERVALS) }, (_, n) => {
      const some = intervals.slice(n * MAX_INTERVALS, (n + 1) * MAX_INTERVALS)
      const serials = some.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`))
      return { authority, serials: serials.join(','), facts: some.map(revokedFact) }
    })
  })
}

/** A session of before may be open still by a certificate that has ended: only a serial stands for itself. */
function ordersOf(
  { keys }: RevokeDeps,
  target: RevocationTarget,
  certificates: readonly IssuedCertificate[],
): EndSelector[] {
  if ('person' in target) return [{ of: target.person }]
  if ('workload' in target) return [{ of: workloadPrincipal(target.workload) }]
  if ('session' in target) return [{ session: target.session.id }]
  if ('keyId' in target) return [{ keyId: target.keyId }]
  if ('publicKey' in target) return [{ key: fingerprint(target.publicKey) }]
  return certificates.flatMap(({ serial, authority }) => {
    const key = keys().ssh.find(({ label }) => label === authority)
    return key ? [{ serial: serial.toString(), authority: fingerprint(key.ssh) }] : []
  })
}

function describe(target: RevocationTarget): string {
  if ('person' in target) return `person ${target.person}`
  if ('session' in target) return `session ${target.session.id} of ${target.session.person}`
  if ('keyId' in target) return `key ID ${target.keyId}`
  if ('serial' in target) return `serial ${target.serial}`
  if ('workload' in target) return `workload ${target.workload}`
  return `key ${fingerprint(target.publicKey)}`
}
