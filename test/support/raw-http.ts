import { connect as connectPlain, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'

export type RawAnswer = { status: number; headers: Record<string, string>; body: string; whole: string }

/**
 * Sends exactly these bytes and gives everything that came back once the other side has closed the connection or, with
 * `until`, once that text has come. For requests that no well-behaved client would make.
 */
export function rawExchange(
  to: { port: number; tls?: ConnectionOptions },
  bytes: string,
  until?: string,
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const socket = open(to)
    let whole = ''
    const done = () => {
      socket.destroy()
      resolve(parse(whole))
    }
    socket.setEncoding('latin1')
    socket.on('data', (text: string) => {
      whole += text
      if (until !== undefined && whole.includes(until)) done()
    })
    socket.on('close', done)
    socket.on('error', error => (whole === '' ? reject(error) : done()))
    socket.write(bytes, 'latin1')
  })
}

/** A connection on which nothing is sent yet. */
export function open(to: { port: number; tls?: ConnectionOptions }): Socket {
  return to.tls
    ? connectTls({ host: '127.0.0.1', port: to.port, servername: 'localhost', ...to.tls })
    : connectPlain(to.port, '127.0.0.1')
}

function parse(whole: string): RawAnswer {
  const [head = '', body = ''] = whole.split('\r\n\r\n', 2)
  const [line = '', ...fields] = head.split('\r\n')
  const headers = Object.fromEntries(
    fields.map(field => [field.slice(0, field.indexOf(':')).toLowerCase(), field.slice(field.indexOf(':') + 1).trim()]),
  )
  return { status: Number(line.split(' ')[1]), headers, body, whole }
}
