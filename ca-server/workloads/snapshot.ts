import { SupersededKey, sessionSshKey, type WorkloadCaller, type WorkloadSessions } from '#server/identity/index.ts'
import type { Fact } from '#server/ledger/index.ts'
import { type Following, follow } from '#server/store/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { type WorkloadName, workloadPrincipal } from '#shared/names.ts'
import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { concernedBy, sessionFact, sessionId, workloadFact, workloadId } from './facts.ts'
import type { WorkloadsDeps } from './port.ts'
import { type SessionRow, selectLiving, selectLivingNames, type WorkloadRow } from './records.ts'

type Known = WorkloadRow & { readonly epoch: bigint }

/** When a session ends in any case, and when unless it is renewed. */
export const endsOf = ({ idle, lifetime }: Pick<WorkloadRow, 'idle' | 'lifetime'>, session: SessionRow) => ({
  endsAt: new Date(session.joinedAt.getTime() + lifetime * 1000),
  idleEndsAt: new Date(session.renewedAt.getTime() + idle * 1000),
})

/** Its session, while that lasts by the clock; of one that is over the log may know nothing any more. */
export function liveSession(row: WorkloadRow, now: Date): SessionRow | undefined {
  if (!row.session) return undefined
  const { endsAt, idleEndsAt } = endsOf(row, row.session)
  return endsAt > now && idleEndsAt > now ? row.session : undefined
}

/** What the log says where the row is as it should be. */
export function factsOf(row: WorkloadRow, now: Date): Fact[] {
  const session = liveSession(row, now)
  return [workloadFact(row), ...(session ? [sessionFact(row, session)] : [])]
}

type Deps = Pick<WorkloadsDeps, 'store' | 'ledger' | 'now'>

/** Those that there are, or those of these names, whatever their sessions are: a row that somebody else wrote or changed is none. */
export const namedWorkloads = ({ store, ledger }: Deps, names?: readonly WorkloadName[]): Promise<WorkloadRow[]> =>
  ledger.vouched(
    () => selectLiving(store, names),
    row => [workloadFact(row)],
    names === undefined ? workloadId('') : undefined,
  )

/**
 * The same with their sessions as the log says they are. Of many that renew theirs all the time, those are read once more that have changed while
 * all were read.
 */
export async function vouchedWorkloads(deps: Deps, names?: readonly WorkloadName[]): Promise<WorkloadRow[]> {
  const { store, ledger, now } = deps
  const rows = await namedWorkloads(deps, names)
  const asSaid = rows.filter(row => factsOf(row, now()).every(fact => ledger.facts.holds(fact)))
  if (asSaid.length === rows.length) return rows
  const good = new Set(asSaid.map(({ name }) => name))
  const others = rows.flatMap(({ name }) => (good.has(name) ? [] : [name]))
  const again = await ledger.vouched(
    () => selectLiving(store, others),
    row => factsOf(row, now()),
  )
  return [...asSaid, ...again].sort((a, b) => (a.name < b.name ? -1 : 1))
}

export const sessionOver = (): KeymanError =>
  new KeymanError('not-signed-in', 'the session of this workload has ended, or there is none', {
    hint: 'ask for a new token (keyman workload token NAME), and join with it: keyman workload join --token-file -',
  })

/**
 * Workloads in memory, so that a request asks no database. Of what changes only those are read anew which it concerns: each renews its
 * session many times, and there may be thousands.
 */
export class WorkloadSnapshot {
  readonly #deps: WorkloadsDeps
  readonly #following: Following
  readonly #known = new Map<WorkloadName, Known>()
  /** Of which something was heard since they were read. */
  #heard: Set<WorkloadName> | 'all' = 'all'
  #stopHearing: (() => void) | undefined

  constructor(deps: WorkloadsDeps) {
    const { store, monotonic, onError } = deps
    this.#deps = deps
    const what = 'which sessions of workloads there are'
    this.#following = follow({ store, channels: ['workloads'], what, read: () => this.#read(), monotonic, onError })
  }

