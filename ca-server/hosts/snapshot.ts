import type { Ledger } from '#server/ledger/index.ts'
import { type Following, follow, type Store } from '#server/store/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import type { HostName } from '#shared/names.ts'
import { hostId } from './facts.ts'
import type { LivingHost } from './port.ts'
import { type HostRow, selectChange, selectLivingNames } from './records.ts'
import { vouchedHosts } from './vouched.ts'

export const hostSubject = (name: HostName): string => `host:${name}`

type Known = LivingHost & {
  readonly id: string
  readonly clientSpki: Uint8Array | undefined
  readonly epoch: bigint
}

type SnapshotDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'readEpochs' | 'vouched' | 'onFacts' | 'facts'>
  readonly monotonic?: (() => number) | undefined
  readonly onError: (error: unknown) => void
}

/**
 * The living hosts in memory, so that a host's request or frame costs no query. Read anew where the number of changes is another, or the
 * log says so. A stale epoch in here is harmless: the ledger refuses what was decided by it. A host that the log says is gone is gone, whether
 * or not the rows could be read since.
 */
export class HostSnapshot {
  #hosts: ReadonlyMap<HostName, Known> = new Map()
  #version: bigint | undefined
  /** How often somebody knew that there is something new, whatever the number says; and how often when it was read. */
  #said = 0
  #read = -1
  readonly #deps: SnapshotDeps
  readonly #following: Following
  #stopHearing: (() => void) | undefined

  constructor(deps: SnapshotDeps) {
    const { store, monotonic, onError } = deps
    this.#deps = deps
    const what = 'which hosts there are'
    this.#following = follow({ store, channels: ['hosts'], what, read: () => this.#look(), monotonic, onError })
  }

  async start(): Promise<void> {
    // Of a place that is gone, or another now, no host is left.
    const concernsHosts = (id: string) => /^(host|place):/.test(id)
    this.#stopHearing = this.#deps.ledger.onFacts(ids => {
      if (!ids.some(concernsHosts)) return
      this.#said++
      this.#following.hear()
    })
    await this.#following.start()
  }
  async stop(): Promise<void> {
    this.#stopHearing?.()
    await this.#following.stop()
  }
  /** Called after each reading that found something new. */
  onChange(listener: () => void): () => void {
    return this.#following.onChange(listener)
  }

  /** Reads what is there now, in a reading that begins after the call. */
  async reload(): Promise<void> {
    this.#said++
    await this.#following.read()
  }

  /** Gives whether there was something new. */
  async #look(): Promise<boolean> {
    const { store, ledger } = this.#deps
    const said = this.#said
    // The number first: what changes after it was read is seen as a change the next time.
    const version = await selectChange(store)
    if (version === this.#version && said === this.#read) return false
    const names = (await selectLivingNames(store)).map(hostSubject)
    // Epochs before the rows that count: a change in between leaves an old epoch, which the ledger refuses.
    const epochs = names.length === 0 ? new Map<string, bigint>() : await ledger.readEpochs(names)
    const rows = await vouchedHosts(this.#deps)
    this.#hosts = new Map(rows.map(row => [row.name, known(row, epochs.get(hostSubject(row.name)) ?? 0n)]))
    this.#version = version
    this.#read = said
    return true
  }

  find(name: HostName): Known | undefined {
    const host = this.#hosts.get(name)
    return host && this.#isThere(host) ? host : undefined
  }
  all(): readonly LivingHost[] {
    return [...this.#hosts.values()].filter(host => this.#isThere(host))
  }
  #isThere({ id }: Known): boolean {
    return this.#deps.ledger.facts.has(hostId(id))
  }
  /** Whether what is known may still be gone by: it is read each second, unless the database cannot be. */
  isFresh(): boolean {
    return this.#following.isFresh()
  }
  /** A living host with this very key, by what was read last. */
  knows(name: HostName, clientSpki: Uint8Array): boolean {
    const known = this.find(name)?.clientSpki
    return known !== undefined && equalBytes(known, clientSpki)
  }
  /** The same for whoever is let in by it. Throws `unavailable`. */
  resolve(name: HostName, clientSpki: Uint8Array) {
    this.#following.assertFresh()
    const host = this.find(name)
    if (!host || !this.knows(name, clientSpki)) return undefined
    return { aliases: host.aliases, epochs: [{ subject: hostSubject(name), epoch: host.epoch }] }
  }
}

const known = (row: HostRow, epoch: bigint): Known => ({
  id: row.id,
  name: row.name,
  aliases: row.aliases,
  labels: row.labels,
  place: row.place,
  port: row.port,
  address: row.address,
  clientSpki: row.clientSpki,
  epoch,
})
