import { connect, type TLSSocket } from 'node:tls'
import type { ApiSession } from '#test/support/people/api-person.ts'

/** One user of the server: sends a request when the last one has been answered. Says why it failed, or nothing. */
export type User = { once(): Promise<string | undefined>; close(): void }

/**
 * Renews the certificate of one session over one kept-alive connection. It speaks HTTP/1.1 by hand: an HTTP client would use
 * as much CPU as what is measured.
 */
export async function renewingUser({ connection, keys }: ApiSession): Promise<User> {
  const { hostname, port, host } = new URL(connection.url)
  const { root, client } = connection
  if (!root || !client) throw new Error('a session has a root and a client certificate')
  const socket = connect({
    host: hostname,
    port: Number(port),
    servername: hostname,
    ca: root,
    key: client.key,
    cert: client.certificate,
  })
  socket.setNoDelay(true)
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
  const body = JSON.stringify({ publicKey: keys.ssh.line })
  const head = [
    'POST /v1/ssh/user-certificates HTTP/1.1',
    `host: ${host}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
  ]
  const request = `${head.join('\r\n')}\r\n\r\n${body}`
  const exchange = exchanges(socket)
  return { once: () => exchange(request), close: () => socket.destroy() }
}

/** Sends a request and waits for the whole answer, which has to tell its length and to hold a certificate. */
function exchanges(socket: TLSSocket): (request: string) => Promise<string | undefined> {
  let answer = ''
  let settle: ((why: string | undefined) => void) | undefined
  const finish = (why: string | undefined) => {
    const done = settle
    settle = undefined
    answer = ''
    done?.(why)
  }
  socket.setEncoding('latin1')
  socket.on('data', (chunk: string) => {
    answer += chunk
    const head = answer.indexOf('\r\n\r\n')
    if (head < 0) return
    const length = /\r\ncontent-length: (\d+)/i.exec(answer)?.[1]
    if (length === undefined) return finish(`an answer without a length: ${answer.slice(0, 200)}`)
    if (answer.length < head + 4 + Number(length)) return
    finish(answer.startsWith('HTTP/1.1 200 ') && answer.includes('-cert-v01@openssh.com ') ? undefined : answer)
  })
  socket.on('error', error => finish(error.message))
  socket.on('close', () => finish('the connection was closed'))
  return request =>
    new Promise(resolve => {
      settle = resolve
      if (socket.destroyed) finish('the connection was closed')
      else socket.write(request)
    })
}
