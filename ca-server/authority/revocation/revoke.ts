import { type By, subjectNamed } from '#server/access/index.ts'
import { allSessionKeys, type NamedSession, sessionKeysOf } from '#server/identity/index.ts'
import {
  actorName,
  type CertificateSelector,
  type Entry,
  type Fact,
  type IssuedCertificate,
  type LiveKey,
} from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { Line } from '#shared/api/index.ts'
import {
  type EndSelector,
  endOrderFact,
  revokedFact,
  revokedIntervals,
  revokedKeyFact,
  revokedKeyId,
  revokedKeys,
  revokedSessionKeyFact,
  revokedSessionKeys,
  type SessionKey,
} from '#shared/audit/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import {
  type HostName,
  isWorkloadPrincipal,
  type PersonIdentity,
  type SubjectPrincipal,
  type UserPrincipal,
  type WorkloadName,
  workloadNamed,
  workloadPrincipal,
} from '#shared/names.ts'
import { fingerprint } from '#shared/ssh/index.ts'
import type { KeyRing } from '../keys.ts'
import type { AuthorityDeps, HostSessions, Revocation, RevocationTarget, RevokedWith } from '../port.ts'
import type { KrlRoom } from './krl-room.ts'
import { raiseKrl } from './raise-krl.ts'
import { insertRevocation, insertRevoked, insertRevokedKey } from './records.ts'

export type RevokeDeps = Pick<AuthorityDeps, 'ledger' | 'identity' | 'workloads' | 'now' | 'random'> & {
  readonly keys: () => KeyRing
  readonly room: KrlRoom
}

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

