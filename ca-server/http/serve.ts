import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type ServerOptions as TlsServerOptions } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { getRequestListener } from '@hono/node-server'
import type { Hono } from 'hono'
import { type ErrorCode, KeymanError } from '#shared/errors.ts'
import { addressKey } from '#shared/ip-address.ts'
import { Bodies } from './connections/bodies.ts'
import { connectionsFor, connectionsPerAddress, openFilesLimit } from './connections/connection-limit.ts'
import { Connections } from './connections/connections.ts'
import { Lanes } from './connections/lanes.ts'
import { listenOn } from './connections/listen-on.ts'
import { peerAddress, readProxyHeaders } from './connections/proxy-protocol.ts'
import type { RateLimiter } from './connections/rate-limit.ts'
import { refusalOf, refuseBroken, refuseUpgrade, sendProblem } from './connections/refuse.ts'
import type { OnInternalError } from './edge.ts'
import { asKeymanError, problem } from './problem.ts'
import { MAX_BODY_BYTES } from './read-json.ts'
import {
  clientAddress,
  describeRequest,
  type EdgeEnv,
  isTrustedPeer,
  type RequestInfo,
  type TrustedProxies,
} from './request-info.ts'

/** What both listeners have in common: limits, request IDs, access log, refusals before any route, and a graceful end. */

/** Every bound of the edge stands here, with its reason. Times in milliseconds. */
export const LIMITS = {
  /** Headers of a request that is honest arrive within a few round trips; a slow sender must not hold a connection. */
  headersTimeout: 10_000,
  /** The whole request, body included: 64 kB at 2 kB/s. */
  requestTimeout: 30_000,
  /** Longer than the minute that proxies keep an idle connection, so that they close it first. */
  keepAliveTimeout: 65_000,
  /** No bytes in either direction. */
  idleTimeout: 120_000,
  handshakeTimeout: 10_000,
  maxHeaderSize: 16 * 1024,
  maxHeadersCount: 100,
  /**
   * Of a listener that closes: whoever was busy within the last second may be sending the next request at this moment. It is
   * answered for so long, and told that the connection closes; else it would be lost without an answer.
   */
  lingerTimeout: 200,
  /** From the moment that an answer is made until it has been taken: the longest, 2 MB, at 70 kB/s. */
  answerTimeout: 30_000,
  /** Not read whole, of all connections: 32 MB in all. One of whoever has most gives way. */
  maxBodies: 500,
  /** A machine's commands at the same time, each with a connection of its own. */
  maxConnectionsPerKey: 64,
} as const

export type Limits = { readonly [name in keyof typeof LIMITS]: number } & {
  /** Beyond this many, the connection that has been idle for longest gives way. */
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
}

/** One line a request: no query string, no header, no body. */
export type AccessLine = {
  readonly listener: string
  readonly requestId: string
  readonly from: string
  readonly method: string
  readonly path: string
  readonly status: number
  /** Microseconds from the end of the headers to the end of the answer. */
  readonly duration: number
  readonly caller?: string
  /** Why it was refused, where a route did. */
  readonly code?: ErrorCode
}

/** `opened`: to be called when it is let in. Until then the connection is its address's, and has a time to end. */
export type UpgradeHandler = (
  incoming: IncomingMessage,
  socket: Duplex,
  head: Uint8Array,
  info: RequestInfo,
  opened: () => void,
) => void

export type ServeOptions = {
  readonly name: 'pages' | 'machines'
  readonly listen: { readonly host: string; readonly port: number }
  readonly app: Hono<EdgeEnv>
  readonly tls?: TlsServerOptions
  readonly headers: Readonly<Record<string, string>>
  /** Says no before any route. */
  readonly guard?: (incoming: IncomingMessage) => KeymanError | undefined
  readonly onUpgrade?: UpgradeHandler
  /** By address: what is refused before any route is a stranger's, and counted. */
  readonly strangers: Pick<RateLimiter, 'take'>
  readonly trustedProxies?: TrustedProxies | undefined
  /** Who has to say by the PROXY protocol whose connection it is. */
  readonly proxyProtocolFrom?: TrustedProxies | undefined
  readonly log?: ((line: AccessLine) => void) | undefined
  readonly onInternalError: OnInternalError
  /** For tests: shorter times, fewer connections. */
  readonly limits?: Partial<Limits> | undefined
}

export type Listener = {
  readonly address: { readonly host: string; readonly port: number }
  /** Stops accepting, lets running requests end within `deadline` milliseconds (default 10 s), closes the rest. */
  close(deadline?: number): Promise<void>
}

