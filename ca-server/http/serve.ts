import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type ServerOptions as TlsServerOptions } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { getRequestListener } from '@hono/node-server'
import type { Hono } from 'hono'
import { KeymanError } from '#shared/errors.ts'
import { connectionsFor, openFilesLimit } from './connection-limit.ts'
import type { OnInternalError } from './edge.ts'
import { problem } from './problem.ts'
import { MAX_BODY_BYTES } from './read-json.ts'
import { refusalOf, refuseBroken, refuseUpgrade, sendProblem } from './refuse.ts'
import { describeRequest, type EdgeEnv, type RequestInfo, type TrustedProxies } from './request-info.ts'

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
} as const

export type Limits = { readonly [name in keyof typeof LIMITS]: number } & {
  /** Beyond this many, the connection that has been idle for longest gives way. */
  readonly maxConnections: number
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
}

export type UpgradeHandler = (incoming: IncomingMessage, socket: Duplex, head: Uint8Array, info: RequestInfo) => void

export type ServeOptions = {
  readonly name: 'pages' | 'machines'
  readonly listen: { readonly host: string; readonly port: number }
  readonly app: Hono<EdgeEnv>
  readonly tls?: TlsServerOptions
  readonly headers: Readonly<Record<string, string>>
  /** Says no before any route. */
  readonly guard?: (incoming: IncomingMessage) => KeymanError | undefined
  readonly onUpgrade?: UpgradeHandler
  readonly trustedProxies?: TrustedProxies | undefined
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
  const limits: Limits = { ...LIMITS, maxConnections: connectionsFor(openFilesLimit()), ...options.limits }
  const handleByHono = getRequestListener(options.app.fetch, {
    // What never becomes a request: a URL or a Host that is none. Nobody knows its ID by then; it is in the log line.
    errorHandler: () => problem(new KeymanError('invalid-input', 'the address of the request is not valid'), 'none'),
  })
  const state: State = {
    running: new Set(),
    closing: false,
    busyAt: Number.NEGATIVE_INFINITY,
    idle: new Map(),
    upgraded: new Set(),
  }
  const onRequest: RequestListener = (incoming, outgoing) => {
    const info = describeRequest(incoming, options.trustedProxies)
    begin(state, options, incoming, outgoing, info)
    for (const name in options.headers) outgoing.setHeader(name, options.headers[name] ?? '')
    outgoing.setHeader('x-request-id', info.requestId)
    if (state.closing) outgoing.shouldKeepAlive = false
    const refusal = refusalOf(incoming) ?? options.guard?.(incoming)
    if (refusal) sendProblem(outgoing, refusal, info.requestId)
    else void handleByHono(incoming, outgoing)
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
  // Twice: handshakes that are under way count too.
  server.maxConnections = 2 * limits.maxConnections
  server.on(options.tls ? 'secureConnection' : 'connection', (socket: Socket) =>
    admit(state, socket, limits.maxConnections),
  )
  server.on('checkContinue', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    // The body's limit is looked at before the client is told to go on; the route then refuses by the declared length.
    if (!(Number(incoming.headers['content-length']) > MAX_BODY_BYTES)) outgoing.writeContinue()
    onRequest(incoming, outgoing)
  })
  server.on('clientError', refuseBroken)
  server.on('upgrade', (incoming: IncomingMessage, socket: Duplex, head: Uint8Array) => {
    const info = describeRequest(incoming, options.trustedProxies)
    socket.on('error', () => socket.destroy())
    const refusal = refusalOf(incoming) ?? options.guard?.(incoming)
    if (refusal || !options.onUpgrade || state.closing) {
      return refuseUpgrade(
        socket,
        refusal ?? new KeymanError('not-found', 'nothing to upgrade to at this address'),
        info.requestId,
      )
    }
    if ('setTimeout' in incoming.socket) incoming.socket.setTimeout(0)
    state.idle.delete(socket)
    state.upgraded.add(socket)
    socket.once('close', () => state.upgraded.delete(socket))
    try {
      options.onUpgrade(incoming, socket, head, info)
    } catch (error) {
      options.onInternalError(error, info.requestId)
      refuseUpgrade(socket, error, info.requestId)
    }
  })
  await listening(server, options)
  return {
    server,
    address: addressOf(server),
    close: deadline => drain(server, state, deadline ?? 10_000, limits.lingerTimeout),
  }
}

