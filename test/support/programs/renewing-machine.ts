import { Agent, request } from 'node:https'
import { api } from '#shared/api/index.ts'
import type { ApiSession } from '../people/api-person.ts'

/** What became of one request. */
export type Outcome =
  | { readonly kind: 'certificate'; readonly certificate: string }
  | {
      readonly kind: 'refused'
      readonly status: number
      readonly code: string
      readonly retryAfter: string | undefined
    }
  /** No whole answer came. `sent`: the connection stood, so the request, or a part of it, may have arrived. */
  | { readonly kind: 'lost'; readonly sent: boolean; readonly why: string }

/** A machine of somebody who has signed in: renews the session's SSH certificate over one kept-alive connection. */
export type RenewingMachine = {
  /** Serials (hex, as TLS shows them) of the server certificates that it met. */
  readonly serverCertificates: ReadonlySet<string>
  /** One renewal, without any retry. */
  renew(): Promise<Outcome>
  close(): void
}

export function renewingMachine({ connection, keys }: ApiSession): RenewingMachine {
  const { method, path } = api.ssh.issueUserCertificate
  const url = new URL(path, connection.url)
  const payload = JSON.stringify({ publicKey: keys.ssh.line })
  const serverCertificates = new Set<string>()
  const agent = new Agent({
    keepAlive: true,
    maxSockets: 1,
    maxCachedSessions: 0,
    ...(connection.root === undefined ? {} : { ca: connection.root }),
    ...(connection.client ? { key: connection.client.key, cert: connection.client.certificate } : {}),
  })
  const renew = () =>
    new Promise<Outcome>(resolve => {
      let sent = false
      const lost = (why: string) => resolve({ kind: 'lost', sent, why })
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }
      const asked = request(url, { method, agent, headers })
      asked.on('error', (error: NodeJS.ErrnoException) => lost(error.code ?? error.message))
      asked.on('socket', socket => {
        sent = asked.reusedSocket
        if (sent) return
        socket.once('secureConnect', () => {
          sent = true
        })
      })
      asked.on('response', response => {
        const { socket } = response
        if ('getPeerX509Certificate' in socket && typeof socket.getPeerX509Certificate === 'function')
          serverCertificates.add(socket.getPeerX509Certificate()?.serialNumber ?? '')
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('error', error => lost(`in the middle of the answer: ${error.message}`))
        response.on('end', () => resolve(outcomeOf(response.statusCode ?? 0, text, response.headers['retry-after'])))
      })
      asked.end(payload)
    })
  return { serverCertificates, renew, close: () => agent.destroy() }
}

function outcomeOf(status: number, text: string, retryAfter: string | undefined): Outcome {
  const body: unknown = JSON.parse(text)
  const of = (name: string) => String((typeof body === 'object' && body !== null && Reflect.get(body, name)) || '')
  return status === 200
    ? { kind: 'certificate', certificate: of('certificate') }
    : { kind: 'refused', status, code: of('code'), retryAfter }
}