export async function serve(options: ServeOptions): Promise<Listener & { readonly server: Server }> {
  const limits = limitsOf(options)
  const handleByHono = getRequestListener(options.app.fetch, {
    // What never becomes a request: a URL or a Host that is none. Nobody knows its ID by then; it is in the log line.
    errorHandler: () => problem(new KeymanError('invalid-input', 'the address of the request is not valid'), 'none'),
  })
  const state: State = { running: new Map(), closing: false, busyAt: Number.NEGATIVE_INFINITY }
  const isBalancer = (peer: Socket) => isTrustedPeer(peer.remoteAddress, options.proxyProtocolFrom)
  const connections = new Connections(
    limits,
    // A balancer that has not said whose it is, or speaks for itself, is nobody's address.
    peer =>
      isTrustedPeer(peerAddress(peer), options.trustedProxies) ||
      (isBalancer(peer) && peerAddress(peer) === peer.remoteAddress),
  )
  const lanes = new Lanes()
  const bodies = new Bodies(limits.maxBodies)
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse, refused?: KeymanError) => {
    const info = describeRequest(incoming, options.trustedProxies)
    begin(state, connections, options, incoming, outgoing, info)
    for (const name in options.headers) outgoing.setHeader(name, options.headers[name] ?? '')
    outgoing.setHeader('x-request-id', info.requestId)
    if (state.closing) outgoing.shouldKeepAlive = false
    const refusal = refused ?? refusalBeforeRoutes(options, incoming, info)
    if (refusal) sendProblem(outgoing, refusal, info.requestId)
    else void handleByHono(incoming, outgoing)
  }
  const onRequest: RequestListener = (incoming, outgoing) => {
    if (hasBody(incoming))
      bodies.add(
        incoming,
        connections.holderOf(incoming.socket) ?? addressKey(clientAddress(incoming, options.trustedProxies)),
      )
    lanes.enter(incoming, outgoing, answer, (late, unanswered) => answer(late, unanswered, TOO_MANY_AHEAD))
  }
  const serverOptions = {
    maxHeaderSize: limits.maxHeaderSize,
    headersTimeout: limits.headersTimeout,
    requestTimeout: limits.requestTimeout,
    keepAliveTimeout: limits.keepAliveTimeout,
    connectionsCheckingInterval: Math.min(2000, limits.headersTimeout / 2, limits.requestTimeout / 2),
    requireHostHeader: true,
    insecureHTTPParser: false,
    noDelay: true,
  }
  const server = options.tls
    ? createTlsServer({ ...serverOptions, ...options.tls, handshakeTimeout: limits.handshakeTimeout }, onRequest)
    : createServer(serverOptions, onRequest)
  server.maxHeadersCount = limits.maxHeadersCount
  server.timeout = limits.idleTimeout
  if (options.proxyProtocolFrom)
    readProxyHeaders(server, {
      timeout: limits.handshakeTimeout,
      isFrom: isBalancer,
      onAddress: raw => connections.addressed(raw),
      onRefused: ({ remoteAddress }) => options.log?.(refusedHeader(options.name, remoteAddress ?? '')),
    })
  server.prependListener('connection', (raw: Socket) => connections.accepted(raw))
  if (options.tls) server.prependListener('secureConnection', (socket: Socket) => connections.secured(socket))
  server.on('checkContinue', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    // The body's limit is looked at before the client is told to go on; the route then refuses by the declared length.
    if (!(Number(incoming.headers['content-length']) > MAX_BODY_BYTES)) outgoing.writeContinue()
    onRequest(incoming, outgoing)
  })
  // Else Node answers 417 by itself, in front of lanes and limits.
  server.on('checkExpectation', onRequest)
  server.on('clientError', (error: Error & { code?: string }, socket: Duplex) =>
    connections.speaksHttp(socket) ? refuseBroken(error, socket) : void socket.destroy(),
  )
  server.on('upgrade', (incoming: IncomingMessage, socket: Duplex, head: Uint8Array) => {
    const info = describeRequest(incoming, options.trustedProxies)
    socket.on('error', () => socket.destroy())
    // Something is still being answered there.
    if (lanes.isBusy(socket)) return void socket.destroy()
    // Node knows nothing of it any more: a refusal that is not taken must not keep it open.
    const deciding = setTimeout(() => incoming.socket.destroy(), limits.answerTimeout)
    socket.once('close', () => clearTimeout(deciding))
    const refusal = refusalBeforeRoutes(options, incoming, info)
    if (refusal || !options.onUpgrade || state.closing) {
      return refuseUpgrade(
        socket,
        refusal ?? new KeymanError('not-found', 'nothing to upgrade to at this address'),
        info.requestId,
      )
    }
    const opened = () => {
      clearTimeout(deciding)
      incoming.socket.setTimeout(0)
      connections.upgraded(socket)
    }
    try {
      options.onUpgrade(incoming, socket, head, info, opened)
    } catch (error) {
      options.onInternalError(error, info.requestId)
      refuseUpgrade(socket, error, info.requestId)
    }
  })
  await listenOn(server, options)
  const looking = setInterval(() => endUnread(state, limits.answerTimeout), Math.min(2_000, limits.answerTimeout / 2))
  looking.unref()
  server.once('close', () => clearInterval(looking))
  return {
    server,
    address: addressOf(server),
    close: deadline => drain(server, state, connections, deadline ?? 10_000, limits.lingerTimeout),
  }
}