/** See `Authority.knowsKey`. */
export async function knowsKey({ ledger }: RevokeDeps, on: Queryable, subjectKey: string): Promise<boolean> {
  const isOfSession = allSessionKeys(ledger.facts.ids).some(key => key.fingerprint === subjectKey)
  return isOfSession || (await ledger.liveSessions(on, { subjectKey })).length > 0
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

/** See `Authority.words`. */
export async function revocationInWords(deps: RevokeDeps, on: Queryable, target: RevocationTarget): Promise<Line[]> {
  const key = 'publicKey' in target ? [fingerprint(target.publicKey)] : []
  const selectors = selectorsOf(deps.keys(), target)
  const { all } = await collect(deps, on, selectors, key)
  const some = (await Promise.all(selectors.map(by => deps.ledger.liveSessions(on, by)))).flat()
  const whose = [...new Set(some.map(({ person, host }) => person ?? host ?? 'nobody'))].sort()
  const value = all === 0 ? 'none that is still good' : `${all}, of ${whose.join(', ')}`
  return [{ name: 'Certificates that it ends now', value }]
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

/** See `Authority.certificatesEnd`. */
export async function certificatesEnd(
  deps: RevokeDeps & Pick<AuthorityDeps, 'store' | 'access'>,
  whose: readonly SubjectPrincipal[],
): Promise<Date | undefined> {
  const renews = (principal: (typeof whose)[number]) =>
    deps.access.decide(subjectNamed(principal), { kind: 'ssh-certificate' }).allow
  if (whose.some(renews)) return undefined
  let last = deps.now()
  for (const person of whose) {
    const keys = fingerprintsOf(sessionKeys(deps, person))
    const { lastEnd } = await collect(deps, deps.store, [{ person }], keys)
    if (lastEnd && lastEnd > last) last = lastEnd
  }
  return last
}

/** More are not named one by one where a key ends them: whatever somebody has had made, ending it is a matter of a moment. */
const MOST_NAMED = 1_000

type Found = {
  /** Those that are put on the list by their serials. */
  readonly named: readonly IssuedCertificate[]
  /** How many SSH certificates end in all: those too that a key ends. */
  readonly all: number
  readonly lastEnd: Date | undefined
}

/**
 * What there is to be revoked. A user certificate certifies the one key of its session: where there are too many, those of `keys`, which are
 * revoked with them, and of keys that were revoked before need no serial. All others are named, however many; client certificates end
 * with their session or host, which every request checks, and no list names them.
 */
async function collect(
  deps: RevokeDeps,
  t: Queryable,
  selectors: readonly CertificateSelector[],
  keys: readonly string[],
): Promise<Found> {
  const { ledger } = deps
  const authorities = sshLabels(deps)
  const live: LiveKey[] = []
  for (const by of selectors) live.push(...(await ledger.liveKeys(t, by, authorities)))
  const count = live.reduce((sum, { certificates }) => sum + certificates, 0)
  const isMuch = count > MOST_NAMED || deps.room.isTight()
  const ended = isMuch ? new Set([...keys, ...revokedPrints(ledger)]) : new Set<string>()
  const subjectKeys = isMuch
    ? [...new Set(live.map(({ subjectKey }) => subjectKey))].filter(key => !ended.has(key))
    : undefined
  const named = new Map<string, IssuedCertificate>()
  if (!isMuch || (subjectKeys && subjectKeys.length > 0))
    for (const by of selectors)
      for (const each of await ledger.liveCertificates(t, by, { authorities, subjectKeys }))
        named.set(`${each.authority} ${each.serial}`, each)
  const byKey = live.filter(({ subjectKey }) => ended.has(subjectKey))
  const ends = [...[...named.values()].map(({ validBefore }) => validBefore), ...byKey.map(({ lastEnd }) => lastEnd)]
  const lastEnd = ends.reduce<bigint | undefined>((a, b) => (a === undefined || b > a ? b : a), undefined)
  return {
    named: [...named.values()],
    all: named.size + byKey.reduce((sum, { certificates }) => sum + certificates, 0),
    lastEnd: lastEnd === undefined ? undefined : new Date(Number(lastEnd) * 1000),
  }
}

const sshLabels = ({ keys }: RevokeDeps): string[] => keys().ssh.map(key => key.label)

const revokedPrints = ({ facts }: RevokeDeps['ledger']): string[] => [
  ...revokedKeys(facts.ids),
  ...revokedSessionKeys(facts.ids).map(({ fingerprint }) => fingerprint),
]

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

/**
 * With all that a person had the keys of the sessions are revoked too, which are known from the log as it was read: certificates are
 * found in the database, where somebody may hide them at this very moment.
 */
function sessionKeys({ ledger, now }: RevokeDeps, person: UserPrincipal): SessionKey[] {
  const at = BigInt(Math.floor(now().getTime() / 1000))
  const last = at + LONGEST
  return sessionKeysOf(ledger.facts.ids, person).flatMap(key => {
    if (key.until < at - ONE_CLOCK) return []
    return [{ ...key, until: key.until < last ? key.until : last }]
  })
}
/** No certificate of a user is good for longer (`maxLifetime` of grants), so nothing that was made until now is. Seconds. */
const LONGEST = 7n * 86_400n
/** That a session has ended by itself no one clock decides. */
const ONE_CLOCK = 86_400n

/** The same of one session alone. */
const oneKey = (deps: RevokeDeps, { person, sshKey }: NamedSession): SessionKey[] =>
  sessionKeys(deps, person).filter(({ fingerprint }) => fingerprint === sshKey)

const fingerprintsOf = (keys: readonly SessionKey[]): string[] => keys.map(({ fingerprint }) => fingerprint)

/** One key may be that of several sessions. */
const revokedFacts = (keys: readonly SessionKey[]): Fact[] => [
  ...new Map(
    keys.flatMap((key): Fact[] => [revokedSessionKeyFact(key), { id: key.id, is: null }]).map(fact => [fact.id, fact]),
  ).values(),
]

type Concerned = {
  readonly subjects: string[]
  readonly sessions: ({ person: PersonIdentity } | { session: string } | { workload: WorkloadName })[]
  /** Of the sessions that a key ID names. */
  readonly keys: readonly SessionKey[]
}

/**
 * Whose epochs are bumped and whose sessions end. By key ID, serial or key this is read from what was issued: a key ID and
 * a key belong to one session, whose later certificates the ended session refuses. A first certificate for a revoked key
 * that is being issued at this moment may be missed here; hosts refuse it by the key itself, which stands in the KRL.
 */
async function concernedBy(deps: RevokeDeps, t: Queryable, target: RevocationTarget): Promise<Concerned> {
  const { ledger } = deps
  if ('person' in target)
    return { subjects: [`person:${target.person}`], sessions: [{ person: target.person }], keys: [] }
  if ('session' in target) {
    const { id } = target.session
    return { subjects: [`session:${id}`], sessions: [{ session: id }], keys: [] }
  }
  if ('workload' in target)
    return { subjects: [workloadPrincipal(target.workload)], sessions: [{ workload: target.workload }], keys: [] }
  const found = (await Promise.all(selectorsOf(deps.keys(), target).map(by => ledger.liveSessions(t, by)))).flat()
  const workloads = [...new Set(found.flatMap(({ person }) => (isWorkload(person) ? [person] : [])))].sort()
  const own = found.filter(({ person }) => !isWorkload(person))
  const sessions = [...new Set(own.flatMap(({ session }) => (session === null ? [] : [session])))].sort()
  const subjects = [...sessions.map(session => `session:${session}`), ...workloads]
  if ('serial' in target) return { subjects, sessions: [], keys: [] }
  const ended = workloads.map(principal => ({ workload: workloadNamed(principal) }))
  // Of the key ID there are client certificates, too, which are for another key.
  const certified = 'keyId' in target ? await ledger.liveKeys(t, target, sshLabels(deps)) : []
  const persons = [...new Set(found.flatMap(({ person }) => person ?? []))]
  const named = persons
    .flatMap(person => sessionKeysOf(ledger.facts.ids, person))
    .filter(({ fingerprint }) => certified.some(({ subjectKey }) => subjectKey === fingerprint))
  return { subjects, sessions: [...sessions.map(session => ({ session })), ...ended], keys: named }
}

const isWorkload = (person: string | null) => person !== null && isWorkloadPrincipal(person)

/** A serial means a user certificate's, of whichever user authority gave it. */
function selectorsOf(keys: KeyRing, target: RevocationTarget): CertificateSelector[] {
  if ('serial' in target)
    return keys.ssh
      .filter(key => key.purpose === 'ssh-user')
      .map(key => ({ authority: key.label, serial: target.serial }))
  if ('publicKey' in target) return [{ subjectKey: fingerprint(target.publicKey) }]
  if ('session' in target) return [{ session: target.session.id, person: target.session.person }]
  if ('workload' in target) return [{ person: workloadPrincipal(target.workload) }]
  return [target]
}

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
