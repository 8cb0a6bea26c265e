import type { IncomingMessage } from 'node:http'

/**
 * Bodies that have not been read whole, of all connections: those on their way, and those that wait behind another request of
 * their connection. Past the bound one of whoever has most goes, the one that has taken longest: nobody's are lost by
 * what somebody else sends.
 */
export class Bodies {
  readonly #most: number
  /** By holder, each in the order in which they began. */
  readonly #held = new Map<string, Set<IncomingMessage>>()
  #size = 0

  constructor(most: number) {
    this.#most = most
  }

  /** `holder`: of whom this connection is. */
  add(incoming: IncomingMessage, holder: string): void {
    const bodies = this.#held.get(holder) ?? new Set()
    this.#held.set(holder, bodies.add(incoming))
    this.#size++
    const over = () => {
      if (!bodies.delete(incoming)) return
      this.#size--
      if (bodies.size === 0 && this.#held.get(holder) === bodies) this.#held.delete(holder)
    }
    incoming.once('end', over).once('close', over)
    if (this.#size > this.#most) this.#makeRoom()
  }

  #makeRoom(): void {
    let largest: ReadonlySet<IncomingMessage> = new Set()
    for (const bodies of this.#held.values()) if (bodies.size > largest.size) largest = bodies
    const [longest] = largest
    longest?.socket.destroy()
  }
}