type State = {
  readonly running: Set<ServerResponse>
  closing: boolean
  /** When the last answer ended, by `performance.now()`. */
  busyAt: number
  /** Connections in the order in which they last fell idle; a Map so that the oldest is found at once. */
  readonly idle: Map<Duplex, true>
  readonly upgraded: Set<Duplex>
  onIdle?: () => void
}

function begin(
  state: State,
  options: ServeOptions,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  info: RequestInfo,
) {
  const started = performance.now()
  const { socket } = incoming
  state.running.add(outgoing)
  state.idle.delete(socket)
  outgoing.once('close', () => {
    state.running.delete(outgoing)
    state.busyAt = performance.now()
    if (!socket.destroyed) state.idle.set(socket, true)
    options.log?.({
      listener: options.name,
      requestId: info.requestId,
      from: info.from,
      method: incoming.method ?? '',
      path: (incoming.url ?? '').split('?', 1)[0]?.slice(0, 200) ?? '',
      status: outgoing.statusCode,
      duration: Math.round((performance.now() - started) * 1000),
      ...(info.caller === undefined ? {} : { caller: info.caller }),
    })
    if (state.closing) state.onIdle?.()
  })
}

/** A new connection is always let in; where there are too many, the one that has been idle for longest goes. */
function admit(state: State, socket: Duplex, maxConnections: number) {
  state.idle.set(socket, true)
  socket.once('close', () => state.idle.delete(socket))
  if (state.idle.size <= maxConnections) return
  for (const oldest of state.idle.keys()) {
    oldest.destroy()
    state.idle.delete(oldest)
    break
  }
}

function listening(server: Server, { listen, name }: ServeOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: Error & { code?: string }) => {
      const reason =
        error.code === 'EADDRINUSE'
          ? 'is taken by another program'
          : error.code === 'EACCES'
            ? 'may not be used by this user'
            : `can't be listened on (${error.code ?? 'unknown reason'})`
      reject(
        new KeymanError('unavailable', `${name}.listen: ${listen.host} port ${listen.port} ${reason}`, {
          hint: `set another address with ${name}.listen in the configuration or KEYMAN_${name.toUpperCase()}_LISTEN`,
        }),
      )
    })
    server.listen(listen.port, listen.host, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })
}

function addressOf(server: Server): { host: string; port: number } {
  const address: AddressInfo | string | null = server.address()
  if (address === null || typeof address === 'string') throw new Error('the listener has no address')
  return { host: address.address, port: address.port }
}

async function drain(server: Server, state: State, deadline: number, linger: number): Promise<void> {
  const end = performance.now() + deadline
  state.closing = true
  for (const outgoing of state.running) outgoing.shouldKeepAlive = false
  if (state.running.size > 0 || performance.now() - state.busyAt < 1_000)
    await new Promise(resolve => setTimeout(resolve, Math.min(linger, deadline)))
  await new Promise<void>(resolve => {
    const closeUpgraded = () => {
      for (const socket of state.upgraded) socket.destroy()
    }
    const timer = setTimeout(
      () => {
        closeUpgraded()
        server.closeAllConnections()
      },
      Math.max(0, end - performance.now()),
    )
    state.onIdle = () => {
      server.closeIdleConnections()
      if (state.running.size === 0) closeUpgraded()
    }
    server.close(() => {
      clearTimeout(timer)
      resolve()
    })
    state.onIdle()
  })
}
