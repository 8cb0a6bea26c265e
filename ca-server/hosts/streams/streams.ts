import type { HostName } from '#shared/names.ts'
import { CLOSE, type Connection } from './connection.ts'

/** Of one host: two machines that have its key, and what each has not noticed yet that it lost. */
const MOST_OF_HOST = 4

/**
 * The streams that are open. A host has one; where it opens another, the old one is asked whether anybody is still there. If
 * so, two machines have this host's key, a copied disk say: both are told what they should have, so that a revocation reaches
 * both, and nothing is called in force of either until one is left.
 */
export class Streams {
  readonly #alarm: (message: string) => void
  readonly #byHost = new Map<HostName, Set<Connection>>()

  constructor(alarm: (message: string) => void) {
    this.#alarm = alarm
  }

  all(): Connection[] {
    return [...this.#byHost.values()].flatMap(streams => [...streams])
  }

  async add(connection: Connection): Promise<void> {
    const { name } = connection.caller
    const before = [...(this.#byHost.get(name) ?? [])]
    this.#byHost.set(name, new Set([...before, connection]))
    for (const old of before.slice(0, Math.max(0, before.length + 1 - MOST_OF_HOST)))
      old.close(CLOSE.replaced, 'this host has opened too many streams')
    for (const old of before)
      if (!(await old.isThere())) old.close(CLOSE.replaced, 'this host has opened another stream')
    const there = this.#byHost.get(name) ?? new Set()
    if (there.size < 2 || !there.has(connection)) return
    const from = [...there].map(stream => stream.from)
    const reason = `two machines have the key of this host, at ${from.join(' and ')}: let the one that is a copy leave (keyman-agent leave) and join as a host of its own; if you know only one of them, remove the host`
    this.#alarm(`ALARM: ${name}: ${reason}`)
    for (const stream of there) await stream.setDoubled(reason)
  }

  /** Gives the one that is left, where there is just one. */
  delete(connection: Connection): Connection | undefined {
    const { name } = connection.caller
    const streams = this.#byHost.get(name)
    if (!streams?.delete(connection)) return undefined
    if (streams.size === 0) this.#byHost.delete(name)
    const [left] = streams
    return streams.size === 1 ? left : undefined
  }
}
