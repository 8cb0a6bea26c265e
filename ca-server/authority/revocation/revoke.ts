import { type By, subjectNamed } from '#server/access/index.ts'
import { type NamedSession, sessionKeysOf } from '#server/identity/index.ts'
import {
  actorName,
  type CertificateSelector,
  type Entry,
  type Fact,
  type IssuedCertificate,
} from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { Line } from '#shared/api/index.ts'
import {
  type EndSelector,
  endOrderFact,
  revokedFact,
  revokedIntervals,
  revokedKeyFact,
  revokedSessionKeyFact,
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
import { raiseKrl } from './raise-krl.ts'
import { insertRevocation, insertRevoked, insertRevokedKey } from './records.ts'

export type RevokeDeps = Pick<AuthorityDeps, 'ledger' | 'identity' | 'workloads' | 'now' | 'random'> & {
  readonly keys: () => KeyRing
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
  let concerned: Concerned = { subjects: [], sessions: [] }
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
    const certificates = await collect(deps, t, target)
    // A session may live on without a certificate that is still good: it is what would get the next one.
    const ends = certificates.length > 0 || concerned.sessions.length > 0
    if (!ends && ('keyId' in target || 'serial' in target))
      throw new KeymanError('not-found', `no certificate that is still good has the ${describe(target)}`, {
        hint: 'it may have ended by itself; see `keyman audit list`',
      })
    const ended: { sessions: number; facts: readonly Fact[] }[] = []
    for (const whose of concerned.sessions) ended.push(await endOne(deps, t, whose))
    const sessions = ended.reduce((sum, each) => sum + each.sessions, 0)
    const facts = [
      ...ended.flatMap(each => each.facts),
      ...('person' in target ? sessionKeyFacts(deps, target.person) : []),
      ...('workload' in target ? sessionKeyFacts(deps, workloadPrincipal(target.workload)) : []),
      ...('session' in target ? oneKeyFacts(deps, target.session) : []),
    ]
    const key = 'publicKey' in target ? fingerprint(target.publicKey) : undefined
    if (key !== undefined) facts.push(revokedKeyFact(key))
    const made = await list(deps, t, {
      ...{ certificates, sessions, facts, target: describe(target), reason, by },
      orders: hostSessions === 'end' ? ordersOf(deps, target, certificates) : [],
    })
    if (key !== undefined) await insertRevokedKey(t, key, made.revocation.id)
    await ledger.appendIn(t, made.entries)
    // Of a key that is named by itself nobody knows what else was made with it.
    const goodUntil = lastEnd(certificates) ?? (key === undefined ? deps.now() : undefined)
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

/** See `Authority.words`. */
export async function revocationInWords(deps: RevokeDeps, on: Queryable, target: RevocationTarget): Promise<Line[]> {
  const found = await collect(deps, on, target)
  const whose = [...new Set(found.map(({ person, host }) => person ?? host ?? 'nobody'))].sort()
  const value = found.length === 0 ? 'none that is still good' : `${found.length}, of ${whose.join(', ')}`
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
  const keys = sessionKeyFacts(deps, whose)
  const certificates = sshOnly(deps, await deps.ledger.liveCertificates(t, { person: whose }))
  const target = isWorkloadPrincipal(whose) ? describe({ workload: workloadNamed(whose) }) : `person ${whose}`
  const orders = hostSessions === 'end' ? [{ of: whose }] : []
  return listIn(deps, t, { certificates, keys, orders, target, by })
}

/** See `Authority.revokeSessionsIn`. */
export async function revokeSessionsIn(
  deps: RevokeDeps,
  t: Queryable,
  sessions: readonly string[],
  by: By,
): Promise<RevokedWith> {
  const certificates: IssuedCertificate[] = []
  const standing = by.standing?.caller
  const caller = standing?.kind === 'person' ? standing : undefined
  const whose = caller ? { person: caller.identity } : {}
  for (const session of sessions)
    certificates.push(...sshOnly(deps, await deps.ledger.liveCertificates(t, { session, ...whose })))
  const own = caller?.via === 'machine' ? caller.ssh.fingerprint : undefined
  const keys = caller ? sessionKeyFacts(deps, caller.identity, own) : []
  const target = `${sessions.length} sessions of ${actorName(by.actor)}`
  return listIn(deps, t, { certificates, keys, target, by })
}

/** See `Authority.revokeHostIn`. */
export async function revokeHostIn(deps: RevokeDeps, t: Queryable, host: HostName, by: By) {
  const certificates = sshOnly(deps, await deps.ledger.liveCertificates(t, { host }))
  const { entries, goodUntil } = await listIn(deps, t, { certificates, target: `host ${host}`, by })
  await deps.ledger.appendIn(t, entries)
  return { revoked: certificates.length, goodUntil }
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
    const end = lastEnd(sshOnly(deps, await deps.ledger.liveCertificates(deps.store, { person })))
    if (end && end > last) last = end
  }
  return last
}

function lastEnd(certificates: readonly IssuedCertificate[]): Date | undefined {
  let last: bigint | undefined
  for (const { validBefore } of certificates) if (last === undefined || validBefore > last) last = validBefore
  return last === undefined ? undefined : new Date(Number(last) * 1000)
}

/** Of a change of another room, which records it. */
async function listIn(
  deps: RevokeDeps,
  t: Queryable,
  {
    keys = [],
    ...listing
  }: Pick<Listing, 'certificates' | 'target' | 'by' | 'orders'> & {
    readonly keys?: readonly Fact[]
  },
): Promise<RevokedWith> {
  const goodUntil = lastEnd(listing.certificates) ?? deps.now()
  const revoked = listing.certificates.length
  const isOrder = (listing.orders ?? []).length > 0
  if (revoked === 0 && keys.length === 0 && !isOrder) return { entries: [], revoked, goodUntil }
  const { entries, revocation } = await list(deps, t, { ...listing, facts: keys, sessions: 0, reason: undefined })
  return { entries, revoked, goodUntil, order: revocation.order }
}

/**
 * With all that a person had the keys of the sessions are revoked too, which are known from the log as it was read: certificates are
 * found in the database, where somebody may hide them at this very moment.
 */
function sessionKeyFacts({ ledger }: RevokeDeps, person: UserPrincipal, except?: string): Fact[] {
  return revokedFacts(sessionKeysOf(ledger.facts.ids, person).filter(({ fingerprint }) => fingerprint !== except))
}

/** The same of one session alone. */
const oneKeyFacts = ({ ledger }: RevokeDeps, { person, sshKey }: NamedSession): Fact[] =>
  revokedFacts(sessionKeysOf(ledger.facts.ids, person).filter(({ fingerprint }) => fingerprint === sshKey))

const revokedFacts = (keys: readonly SessionKey[]): Fact[] =>
  keys.flatMap(key => [revokedSessionKeyFact(key), { id: key.id, is: null }])

type Concerned = {
  readonly subjects: string[]
  readonly sessions: ({ person: PersonIdentity } | { session: string } | { workload: WorkloadName })[]
}

/**
 * Whose epochs are bumped and whose sessions end. By key ID, serial or key this is read from what was issued: a key ID and
 * a key belong to one session, whose later certificates the ended session refuses. A first certificate for a revoked key
 * that is being issued at this moment may be missed here; hosts refuse it by the key itself, which stands in the KRL.
 */
async function concernedBy({ ledger, keys }: RevokeDeps, t: Queryable, target: RevocationTarget): Promise<Concerned> {
  if ('person' in target) return { subjects: [`person:${target.person}`], sessions: [{ person: target.person }] }
  if ('session' in target) {
    const { id } = target.session
    return { subjects: [`session:${id}`], sessions: [{ session: id }] }
  }
  if ('workload' in target)
    return { subjects: [workloadPrincipal(target.workload)], sessions: [{ workload: target.workload }] }
  const found = (await Promise.all(selectorsOf(keys(), target).map(by => ledger.liveCertificates(t, by)))).flat()
  const workloads = [...new Set(found.flatMap(({ person }) => (isWorkload(person) ? [person] : [])))].sort()
  const own = found.filter(({ person }) => !isWorkload(person))
  const sessions = [...new Set(own.flatMap(({ session }) => (session === null ? [] : [session])))].sort()
  const subjects = [...sessions.map(session => `session:${session}`), ...workloads]
  if ('serial' in target) return { subjects, sessions: [] }
  const ended = workloads.map(principal => ({ workload: workloadNamed(principal) }))
  return { subjects, sessions: [...sessions.map(session => ({ session })), ...ended] }
}

const isWorkload = (person: string | null) => person !== null && isWorkloadPrincipal(person)

const collect = async (deps: RevokeDeps, t: Queryable, target: RevocationTarget): Promise<IssuedCertificate[]> => {
  const found: IssuedCertificate[] = []
  for (const selector of selectorsOf(deps.keys(), target))
    found.push(...(await deps.ledger.liveCertificates(t, selector)))
  return sshOnly(deps, found)
}

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

/** Client certificates end with their session or host, which every request checks; no list names them. */
function sshOnly({ keys }: RevokeDeps, certificates: readonly IssuedCertificate[]): IssuedCertificate[] {
  const labels = new Set(keys().ssh.map(key => key.label))
  return certificates.filter(certificate => labels.has(certificate.authority))
}

type Listing = {
  readonly certificates: readonly IssuedCertificate[]
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
  { certificates, sessions, facts = [], orders = [], target, reason, by }: Listing,
): Promise<{ revocation: Revocation; entries: Entry[] }> {
  const { version: krlVersion, at, facts: raised } = await raiseKrl({ ledger }, t, now())
  const ends = orders.map(order => endOrderFact({ ...order, number: krlVersion, at }))
  const id = `revocation_${toBase64Url(random(12))}`
  await insertRevocation(
    t,
    { id, target, reason, certificates: certificates.length, sessions, krlVersion },
    now().toISOString(),
    actorName(by.actor),
  )
  await insertRevoked(t, certificates, id)
  const hostSessions = orders.length > 0 ? 'end' : 'keep'
  const common = { id, krlVersion: krlVersion.toString(), certificates: certificates.length, sessions, hostSessions }
  const parts = inParts(certificates)
  const last = Math.max(parts.length - 1, 0)
  return {
    revocation: {
      ...{ id, target, revoked: certificates.length, sessions, krlVersion },
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
