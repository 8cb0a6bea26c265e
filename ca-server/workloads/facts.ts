/** Pure: what of this room's rows lets somebody in, as the records say it (`shared/audit/facts.ts`). */
import type { Fact, Ledger } from '#server/ledger/index.ts'
import { workloadSessionId } from '#shared/audit/index.ts'
import { toHex } from '#shared/bytes.ts'
import { isWorkloadName, type WorkloadName, workloadPrincipal } from '#shared/names.ts'

const gone = (id: string): Fact => ({ id, is: null })

export const workloadId = (id: string): string => `workload:${id}`
export const workloadFact = (workload: {
  readonly id: string
  readonly name: WorkloadName
  readonly idle: number
  readonly lifetime: number
}): Fact => ({
  id: workloadId(workload.id),
  is: { name: workload.name, idle: workload.idle, lifetime: workload.lifetime },
})

const NAME = 'workload-name:'
/** Which workload has a name: no second one gets it, and it is taken away by it, though the database hides its row. */
export const workloadNameFact = ({ id, name }: { readonly id: string; readonly name: WorkloadName }): Fact => ({
  id: `${NAME}${name}`,
  is: id,
})
export const isNameTaken = (facts: Pick<Ledger['facts'], 'has'>, name: WorkloadName): boolean =>
  facts.has(`${NAME}${name}`)
/** The ID of the workload of this name. */
export function idOfName(
  facts: Pick<Ledger['facts'], 'has' | 'holds' | 'ids'>,
  name: WorkloadName,
): string | undefined {
  if (!isNameTaken(facts, name)) return undefined
  const all = [...facts.ids(workloadId(''))].map(id => id.slice(workloadId('').length))
  return all.find(id => facts.holds(workloadNameFact({ id, name })))
}
/** All that the log says of one, to be said to be gone. */
export const goneWorkload = ({ id, name }: { readonly id: string; readonly name: WorkloadName }): Fact[] => [
  gone(workloadId(id)),
  gone(`${NAME}${name}`),
]

const SESSION = 'workload-session:'
/** No session lasts longer, whatever its workload's limits become: so who changes these says nothing of the session. */
const LONGEST_MS = 400 * 86_400_000
export const sessionId = (name: WorkloadName, session: string): string =>
  workloadSessionId(workloadPrincipal(name), session)
export const sessionFact = (
  { id, name }: { readonly id: string; readonly name: WorkloadName },
  session: {
    readonly id: string
    readonly sshKey: Uint8Array
    readonly clientSpki: Uint8Array
    readonly joinedAt: Date
    readonly renewedAt: Date
    readonly replaced: readonly { readonly key: string; readonly until: string }[]
  },
): Fact => ({
  id: sessionId(name, session.id),
  is: {
    workload: id,
    sshKey: toHex(session.sshKey),
    clientSpki: toHex(session.clientSpki),
    joinedAt: session.joinedAt.toISOString(),
    renewedAt: session.renewedAt.toISOString(),
    replaced: session.replaced.map(({ key, until }) => ({ key, until })),
  },
  until: new Date(session.joinedAt.getTime() + LONGEST_MS),
})

const TOKEN = 'workload-token:'
/** Whose it is stands in the ID, as in a session's. */
export const tokenId = (name: WorkloadName, hash: Uint8Array): string =>
  `${TOKEN}${workloadPrincipal(name)} ${toHex(hash)}`
export const tokenFact = (
  name: WorkloadName,
  token: {
    readonly hash: Uint8Array
    readonly workload: string
    readonly endsAt: Date
    readonly again: boolean
    readonly maker?: string | undefined
  },
): Fact => ({
  id: tokenId(name, token.hash),
  // Absent in one of the operator's.
  is: { workload: token.workload, endsAt: token.endsAt.toISOString(), again: token.again, by: token.maker },
  until: token.endsAt,
})

const idsOf = (facts: Pick<Ledger['facts'], 'ids'>, kind: string, name: WorkloadName): string[] =>
  [...facts.ids(kind)].filter(id => id.startsWith(`${kind}${workloadPrincipal(name)} `))
/** Its sessions that the log knows; with its tokens that nobody has used: to be said to be gone. */
export const goneSessions = (facts: Pick<Ledger['facts'], 'ids'>, name: WorkloadName): Fact[] =>
  idsOf(facts, SESSION, name).map(gone)
export const goneTokens = (facts: Pick<Ledger['facts'], 'ids'>, name: WorkloadName): Fact[] =>
  idsOf(facts, TOKEN, name).map(gone)

/** The IDs of its tokens that nobody has used, ended ones among them. */
export const openTokenIds = (facts: Pick<Ledger['facts'], 'ids'>, name: WorkloadName): string[] =>
  idsOf(facts, TOKEN, name)

/** Of all workloads. */
export const allEnded = (facts: Pick<Ledger['facts'], 'ids'>): Fact[] =>
  [SESSION, TOKEN].flatMap(kind => [...facts.ids(kind)].map(gone))

/** Which workload a fact is about; `any`: it says only its ID, or of a place, in which any may have been, that it is gone or another now. */
export function concernedBy(id: string): WorkloadName | 'any' | undefined {
  if (id.startsWith(workloadId('')) || id.startsWith('place:')) return 'any'
  const [, name = ''] = /^workload-session:workload:(\S+) /.exec(id) ?? []
  return isWorkloadName(name) ? name : undefined
}
