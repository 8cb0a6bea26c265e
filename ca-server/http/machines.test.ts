import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createTlsServer, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newMachineAuthority, type TestIdentity } from '#test/support/machine-authority.ts'
import { rawExchange } from '#test/support/raw-http.ts'
import { clientCertificate } from './connections/client-certificate.ts'
import { type RenewableListener, startMachinesListener, startPagesListener } from './connections/listeners.ts'
import { newApp } from './edge.ts'

const authority = newMachineAuthority()
const stranger = newMachineAuthority('somebody else')
const alice = authority.client('keyman://acme/person/alice@example.com/session/ses_0123456789')
let serverIdentity = authority.server()
let listener: RenewableListener

const app = newApp(error => {
  throw error
})
const ders = new Set<Uint8Array>()
app.get('/who', c => {
  const certificate = clientCertificate(c)
  if (certificate) ders.add(certificate.der)
  return c.json({ authorized: certificate?.authorized ?? 'none', error: certificate?.authorizationError ?? 'none' })
})

beforeAll(async () => {
  listener = await startMachinesListener({
    listen: { host: '127.0.0.1', port: 0 },
    publicUrl: 'https://localhost',
    app,
    tls: () => serverIdentity,
    clientRoots: [authority.root],
    onInternalError: () => {},
    strangers: { take: () => {} },
    onUpgrade: (_incoming, socket, _head, info) => {
      socket.end(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: test\r\nConnection: Upgrade\r\nx-from: ${info.from}\r\n\r\nhello`,
      )
    },
  })
})
afterAll(() => listener.close(1000))

const options = (identity?: TestIdentity): ConnectionOptions => ({
  ca: authority.root,
  servername: 'localhost',
  ...identity,
})
/** `GET /who` on a connection of its own. */
async function who(identity?: TestIdentity): Promise<{ authorized: boolean | 'none'; error: string }> {
  const answer = await rawExchange(
    { port: listener.address.port, tls: options(identity) },
    'GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
  )
  return JSON.parse(answer.body)
}

describe('the client certificate of the machines listener', () => {
  it('is asked for and may be absent: the routes decide', async () => {
    expect(await who()).toEqual({ authorized: 'none', error: 'none' })
    expect(await who(alice)).toEqual({ authorized: true, error: 'none' })
  })

  it('of another authority, past its end, or not made for clients is not authorized', async () => {
    const name = 'keyman://acme/host/web1.example.com'
    expect((await who(stranger.client(name))).authorized).toBe(false)
    const past = { notBefore: new Date(Date.now() - 7200_000), notAfter: new Date(Date.now() - 3600_000) }
    expect(await who(authority.client(name, past))).toEqual({ authorized: false, error: 'CERT_HAS_EXPIRED' })
    expect(await who(authority.server())).toEqual({ authorized: false, error: 'INVALID_PURPOSE' })
    expect((await who(authority.client(name))).authorized).toBe(true)
  })

  it('is read once a connection, so that every request of it sees the same bytes', async () => {
    ders.clear()
    const two =
      'GET /who HTTP/1.1\r\nHost: localhost\r\n\r\nGET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
    const answer = await rawExchange({ port: listener.address.port, tls: options(alice) }, two)
    expect(answer.whole.match(/200 OK/g)).toHaveLength(2)
    expect(ders.size).toBe(1)
  })
})

describe('an origin at the machines listener', () => {
  const ask = async (method: string, header: string) => {
    const request = `${method} /who HTTP/1.1\r\nHost: localhost\r\n${header}Connection: close\r\n\r\n`
    return (await rawExchange({ port: listener.address.port, tls: options(alice) }, request)).status
  }
  it.each(['null', 'AAA', 'https://evil.example', 'https://localhost:1', 'https://localhost, https://localhost'])(
    'that is %s is refused, whatever is asked',
    async origin => {
      expect(await ask('GET', `Origin: ${origin}\r\n`)).toBe(403)
      expect(await ask('DELETE', `Origin: ${origin}\r\n`)).toBe(403)
    },
  )
  it('may be absent, as of programs, or that of the pages', async () => {
    expect([await ask('GET', ''), await ask('GET', 'Origin: https://localhost\r\n')]).toEqual([200, 200])
    expect([await ask('DELETE', ''), await ask('DELETE', 'Origin: https://localhost\r\n')]).toEqual([405, 405])
  })
})

describe('TLS session resumption', () => {
  /** Connects once, keeps the sessions that the server gave, connects again with the last one: was it resumed? */
  async function resumes(port: number, tls: ConnectionOptions): Promise<boolean> {
    let session: Buffer | undefined
    const first = connect({ port, host: '127.0.0.1', ...options(alice), ...tls })
    first.on('session', given => {
      session = given
    })
    await once(first)
    const second = connect({
      port,
      host: '127.0.0.1',
      ...options(alice),
      ...tls,
      ...(session ? { session } : { session: first.getSession() }),
    })
    const reused = new Promise<boolean>(resolve => second.on('secureConnect', () => resolve(second.isSessionReused())))
    await once(second)
    return reused
  }
  /** Sends a request and waits until the server has closed the connection, so that tickets sent after the handshake are in. */
  const once = (socket: TLSSocket) =>
    new Promise<void>((resolve, reject) => {
      socket
        .on('error', reject)
        .on('close', () => resolve())
        .resume()
      socket.write('GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    })

  it.each(['TLSv1.3'] as const)('does not happen in %s, where a server of default settings resumes', async version => {
    const tls = { minVersion: version, maxVersion: version }
    const usual = createTlsServer(
      { ...serverIdentity, ca: authority.root, requestCert: true, rejectUnauthorized: false },
      (_, outgoing) => void outgoing.end('x'),
    )
    await new Promise<void>(resolve => usual.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = usual.address() as AddressInfo
      expect(await resumes(port, tls)).toBe(true)
    } finally {
      usual.close()
    }
    expect(await resumes(listener.address.port, tls)).toBe(false)
    listener.renew()
    expect(await resumes(listener.address.port, tls)).toBe(false)
  })

  it.each(['-tls1_3'])('does not happen with openssl s_client %s either', async version => {
    const folder = mkdtempSync(join(tmpdir(), 'keyman-tls-'))
    try {
      const files = { ca: authority.root, cert: alice.cert, key: alice.key }
      for (const [name, pem] of Object.entries(files)) writeFileSync(join(folder, name), pem)
      const sclient = (...more: string[]) => {
        const args = ['s_client', version, '-connect', `127.0.0.1:${listener.address.port}`, '-servername', 'localhost']
        const running = promisify(execFile)(
          'openssl',
          [...args, '-CAfile', 'ca', '-cert', 'cert', '-key', 'key', '-ign_eof', ...more],
          { cwd: folder },
        )
        running.child.stdin?.end('GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
        return running.then(({ stdout }) => stdout)
      }
      const first = await sclient('-sess_out', 'session')
      expect(first).toContain('"authorized":true')
      // In 1.3 OpenSSL sends tickets even so; they name a session that nobody keeps.
      const second = await sclient('-sess_in', 'session')
      expect(second).toContain('"authorized":true')
      expect(second).toMatch(/^New, TLSv1/m)
      expect(second).not.toContain('Reused,')
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  it('in TLS 1.2 is no question: it gets no connection at all', async () => {
    expect(await speaks(listener, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).toBe(false)
    expect(await speaks(listener, { minVersion: 'TLSv1.3' })).toBe(true)
  })
})

/** Whether a handshake with this succeeds. */
const speaks = (to: RenewableListener, tls: ConnectionOptions) =>
  new Promise<boolean>(resolve => {
    const socket = connect({ port: to.address.port, host: '127.0.0.1', ...options(), ...tls }, () => {
      resolve(true)
      socket.destroy()
    }).on('error', () => resolve(false))
  })

it('the pages speak TLS 1.2 too, as some browsers need, with none of its CBC suites and nothing older', async () => {
  const pages = await startPagesListener({
    listen: { host: '127.0.0.1', port: 0 },
    publicUrl: 'https://localhost',
    app,
    tls: () => serverIdentity,
    onInternalError: () => {},
    strangers: { take: () => {} },
  })
  try {
    const older = (ciphers: string) =>
      speaks(pages, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers: `${ciphers}:@SECLEVEL=0` })
    for (const cbc of ['ECDHE-ECDSA-AES128-SHA256', 'ECDHE-ECDSA-AES256-SHA384', 'ECDHE-ECDSA-AES128-SHA'])
      expect([cbc, await older(cbc)]).toEqual([cbc, false])
    expect(await older('ECDHE-ECDSA-AES128-GCM-SHA256')).toBe(true)
    expect(await speaks(pages, { minVersion: 'TLSv1.3' })).toBe(true)
    pages.renew()
    expect(await older('ECDHE-ECDSA-AES128-SHA256')).toBe(false)
    const ancient = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
    expect(await speaks(pages, ancient)).toBe(false)
  } finally {
    await pages.close(1000)
  }
})

describe('the server certificate', () => {
  it('is renewed without a restart, for new connections', async () => {
    const seen = () =>
      new Promise<string>((resolve, reject) => {
        const socket = connect({ port: listener.address.port, host: '127.0.0.1', ...options() }, () => {
          resolve(socket.getPeerCertificate().serialNumber)
          socket.destroy()
        }).on('error', reject)
      })
    const before = await seen()
    serverIdentity = authority.server()
    expect(await seen()).toBe(before)
    listener.renew()
    expect(await seen()).not.toBe(before)
    expect(await who(alice)).toMatchObject({ authorized: true })
  })

  it('keeps its client roots at a renewal, and takes new ones when they are given', async () => {
    listener.renew([authority.root, stranger.root])
    expect((await who(stranger.client('keyman://acme/host/web1.example.com'))).authorized).toBe(true)
    listener.renew([authority.root])
    expect((await who(stranger.client('keyman://acme/host/web1.example.com'))).authorized).toBe(false)
  })
})

describe('an upgrade', () => {
  it('reaches its handler with the request, its certificate and its address', async () => {
    const answer = await rawExchange(
      { port: listener.address.port, tls: options(alice) },
      'GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    )
    expect(answer.status).toBe(101)
    expect(answer.headers['x-from']).toBe('127.0.0.1')
    expect(answer.body).toBe('hello')
  })
})

describe('a large body', () => {
  it('is not even begun where its declared length is beyond the limit', async () => {
    const status = await new Promise(resolve => {
      const sent = request({
        ...options(alice),
        port: listener.address.port,
        host: '127.0.0.1',
        method: 'POST',
        path: '/none',
        headers: { expect: '100-continue', 'content-length': 10_000_000, 'content-type': 'application/json' },
      })
      sent.on('continue', () => resolve('told to go on'))
      sent.on('response', answer => {
        resolve(answer.statusCode)
        sent.destroy()
      })
      sent.on('error', () => {})
      sent.flushHeaders()
    })
    expect(status).toBe(404)
  })
})