function limitsOf({ limits }: ServeOptions): Limits {
  const maxConnections = limits?.maxConnections ?? connectionsFor(openFilesLimit())
  return { ...LIMITS, maxConnectionsPerAddress: connectionsPerAddress(maxConnections), ...limits, maxConnections }
}

/** A balancer that sends no header, or something else, is a mistake that the operator should hear of. */
const refusedHeader = (listener: string, from: string): AccessLine => ({
  ...{ listener, requestId: 'none', from, method: 'PROXY', path: '', status: 400, duration: 0 },
})

const TOO_MANY_AHEAD = new KeymanError(
  'too-many-requests',
  'too many requests were sent before the first was answered',
  {
    retryAfter: 1,
    hint: 'wait for each answer before the next request',
  },
)

/** What no route sees costs its sender as much as what one does. */
function refusalBeforeRoutes(
  { guard, strangers }: ServeOptions,
  incoming: IncomingMessage,
  { from }: RequestInfo,
): KeymanError | undefined {
  const refusal = refusalOf(incoming) ?? guard?.(incoming)
  if (!refusal) return undefined
  try {
    strangers.take(addressKey(from))
    return refusal
  } catch (error) {
    return asKeymanError(error)
  }
}

/** An honest body comes with its headers or right behind them. */
const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined

/** Ends connections whose answer was made long ago and is not taken. */
function endUnread({ running }: State, timeout: number) {
  const now = performance.now()
  for (const [outgoing, answer] of running) {
    if (!outgoing.writableEnded) continue
    answer.madeAt ??= now
    if (now - answer.madeAt > timeout) answer.socket.destroy()
  }
}

type State = {
  /** What is being answered, with when its answer was found to be made. */
  readonly running: Map<ServerResponse, { readonly socket: Duplex; madeAt?: number }>
  closing: boolean
  /** When the last answer ended, by `performance.now()`. */
  busyAt: number
  onIdle?: () => void
}

function begin(
  state: State,
  connections: Connections,
  options: ServeOptions,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  info: RequestInfo,
) {
  const started = performance.now()
  const { socket } = incoming
  state.running.set(outgoing, { socket })
  connections.began(incoming, outgoing)
  outgoing.once('close', () => {
    state.running.delete(outgoing)
    state.busyAt = performance.now()
    connections.finished(socket)
    options.log?.({
      listener: options.name,
      requestId: info.requestId,
      from: info.from,
      method: incoming.method ?? '',
      path: (incoming.url ?? '').split('?', 1)[0]?.slice(0, 200) ?? '',
      status: outgoing.statusCode,
      duration: Math.round((performance.now() - started) * 1000),
      ...(info.caller === undefined ? {} : { caller: info.caller }),
      ...(info.refusal === undefined ? {} : { code: info.refusal }),
    })
    if (state.closing) state.onIdle?.()
  })
}

function addressOf(server: Server): { host: string; port: number } {
  const address: AddressInfo | string | null = server.address()
  if (address === null || typeof address === 'string') throw new Error('the listener has no address')
  return { host: address.address, port: address.port }
}

async function drain(server: Server, state: State, connections: Connections, deadline: number, linger: number) {
  const end = performance.now() + deadline
  state.closing = true
  for (const outgoing of state.running.keys()) outgoing.shouldKeepAlive = false
  if (state.running.size > 0 || performance.now() - state.busyAt < 1_000)
    await new Promise(resolve => setTimeout(resolve, Math.min(linger, deadline)))
  await new Promise<void>(resolve => {
    const timer = setTimeout(() => connections.destroyAll(), Math.max(0, end - performance.now()))
    state.onIdle = () => {
      server.closeIdleConnections()
      if (state.running.size === 0) connections.destroyUpgraded()
    }
    // Of what never asked anything Node knows nothing, or waits for it as for a request.
    const silence = setInterval(() => connections.destroySilent(), 100)
    server.close(() => {
      clearTimeout(timer)
      clearInterval(silence)
      resolve()
    })
    state.onIdle()
  })
}
