import type { Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { coalesce } from '#shared/coalesce.ts'
import { KeymanError } from '#shared/errors.ts'
import type { HostName } from '#shared/names.ts'
import { hostFact } from './facts.ts'
import type { LivingHost } from './port.ts'
import { type HostRow, selectChange, selectLiving } from './records.ts'

export const hostSubject = (name: HostName): string => `host:${name}`

type Known = LivingHost & { readonly clientSpki: Uint8Array | undefined; readonly epoch: bigint }

/** What was read longer ago says nothing about who may come in now. */
const MAX_AGE_MS = 5_000

/**
 * The living hosts in memory, so that a host's request or frame costs no query. Read anew at notifications, and each
 * second where the number of changes is another: a notification may be lost. A stale epoch in here is harmless: the
 * ledger refuses what was decided by it.
 */
export class HostSnapshot {
  #hosts: ReadonlyMap<HostName, Known> = new Map()
  #version: bigint | undefined
  #readAt: number | undefined
  readonly #store: Queryable
  readonly #ledger: Pick<Ledger, 'readEpochs' | 'vouched'>
  readonly #monotonic: () => number

  constructor(store: Queryable, ledger: Pick<Ledger, 'readEpochs' | 'vouched'>, monotonic = () => performance.now()) {
    this.#store = store
    this.#ledger = ledger
    this.#monotonic = monotonic
  }

  /** Reads what is there now. A call while another is running waits for one more, which begins after it. */
  readonly reload = coalesce(() => this.#read())

  /** Gives whether there was something new. */
  async reloadIfChanged(): Promise<boolean> {
    const begun = this.#monotonic()
    if ((await selectChange(this.#store)) !== this.#version) {
      await this.reload()
      return true
    }
    this.#readAt = begun
    return false
  }

  async #read(): Promise<void> {
    const begun = this.#monotonic()
    // The number first: what changes after it was read is seen as a change the next time.
    const version = await selectChange(this.#store)
    const names = (await selectLiving(this.#store)).map(row => hostSubject(row.name))
    // Epochs before the rows that count: a change in between leaves an old epoch, which the ledger refuses.
    const epochs = names.length === 0 ? new Map<string, bigint>() : await this.#ledger.readEpochs(names)
    const rows = await this.#ledger.vouched(
      () => selectLiving(this.#store),
      row => [hostFact(row)],
    )
    this.#hosts = new Map(rows.map(row => [row.name, known(row, epochs.get(hostSubject(row.name)) ?? 0n)]))
    this.#version = version
    this.#readAt = begun
  }

  find(name: HostName): Known | undefined {
    return this.#hosts.get(name)
  }
  all(): readonly LivingHost[] {
    return [...this.#hosts.values()]
  }
  /** Whether what is known may still be gone by: it is read each second, unless the database cannot be. */
  isFresh(): boolean {
    return this.#readAt !== undefined && this.#monotonic() - this.#readAt <= MAX_AGE_MS
  }
  /** A living host with this very key, by what was read last. */
  knows(name: HostName, clientSpki: Uint8Array): boolean {
    const known = this.#hosts.get(name)?.clientSpki
    return known !== undefined && equalBytes(known, clientSpki)
  }
  /** The same for whoever is let in by it. Throws `unavailable`. */
  resolve(name: HostName, clientSpki: Uint8Array) {
    if (!this.isFresh())
      throw new KeymanError('unavailable', 'the server does not know at the moment which hosts there are', {
        retryAfter: 1,
        hint: 'try again in a moment',
      })
    const host = this.#hosts.get(name)
    if (!host || !this.knows(name, clientSpki)) return undefined
    return { aliases: host.aliases, epochs: [{ subject: hostSubject(name), epoch: host.epoch }] }
  }
}

const known = (row: HostRow, epoch: bigint): Known => ({
  name: row.name,
  aliases: row.aliases,
  labels: row.labels,
  place: row.place,
  port: row.port,
  address: row.address,
  clientSpki: row.clientSpki,
  epoch,
})
