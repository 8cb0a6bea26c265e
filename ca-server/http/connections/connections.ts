import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { addressKey } from '#shared/ip-address.ts'
import { clientKeyOf } from './client-certificate.ts'
import { endsOf, peerAddress } from './proxy-protocol.ts'

/**
 * Every connection of one listener, from the first packet on: before the handshake, during it, idle, busy, upgraded. There is
 * room for so many in all, for so many of one address, and for so many of one client key that this organisation certified.
 * Whoever comes is let in; past a bound the one that has done nothing for longest goes, of the same holder where that is whose
 * bound it is. So neither silence, nor half a request, nor an answer that nobody takes keeps anybody else out.
 */
export type ConnectionLimits = {
  readonly maxConnections: number
  /** Of one address (a /64 of IPv6) that has shown no certificate of ours. */
  readonly maxConnectionsPerAddress: number
  /** Of one client key, however many certificates there are for it. */
  readonly maxConnectionsPerKey: number
}

/** After which a server that stops waits no more for a first request. */
const SILENCE_MS = 1_000

type Entry = {
  /** What was accepted. */
  readonly raw: Socket
  /** What speaks HTTP: the same, or the TLS socket around it once its handshake is done. */
  socket: Duplex
  group: Group | undefined
  readonly since: number
  /** It has had a request. */
  asked: boolean
  request?: { readonly incoming: IncomingMessage; readonly outgoing: ServerResponse }
}
/** In the order in which they last began or ended something. */
type Group = { readonly entries: Set<Entry>; readonly name: string; readonly most: number }

export class Connections {
  readonly #limits: ConnectionLimits
  readonly #isProxy: (peer: Socket) => boolean
  readonly #entries = new Set<Entry>()
  readonly #upgraded = new Set<Entry>()
  readonly #groups = new Map<string, Group>()
  readonly #bySocket = new WeakMap<Duplex, Entry>()
  /** Node gives no way from a TLS socket to what was accepted but the addresses of both ends. */
  readonly #byEnds = new Map<string, Entry>()

  constructor(limits: ConnectionLimits, isProxy: (peer: Socket) => boolean) {
    this.#limits = limits
    this.#isProxy = isProxy
  }

  /** Something has connected. */
  accepted(raw: Socket): void {
    const ends = endsOf(raw)
    if (ends === undefined) {
      later(() => raw.destroy())
      return
    }
    raw.on('error', () => raw.destroy())
    const entry: Entry = { raw, socket: raw, group: undefined, since: performance.now(), asked: false }
    this.#bySocket.set(raw, entry)
    this.#byEnds.set(ends, entry)
    raw.once('close', () => {
      this.#leave(entry)
      this.#entries.delete(entry)
      this.#upgraded.delete(entry)
      if (this.#byEnds.get(ends) === entry) this.#byEnds.delete(ends)
    })
    this.#entries.add(entry)
    this.addressed(raw)
    if (this.#entries.size + this.#upgraded.size > this.#limits.maxConnections) this.#makeRoom(this.#entries, entry)
  }

  /** It is known whose it is: at once, or by what a balancer has said by now. */
  addressed(raw: Socket): void {
    const entry = this.#bySocket.get(raw)
    // A trusted proxy's connections are those of all its clients.
    if (!entry || this.#isProxy(raw)) return
    this.#join(entry, addressKey(peerAddress(raw) ?? ''), this.#limits.maxConnectionsPerAddress)
  }

  /** Its handshake is done. Whoever showed a certificate of ours is told apart from others at the same address. */
  secured(socket: Socket): void {
    const entry = this.#byEnds.get(endsOf(socket) ?? '')
    if (!entry) {
      later(() => socket.destroy())
      return
    }
    entry.socket = socket
    this.#bySocket.set(socket, entry)
    const key = clientKeyOf(socket)
    if (key !== undefined) this.#join(entry, `key ${key}`, this.#limits.maxConnectionsPerKey)
    else this.#touch(entry)
  }

  /** Whether a refusal can be written to it: there is no HTTP on what never finished its handshake. */
  speaksHttp(socket: Duplex): boolean {
    return this.#bySocket.get(socket)?.socket === socket
  }

  /** Whose it is, a client key's or an address's; undefined for those of a trusted proxy, which are those of all its clients. */
  holderOf(socket: Duplex): string | undefined {
    return this.#bySocket.get(socket)?.group?.name
  }

  began(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const entry = this.#bySocket.get(incoming.socket)
    if (!entry) return
    entry.asked = true
    entry.request = { incoming, outgoing }
    this.#touch(entry)
  }

  finished(socket: Duplex): void {
    const entry = this.#bySocket.get(socket)
    if (!entry) return
    delete entry.request
    this.#touch(entry)
  }

  /** It is a stream now, which its room bounds; it still counts in all. */
  upgraded(socket: Duplex): void {
    const entry = this.#bySocket.get(socket)
    if (!entry) return
    this.#leave(entry)
    this.#entries.delete(entry)
    this.#upgraded.add(entry)
  }

  /** Closes what has had time to ask something and did not: handshakes, and those that only connected. */
  destroySilent(): void {
    const now = performance.now()
    for (const entry of this.#entries) if (!entry.asked && now - entry.since > SILENCE_MS) destroy(entry)
  }
  destroyUpgraded(): void {
    for (const entry of this.#upgraded) destroy(entry)
  }
  destroyAll(): void {
    for (const entry of this.#entries) destroy(entry)
    this.destroyUpgraded()
  }

  #join(entry: Entry, name: string, most: number): void {
    this.#leave(entry)
    const group = this.#groups.get(name) ?? { entries: new Set<Entry>(), name, most }
    this.#groups.set(name, group)
    group.entries.add(entry)
    entry.group = group
    if (group.entries.size > most) this.#makeRoom(group.entries, entry)
  }

  #leave(entry: Entry): void {
    const { group } = entry
    if (!group) return
    group.entries.delete(entry)
    if (group.entries.size === 0) this.#groups.delete(group.name)
    entry.group = undefined
  }

  /** To the end of the order. */
  #touch(entry: Entry): void {
    for (const entries of [this.#entries, entry.group?.entries]) if (entries?.delete(entry)) entries.add(entry)
  }

  /** Where all others are at work, which they are for moments only, the one that came goes. */
  #makeRoom(entries: ReadonlySet<Entry>, newest: Entry): void {
    for (const entry of entries) {
      if (entry !== newest && isBusy(entry)) continue
      if (entry === newest) later(() => destroy(entry))
      else destroy(entry)
      return
    }
  }
}

/** Whoever else hears of the connection at this moment expects it to be open. */
const later = (work: () => unknown): void => process.nextTick(work)

/** At work: its request has come whole and is not answered yet. */
const isBusy = ({ request }: Entry): boolean => request?.incoming.complete === true && !request.outgoing.writableEnded

/** What was accepted as well: a TLS socket whose handshake never ended has nothing that closes it. */
function destroy(entry: Entry): void {
  entry.socket.destroy()
  entry.raw.destroy()
}
