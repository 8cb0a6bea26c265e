import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { KeymanError } from '#shared/errors.ts'
import { asKeymanError, problemDocument, problemHeaders } from '../problem.ts'

/** Refusals that are written before, or without, any route. */

/**
 * Only paths (RFC 9112 section 3.2.1): an absolute address in the request line would name a second host. And no transfer
 * coding but `chunked` itself: the parser hands such a request on before it finds that the body has no end it knows.
 */
export function refusalOf(incoming: IncomingMessage): KeymanError | undefined {
  if (incoming.url?.startsWith('/') !== true) {
    return new KeymanError('invalid-input', 'the address in the request line must be a path')
  }
  const coding = incoming.headers['transfer-encoding']
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    return new KeymanError('invalid-input', 'a transfer coding other than chunked is not taken')
  }
  const { expect } = incoming.headers
  if (expect !== undefined && expect.toLowerCase() !== '100-continue') {
    return new KeymanError('invalid-input', 'nothing but 100-continue can be expected')
  }
  return undefined
}

export function sendProblem(outgoing: ServerResponse, error: KeymanError, requestId: string) {
  const { status, body } = problemDocument(error, requestId)
  outgoing.shouldKeepAlive = false
  outgoing.writeHead(status, { ...problemHeaders(error), 'content-length': Buffer.byteLength(body) })
  outgoing.end(body)
}

/** Answers an upgrade that is not wanted, and ends the connection. */
export function refuseUpgrade(socket: Duplex, error: unknown, requestId: string): void {
  const ours = asKeymanError(error)
  const { status, body } = problemDocument(ours, requestId)
  rawAnswer(socket, `${status} Refused`, { ...problemHeaders(ours), 'x-request-id': requestId }, body)
}

/** What llhttp refuses: header injection, both Content-Length and Transfer-Encoding (request smuggling), too large, too slow. */
export function refuseBroken(error: Error & { code?: string }, socket: Duplex) {
  if (!socket.writable || error.code === 'ECONNRESET') return void socket.destroy()
  const [status, message] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? ['431 Request Header Fields Too Large', 'the headers are too large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['408 Request Timeout', 'the request took too long to arrive']
        : ['400 Bad Request', 'the request is not valid HTTP']
  const { body } = problemDocument(new KeymanError('invalid-input', message), 'none')
  rawAnswer(socket, status, { 'content-type': 'application/problem+json' }, body)
}

function rawAnswer(socket: Duplex, status: string, headers: Readonly<Record<string, string>>, body: string) {
  const lines = Object.entries({ ...headers, connection: 'close', 'content-length': String(Buffer.byteLength(body)) })
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.end(`HTTP/1.1 ${status}\r\n${head}\r\n${body}`, () => socket.destroy())
}
