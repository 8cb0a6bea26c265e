import { subjectNamed } from '#server/access/index.ts'
import { allSessionKeys, type NamedSession, sessionKeysOf } from '#server/identity/index.ts'
import type { CertificateSelector, IssuedCertificate, LiveKey } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { Line } from '#shared/api/index.ts'
import { revokedKeys, revokedSessionKeys, type SessionKey } from '#shared/audit/index.ts'
import {
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
import type { AuthorityDeps, RevocationTarget } from '../port.ts'
import type { KrlRoom } from './krl-room.ts'

/** What there is to be revoked: whose, which certificates, which keys. */

export type RevokeDeps = Pick<AuthorityDeps, 'ledger' | 'identity' | 'workloads' | 'now' | 'random'> & {
  readonly keys: () => KeyRing
  readonly room: KrlRoom
}

export type Concerned = {
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
export async function concernedBy(deps: RevokeDeps, t: Queryable, target: RevocationTarget): Promise<Concerned> {
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
export function selectorsOf(keys: KeyRing, target: RevocationTarget): CertificateSelector[] {
  if ('serial' in target)
    return keys.ssh
      .filter(key => key.purpose === 'ssh-user')
      .map(key => ({ authority: key.label, serial: target.serial }))
  if ('publicKey' in target) return [{ subjectKey: fingerprint(target.publicKey) }]
  if ('session' in target) return [{ session: target.session.id, person: target.session.person }]
  if ('workload' in target) return [{ person: workloadPrincipal(target.workload) }]
  return [target]
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

export type Found = {
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
export async function collect(
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

/**
 * With all that a person had the keys of the sessions are revoked too, which are known from the log as it was read: certificates are
 * found in the database, where somebody may hide them at this very moment.
 */
export function sessionKeys({ ledger, now }: RevokeDeps, person: UserPrincipal): SessionKey[] {
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
export const oneKey = (deps: RevokeDeps, { person, sshKey }: NamedSession): SessionKey[] =>
  sessionKeys(deps, person).filter(({ fingerprint }) => fingerprint === sshKey)

export const fingerprintsOf = (keys: readonly SessionKey[]): string[] => keys.map(({ fingerprint }) => fingerprint)

/** See `Authority.knowsKey`. */
export async function knowsKey({ ledger }: RevokeDeps, on: Queryable, subjectKey: string): Promise<boolean> {
  const isOfSession = allSessionKeys(ledger.facts.ids).some(key => key.fingerprint === subjectKey)
  return isOfSession || (await ledger.liveSessions(on, { subjectKey })).length > 0
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
