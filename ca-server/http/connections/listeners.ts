import { constants } from 'node:crypto'
import { Server as TlsServer } from 'node:https'
import type { Hono } from 'hono'
import type { OnInternalError } from '../edge.ts'
import { machinesGuard, pageGuard, pageHeaders } from '../page-guard.ts'
import { type EdgeEnv, trustedProxies } from '../request-info.ts'
import { type AccessLine, type Limits, type Listener, serve, type UpgradeHandler } from '../serve.ts'
import type { RateLimiter } from './rate-limit.ts'

export type { AccessLine, Listener, UpgradeHandler } from '../serve.ts'
export { refuseUpgrade } from './refuse.ts'

/** A server certificate (leaf first, then what leads to the root) and its private key, both PEM. */
export type ServerIdentity = { readonly cert: string; readonly key: string }

type Common = {
  readonly listen: { readonly host: string; readonly port: number }
  readonly app: Hono<EdgeEnv>
  /** Addresses and ranges whose X-Forwarded-For is believed. Default none. */
  readonly trustedProxies?: readonly string[]
  /** Addresses and ranges that have to say by the PROXY protocol whose connection it is. Default none. */
  readonly proxyProtocolFrom?: readonly string[]
  readonly log?: (line: AccessLine) => void
  readonly onInternalError: OnInternalError
  /** By address: for what is refused before any route. */
  readonly strangers: Pick<RateLimiter, 'take'>
  /** For tests: shorter times, fewer connections. */
  readonly limits?: Partial<Limits>
}

export type RenewableListener = Listener & {
  /** Takes the certificate anew; connections that are open stay as they are. */
  renew(clientRoots?: readonly string[]): void
}

// No TLS compression exists any more; renegotiation would let a client change its certificate in mid-connection.
const NO_RENEGOTIATION = constants.SSL_OP_NO_RENEGOTIATION

/** Those of TLS 1.3, and of TLS 1.2 the ones with forward secrecy that encrypt and authenticate in one (no CBC). */
const AUTHENTICATED = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
].join(':')

/**
 * What browsers open: plain HTTP on loopback, or TLS where `tls` gives a certificate. It never asks for a client
 * certificate, so no browser shows a picker. Host, Origin and fetch metadata are checked before any route.
 */
export async function startPagesListener(
  options: Common & { readonly publicUrl: string; readonly tls?: () => ServerIdentity },
): Promise<RenewableListener> {
  const { tls } = options
  const secure = () => ({
    ...tls?.(),
    minVersion: 'TLSv1.2' as const,
    ciphers: AUTHENTICATED,
    secureOptions: NO_RENEGOTIATION,
  })
  const { server, address, close } = await serve({
    ...common(options),
    name: 'pages',
    ...(tls ? { tls: secure() } : {}),
    headers: pageHeaders(options.publicUrl),
    guard: pageGuard(options.publicUrl),
  })
  return {
    address,
    close,
    renew: () => {
      if (server instanceof TlsServer) server.setSecureContext(secure())
    },
  }
}

/**
 * For `keyman` and `keyman-agent`. Asks for a client certificate and lets in without: the routes decide, by
 * `clientCertificate`. **No TLS session is resumed**: a resumed one would count as authorized after its certificate's end,
 * even for somebody who holds the session without the key. OpenSSL's own cache is off
 * in Node, tickets are off by SSL_OP_NO_TICKET, and nothing listens for `newSession` or `resumeSession`.
 */
export async function startMachinesListener(
  options: Common & {
    /** Where the pages are: of no other origin is anything taken. */
    readonly publicUrl: string
    readonly tls: () => ServerIdentity
    /** PEM of the machine authority's roots: the only trust anchors for client certificates. */
    readonly clientRoots: readonly string[]
    readonly onUpgrade?: UpgradeHandler
  },
): Promise<RenewableListener> {
  let roots = options.clientRoots
  const secure = () => ({
    ...options.tls(),
    ca: [...roots],
    // Whatever of ours connects here speaks it.
    minVersion: 'TLSv1.3' as const,
    secureOptions: constants.SSL_OP_NO_TICKET,
    honorCipherOrder: true,
  })
  const { server, address, close } = await serve({
    ...common(options),
    name: 'machines',
    tls: { ...secure(), requestCert: true, rejectUnauthorized: false },
    headers: { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' },
    guard: machinesGuard(options.publicUrl),
    ...(options.onUpgrade ? { onUpgrade: options.onUpgrade } : {}),
  })
  return {
    address,
    close,
    renew: clientRoots => {
      roots = clientRoots ?? roots
      if (server instanceof TlsServer) server.setSecureContext(secure())
    },
  }
}

const common = (options: Common) => ({
  listen: options.listen,
  app: options.app,
  log: options.log,
  onInternalError: options.onInternalError,
  strangers: options.strangers,
  limits: options.limits,
  trustedProxies: trustedProxies(options.trustedProxies ?? []),
  proxyProtocolFrom: trustedProxies(options.proxyProtocolFrom ?? []),
})
