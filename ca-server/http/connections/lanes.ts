import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'

/** Of one connection, beside the one that is served: no client of ours sends a request before it has the last answer. */
const MOST_WAITING = 8
/** Those behind, which are not answered any more: Node keeps each, some 8 kB, until the connection ends. */
const MOST_IGNORED = 64

type Lane = { readonly waiting: (() => void)[]; ignored: number | undefined }

/**
 * The requests of one connection, one after the other: the next is begun when the last answer has been taken. So there is
 * never more than one answer of a connection in memory, whatever was sent ahead (pipelining) and however slowly it reads.
 */
export class Lanes {
  readonly #lanes = new WeakMap<Duplex, Lane>()

  isBusy(socket: Duplex): boolean {
    return this.#lanes.has(socket)
  }

  /** Serves it, when its turn has come. Beyond what may wait one is refused, which ends the connection, and no more is heard. */
  enter(
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    serve: (incoming: IncomingMessage, outgoing: ServerResponse) => void,
    refuse: (incoming: IncomingMessage, outgoing: ServerResponse) => void,
  ): void {
    const { socket } = incoming
    const lane = this.#lanes.get(socket)
    if (!lane) {
      const begun: Lane = { waiting: [], ignored: undefined }
      this.#lanes.set(socket, begun)
      this.#begin(socket, begun, outgoing, () => serve(incoming, outgoing))
    } else if (lane.ignored !== undefined) {
      lane.ignored++
      if (lane.ignored > MOST_IGNORED) socket.destroy()
    } else {
      const isOver = lane.waiting.length >= MOST_WAITING
      if (isOver) {
        lane.ignored = 0
        socket.pause()
      }
      lane.waiting.push(() => this.#begin(socket, lane, outgoing, () => (isOver ? refuse : serve)(incoming, outgoing)))
    }
  }

  #begin(socket: Duplex, lane: Lane, outgoing: ServerResponse, work: () => void): void {
    outgoing.once('close', () => {
      const next = lane.waiting.shift()
      if (next && !socket.destroyed) next()
      else this.#lanes.delete(socket)
    })
    work()
  }
}
