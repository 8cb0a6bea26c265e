import type { IncomingMessage } from 'node:http'
import { type WebSocket, WebSocketServer } from 'ws'
import type { HostChannel, Hosts } from '#server/hosts/index.ts'
import { type Caller, SupersededKey } from '#server/identity/index.ts'
import { HOST_STREAM_PATH } from '#shared/api/resources/host-stream.ts'
import { KeymanError } from '#shared/errors.ts'
import { addressKey } from '#shared/ip-address.ts'
import { clientCertificateOf } from '../connections/client-certificate.ts'
import type { RateLimiter } from '../connections/rate-limit.ts'
import { refuseUpgrade } from '../connections/refuse.ts'
import type { UpgradeHandler } from '../serve.ts'

/** What a host says is short: hello, in force, failed. */
const MAX_MESSAGE = 16 * 1024
const PING_MS = 30_000
/** What does not answer within this time is a stream whose end was not noticed. */
const PONG_MS = 5_000

/** One host's streams: each is looked up and written down. An agent that is sent away comes back later and later. */
export const STREAMS_PER_HOST = { burst: 30, perMinute: 10 }

export type HostStreamDeps = {
  readonly hosts: Pick<Hosts, 'connect'>
  /** `identity.callerFromClientCertificate`: end, authority and revocation, now. */
  readonly callerFromClientCertificate: (der: Uint8Array, chainAuthorized: boolean) => Caller | Promise<Caller>
  /** `workloads.ring`: a workload's key that was replaced is no less an alarm here, where no workload has business. */
  readonly ring: (key: SupersededKey, at: { readonly requestId: string; readonly from: string }) => Promise<void>
  /** Who fails to show a host's certificate is a stranger, as on every route. */
  readonly strangers: RateLimiter
  /** By host. */
  readonly streams: Pick<RateLimiter, 'take'>
}

/**
 * The upgrade of `GET /v1/host/stream` on the machines' listener. The client certificate is checked at the upgrade and at
 * each frame, both ways: a stream lives for weeks, longer than a certificate.
 */
export function hostStream(deps: HostStreamDeps): UpgradeHandler {
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE,
    perMessageDeflate: false,
    clientTracking: false,
  })
  return (incoming, socket, head, { requestId, from }, opened) => {
    const refuse = (error: unknown) => refuseUpgrade(socket, counted(deps, from, error), requestId)
    if (incoming.url !== HOST_STREAM_PATH)
      return refuse(new KeymanError('not-found', 'there is no stream at this address'))
    // A browser's page has an origin; agents have none.
    if (incoming.headers.origin !== undefined)
      return refuse(new KeymanError('denied', 'the host stream is not for pages'))
    const check = () => callerOf(deps, incoming)
    const open = async () => {
      const caller = await check()
      deps.streams.take(caller.name)
      if (socket.destroyed) return
      server.handleUpgrade(incoming, socket, toBuffer(head), webSocket => {
        opened()
        attach(deps, caller, from, webSocket, check)
      })
    }
    open()
      .catch(async (error: unknown) => {
        if (error instanceof SupersededKey) await deps.ring(error, { requestId, from })
        throw error
      })
      .catch(refuse)
  }
}

/** Whoever asks for what is not for them, or is not there, is a stranger, however well known. */
function counted({ strangers }: HostStreamDeps, from: string, error: unknown): unknown {
  if (!(error instanceof KeymanError) || error.code === 'unavailable' || error.code === 'too-many-requests')
    return error
  try {
    strangers.take(addressKey(from))
    return error
  } catch (tooMany) {
    return tooMany
  }
}

type HostOnly = Extract<Caller, { kind: 'host' }>

async function callerOf(deps: HostStreamDeps, incoming: IncomingMessage): Promise<HostOnly> {
  const certificate = clientCertificateOf(incoming)
  if (!certificate) throw new KeymanError('not-signed-in', 'the host stream needs a client certificate')
  const caller = await deps.callerFromClientCertificate(certificate.der, certificate.authorized)
  if (caller.kind === 'host') return caller
  throw new KeymanError('denied', 'the host stream is for hosts')
}

function attach(
  deps: HostStreamDeps,
  caller: HostOnly,
  from: string,
  webSocket: WebSocket,
  check: () => Promise<HostOnly>,
): void {
  const channel: HostChannel = {
    from,
    isThere: () => isThere(webSocket),
    send: text => new Promise((resolve, reject) => webSocket.send(text, error => (error ? reject(error) : resolve()))),
    close: (code, reason) => webSocket.close(code, reason.slice(0, 100)),
    async check() {
      const now = await check()
      if (now.name !== caller.name) throw new KeymanError('denied', 'the certificate is of another host')
    },
  }
  const connection = deps.hosts.connect(caller, channel)
  let heard = true
  const pinging = setInterval(() => {
    if (!heard) return webSocket.terminate()
    heard = false
    webSocket.ping()
  }, PING_MS)
  webSocket.on('pong', () => {
    heard = true
  })
  webSocket.on('message', (data, binary) => {
    heard = true
    if (binary || !(data instanceof Buffer)) webSocket.close(1003)
    else void connection.receive(data.toString('utf8'))
  })
  webSocket.on('error', () => webSocket.terminate())
  webSocket.on('close', () => {
    clearInterval(pinging)
    connection.closed()
  })
}

/** Whether the other side answers a ping. */
function isThere(webSocket: WebSocket): Promise<boolean> {
  return new Promise(resolve => {
    if (webSocket.readyState !== webSocket.OPEN) return resolve(false)
    const settle = (there: boolean) => () => {
      clearTimeout(timer)
      webSocket.off('pong', onPong)
      webSocket.off('close', onClose)
      resolve(there)
    }
    const onPong = settle(true)
    const onClose = settle(false)
    const timer = setTimeout(onClose, PONG_MS)
    webSocket.on('pong', onPong)
    webSocket.on('close', onClose)
    webSocket.ping()
  })
}

const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
