import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { BlockList, isIP } from 'node:net'
import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import type { ErrorCode } from '#shared/errors.ts'
import { plainAddress } from './connections/plain-address.ts'
import { peerAddress } from './connections/proxy-protocol.ts'

/** What the edge keeps of each request beside the request itself. */
export type RequestInfo = {
  /** `req_` and 96 random bits. Ours alone: an inbound X-Request-Id could collide with another's on purpose. */
  readonly requestId: string
  /** The client's address; behind a trusted proxy the one that it reports. */
  readonly from: string
  /** Set by `noteCaller`, for the access log. */
  caller: string | undefined
  /** Why it was refused. */
  refusal?: ErrorCode
}

export type EdgeEnv = { Bindings: HttpBindings }
export type TrustedProxies = BlockList

const infos = new WeakMap<IncomingMessage, RequestInfo>()

/** Called once a request by the listener. */
export function describeRequest(incoming: IncomingMessage, trusted: TrustedProxies | undefined): RequestInfo {
  const info: RequestInfo = { requestId: newRequestId(), from: clientAddress(incoming, trusted), caller: undefined }
  infos.set(incoming, info)
  return info
}

/** Request ID and client address of the request that is being served. */
export function requestInfo(c: Context<EdgeEnv>): RequestInfo {
  return infoOf(c.env.incoming)
}

export function infoOf(incoming: IncomingMessage): RequestInfo {
  const info = infos.get(incoming)
  if (!info) throw new Error('a request that did not come through a listener of ours')
  return info
}

/** Names the caller in the access log's line. */
export function noteCaller(c: Context<EdgeEnv>, caller: string): void {
  requestInfo(c).caller = caller
}

// Random bytes are drawn in bulk: one call of the generator for 256 requests.
let pool = randomBytes(0)
let used = 0
function newRequestId(): string {
  if (used + 12 > pool.length) {
    pool = randomBytes(12 * 256)
    used = 0
  }
  used += 12
  return `req_${pool.toString('base64url', used - 12, used)}`
}

/** Addresses and CIDR ranges, checked by the configuration. Undefined where there are none, the usual case. */
export function trustedProxies(entries: readonly string[]): TrustedProxies | undefined {
  if (entries.length === 0) return undefined
  const list = new BlockList()
  for (const entry of entries) {
    const [address = '', bits] = entry.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return list
}

export function isTrustedPeer(address: string | undefined, trusted: TrustedProxies | undefined): boolean {
  if (address === undefined || !trusted) return false
  const plain = plainAddress(address)
  return trusted.check(plain, isIP(plain) === 6 ? 'ipv6' : 'ipv4')
}

/**
 * The address nearest to us that is not a trusted proxy's, read from the right: what stands further left in
 * X-Forwarded-For was written by whoever sent it.
 */
export function clientAddress(incoming: IncomingMessage, trusted: TrustedProxies | undefined): string {
  const peer = plainAddress(peerAddress(incoming.socket) ?? '')
  if (!trusted) return peer
  const isTrusted = (address: string) => isTrustedPeer(address, trusted)
  if (!isTrusted(peer)) return peer
  const header = incoming.headers['x-forwarded-for']
  const hops = (typeof header === 'string' ? header : '').split(',').slice(-16)
  let client = peer
  for (const hop of hops.reverse()) {
    const address = plainAddress(hop.trim())
    if (isIP(address) === 0) break
    client = address
    if (!isTrusted(address)) break
  }
  return client
}