  async start(): Promise<void> {
    this.#stopHearing = this.#deps.ledger.onFacts(ids => {
      const concerned = ids.map(concernedBy).filter(name => name !== undefined)
      for (const name of concerned) this.#hear(name)
      if (concerned.length > 0) this.#following.hear()
    })
    await this.#following.start()
  }
  async stop(): Promise<void> {
    this.#stopHearing?.()
    await this.#following.stop()
  }

  #hear(name: WorkloadName | 'any'): void {
    if (name === 'any') this.#heard = 'all'
    else if (this.#heard !== 'all') this.#heard.add(name)
  }

  async #read(): Promise<boolean> {
    const { store, ledger } = this.#deps
    await ledger.follow()
    const heard = this.#heard
    if (heard !== 'all' && heard.size === 0) return false
    this.#heard = new Set()
    try {
      const names = heard === 'all' ? await selectLivingNames(store) : [...heard]
      // Numbers before the rows that they are of: what is decided by an older one is decided anew.
      const epochs =
        names.length === 0 ? new Map<string, bigint>() : await ledger.readEpochs(names.map(workloadPrincipal))
      const rows = await vouchedWorkloads(this.#deps, heard === 'all' ? undefined : names)
      if (heard === 'all') this.#known.clear()
      else for (const name of heard) this.#known.delete(name)
      for (const row of rows)
        this.#known.set(row.name, { ...row, epoch: epochs.get(workloadPrincipal(row.name)) ?? 0n })
      return true
    } catch (error) {
      for (const name of heard === 'all' ? ['any' as const] : heard) this.#hear(name)
      throw error
    }
  }

  /** What is there now of this one, in a reading that begins after the call. */
  async reload(name: WorkloadName): Promise<void> {
    this.#hear(name)
    await this.#following.read()
  }

  /** By what was read last; of one that is gone by the log nothing. */
  find(name: WorkloadName): Known | undefined {
    const known = this.#known.get(name)
    return known && this.#deps.ledger.facts.has(workloadId(known.id)) ? known : undefined
  }

  /** See the door. */
  readonly resolve: WorkloadSessions['resolve'] = named => {
    this.#following.assertFresh()
    const { name, session, clientSpki } = named
    if (this.#deps.ledger.facts.isGone(sessionId(name, session))) throw sessionOver()
    const known = this.#callerOf(name, session)
    if (known && equalBytes(known.clientSpki, clientSpki)) return known
    // Another server may have given it the newer key a moment ago.
    return this.reload(name).then(() => {
      const caller = this.#callerOf(name, session)
      if (!caller) throw sessionOver()
      if (equalBytes(caller.clientSpki, clientSpki)) return caller
      const quietUntil = quietUntilOf(this.find(name)?.session, clientSpki)
      const superseded = new SupersededKey({ workload: name, session, clientSpki, quietUntil })
      if (named.renews) return { ...caller, superseded }
      throw superseded
    })
  }

  #callerOf(name: WorkloadName, session: string): WorkloadCaller | undefined {
    const { ledger, now } = this.#deps
    const known = this.find(name)
    const live = known && liveSession(known, now())
    if (!known || live?.id !== session || ledger.facts.isGone(sessionId(name, session))) return undefined
    return callerOf(known, live, known.epoch)
  }
}

/** Until when nobody is alarmed by this key, which was replaced. */
function quietUntilOf(session: SessionRow | undefined, clientSpki: Uint8Array): Date | undefined {
  const key = fingerprint(publicKeyFromSpki(clientSpki))
  const until = session?.replaced.findLast(each => each.key === key)?.until
  return until === undefined ? undefined : new Date(until)
}

export const callerOf = (row: WorkloadRow, session: SessionRow, epoch: bigint): WorkloadCaller => {
  const principal = workloadPrincipal(row.name)
  return {
    kind: 'workload',
    name: row.name,
    principal,
    session: session.id,
    startedAt: session.joinedAt,
    ...endsOf(row, session),
    ssh: sessionSshKey(session.sshKey),
    clientSpki: session.clientSpki,
    epochs: [{ subject: principal, epoch }],
  }
}
