import type { Ledger } from '#server/ledger/index.ts'
import type { Store } from '#server/store/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { coalesce } from '#shared/coalesce.ts'
import type { HostName } from '#shared/names.ts'
import type { LivingHost } from './port.ts'
import { type HostRow, selectChange, selectLiving } from './records.ts'

export const hostSubject = (name: HostName): string => `host:${name}`

type Known = LivingHost & { readonly clientSpki: Uint8Array | undefined; readonly epoch: bigint }

/**
 * The living hosts in memory, so that a host's request or frame costs no query. Read anew at notifications, and each
 * second where the number of changes is another: a notification may be lost. A stale epoch in here is harmless: the
 * ledger refuses what was decided by it.
 */
export class HostSnapshot {
  #hosts: ReadonlyMap<HostName, Known> = new Map()
  #version: bigint | undefined
  readonly #store: Store
  readonly #ledger: Pick<Ledger, 'readEpochs'>

  constructor(store: Store, ledger: Pick<Ledger, 'readEpochs'>) {
    this.#store = store
    this.#ledger = ledger
  }

  /** Reads what is there now. A call while another is running waits for one more, which begins after it. */
  readonly reload = coalesce(() => this.#read())

  /** Gives whether there was something new. */
  async reloadIfChanged(): Promise<boolean> {
    if ((await selectChange(this.#store)) === this.#version) return false
    await this.reload()
    return true
  }

  async #read(): Promise<void> {
    // The number first: what changes after it was read is seen as a change the next time.
    const version = await selectChange(this.#store)
    const names = (await selectLiving(this.#store)).map(row => hostSubject(row.name))
    // Epochs before the rows that count: a change in between leaves an old epoch, which the ledger refuses.
    const epochs = names.length === 0 ? new Map<string, bigint>() : await this.#ledger.readEpochs(names)
    const rows = await selectLiving(this.#store)
    this.#hosts = new Map(rows.map(row => [row.name, known(row, epochs.get(hostSubject(row.name)) ?? 0n)]))
    this.#version = version
  }

  find(name: HostName): Known | undefined {
    return this.#hosts.get(name)
  }
  all(): readonly LivingHost[] {
    return [...this.#hosts.values()]
  }
  resolve(name: HostName, clientSpki: Uint8Array) {
    const host = this.#hosts.get(name)
    if (!host?.clientSpki || !equalBytes(host.clientSpki, clientSpki)) return undefined
    return { epochs: [{ subject: hostSubject(name), epoch: host.epoch }] }
  }
}

const known = (row: HostRow, epoch: bigint): Known => ({
  name: row.name,
  labels: row.labels,
  port: row.port,
  address: row.address,
  clientSpki: row.clientSpki,
  epoch,
})
