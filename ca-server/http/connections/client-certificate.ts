import { createHash, X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { Context } from 'hono'
import type { EdgeEnv } from '../request-info.ts'

/**
 * What the handshake showed. `authorized` says that the chain led to one of our roots and that the certificate is for
 * clients, **at the time of the handshake**: its end, its authority and its revocation are checked anew on each request
 * by `identity`.
 */
export type ClientCertificate = {
  /** The same array for every request of one connection: whoever parses it may remember the result by it. */
  readonly der: Uint8Array
  readonly authorized: boolean
  /** Why not, as OpenSSL names it: `CERT_HAS_EXPIRED`, `UNABLE_TO_GET_ISSUER_CERT` … */
  readonly authorizationError: string | undefined
}

/** Read once a connection; afterwards each request costs one look into this map. */
const certificates = new WeakMap<Duplex, ClientCertificate | 'none'>()

/** The client certificate of the request's connection; undefined where none was shown or the connection is not TLS. */
export function clientCertificate(c: Context<EdgeEnv>): ClientCertificate | undefined {
  return clientCertificateOf(c.env.incoming)
}

/** The same for a request that is no Hono request, such as an upgrade. */
export function clientCertificateOf(incoming: IncomingMessage): ClientCertificate | undefined {
  return certificateOf(incoming.socket)
}

/**
 * Names the key of a client certificate that one of our roots signed, by SHA-256 of what it says of the key: it stays the
 * same over all certificates for it.
 */
export function clientKeyOf(socket: Duplex): string | undefined {
  const certificate = certificateOf(socket)
  if (!certificate?.authorized) return undefined
  const spki = new X509Certificate(certificate.der).publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(spki).digest('hex')
}

function certificateOf(socket: Duplex): ClientCertificate | undefined {
  let known = certificates.get(socket)
  if (known === undefined) {
    known = socket instanceof TLSSocket ? readCertificate(socket) : 'none'
    certificates.set(socket, known)
  }
  return known === 'none' ? undefined : known
}

function readCertificate(socket: TLSSocket): ClientCertificate | 'none' {
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) return 'none'
  // The types say Error; in fact it is the error's code.
  const reason: unknown = socket.authorizationError
  return {
    der: Uint8Array.from(certificate.raw),
    authorized: socket.authorized,
    authorizationError: reason === null || reason === undefined ? undefined : String(reason),
  }
}
