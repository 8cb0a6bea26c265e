import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { newApp } from '../edge.ts'
import { requestInfo } from '../request-info.ts'
import type { AccessLine, Limits } from '../serve.ts'
import { type RenewableListener, startMachinesListener, startPagesListener } from './listeners.ts'
import { parseProxyHeader, peerAddress, readProxyHeaders } from './proxy-protocol.ts'

const authority = newMachineAuthority()
const identity = authority.server()
const app = newApp(() => {})
app.get('/from', c => c.text(requestInfo(c).from))
const lines: AccessLine[] = []
const listeners: RenewableListener[] = []
afterEach(async () => {
  for (const listener of listeners.splice(0)) await listener.close(0)
  lines.length = 0
})

const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n'
const v2 = (command: number, family: number, rest: readonly number[]) =>
  SIGNATURE + String.fromCharCode(command, family, rest.length >> 8, rest.length & 255, ...rest)
const four = [198, 51, 100, 9, 192, 0, 2, 1, 0x30, 0x39, 1, 0xbb]
const six = [0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 9, ...Array(16).fill(1), 0, 1, 0, 2]
const V1 = 'PROXY TCP4 198.51.100.9 192.0.2.1 12345 443\r\n'

const common = (from: readonly string[], limits: Partial<Limits>) => ({
  listen: { host: '127.0.0.1', port: 0 },
  app,
  onInternalError: () => {},
  strangers: { take: () => {} },
  log: (line: AccessLine) => void lines.push(line),
  proxyProtocolFrom: from,
  limits,
})
async function pages(from: readonly string[], limits: Partial<Limits> = {}) {
  const listener = await startPagesListener({ ...common(from, limits), publicUrl: 'http://localhost:1' })
  listeners.push(listener)
  return listener.address.port
}
async function machines(from: readonly string[]) {
  const listener = await startMachinesListener({
    ...common(from, {}),
    publicUrl: 'https://localhost',
    tls: () => identity,
    clientRoots: [authority.root],
  })
  listeners.push(listener)
  return listener.address.port
}

const GET = 'GET /from HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n'
/** What comes back, whole; each part is sent once the one before has gone. */
function plain(port: number, ...parts: string[]): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' })
  let got = ''
  const next = () => {
    const part = parts.shift()
    if (part !== undefined) socket.write(Buffer.from(part, 'latin1'), () => setImmediate(next))
  }
  socket.once('connect', next).on('data', chunk => {
    got += chunk.toString('latin1')
  })
  return new Promise(resolve => socket.on('error', () => {}).once('close', () => resolve(got)))
}
/** The header in the clear, in front of the handshake. */
async function secure(port: number, header: string): Promise<string> {
  const raw = connect({ port, host: '127.0.0.1' })
  await new Promise(resolve => raw.once('connect', resolve))
  raw.write(Buffer.from(header, 'latin1'))
  const socket = connectTls({ socket: raw, ca: authority.root, servername: 'localhost' })
  let got = ''
  socket
    .on('error', () => {})
    .on('data', chunk => {
      got += chunk
    })
  socket.once('secureConnect', () => socket.write(GET))
  return new Promise(resolve => {
    socket.once('close', () => resolve(got))
    raw.once('close', () => resolve(got))
  })
}
const body = (answer: string) => answer.split('\r\n\r\n')[1]

describe('the PROXY protocol', () => {
  it.each([
    ['version 1', V1, '198.51.100.9'],
    ['version 1 of IPv6', 'PROXY TCP6 2001:db8::9 2001:db8::1 1 2\r\n', '2001:db8::9'],
    ['version 2', v2(0x21, 0x11, four), '198.51.100.9'],
    ['version 2 with what balancers add', v2(0x21, 0x11, [...four, 3, 0, 4, 1, 2, 3, 4]), '198.51.100.9'],
    ['version 2 of IPv6', v2(0x21, 0x21, six), '2001:db8::9'],
    ['a check of health, version 1', 'PROXY UNKNOWN\r\n', '127.0.0.1'],
    ['a check of health, version 2', v2(0x20, 0, []), '127.0.0.1'],
  ])('%s: the address that a balancer tells is the one that is decided on and recorded', async (_, header, address) => {
    expect(body(await plain(await pages(['127.0.0.1']), header + GET))).toBe(address)
    expect(lines.at(-1)?.from).toBe(address)
    expect(body(await secure(await machines(['127.0.0.0/8']), header))).toBe(address)
  })

  it('is read however it is cut into pieces, and what stands behind it is the request', async () => {
    const port = await pages(['127.0.0.1'])
    for (const header of [V1, v2(0x21, 0x11, four)]) {
      expect(body(await plain(port, ...`${header}${GET}`))).toBe('198.51.100.9')
      expect(body(await plain(port, header, GET))).toBe('198.51.100.9')
    }
  })

  it.each([
    ['version 1', V1],
    ['version 2', v2(0x21, 0x11, four)],
  ])('%s of anybody else is refused whole, and its request is not served', async (_, header) => {
    const port = await pages(['192.0.2.10'])
    expect(await plain(port, header + GET)).toMatch(/^HTTP\/1\.1 400 /)
    expect(lines).toEqual([])
    expect(await secure(await machines(['192.0.2.10']), header)).toBe('')
    // The same without it is served, by its own address.
    expect(body(await plain(port, GET))).toBe('127.0.0.1')
    expect(body(await secure(await machines([]), ''))).toBe('127.0.0.1')
  })

  it.each([
    ['none', GET],
    ['one with another family', `PROXY UDP4 198.51.100.9 192.0.2.1 1 2\r\n${GET}`],
    ['one with no address', `PROXY TCP4 evil.example 192.0.2.1 1 2\r\n${GET}`],
    ['one with the address of another family', `PROXY TCP4 2001:db8::9 2001:db8::1 1 2\r\n${GET}`],
    ['one with a port beyond all', `PROXY TCP4 198.51.100.9 192.0.2.1 1 65536\r\n${GET}`],
    ['one that never ends', `PROXY TCP4 ${' '.repeat(200)}`],
    ['one with another command', v2(0x22, 0x11, four) + GET],
    ['one of another version', v2(0x31, 0x11, four) + GET],
    ['one that is shorter than its address', v2(0x21, 0x11, four.slice(1)) + GET],
    ['one that is longer than any', `${SIGNATURE}\x21\x11\xff\xff`],
  ])('%s from a balancer that has to send one: closed without an answer, and told in the log', async (_, bytes) => {
    const port = await pages(['127.0.0.1'])
    expect(await plain(port, bytes)).toBe('')
    expect(lines).toMatchObject([{ method: 'PROXY', status: 400, from: '127.0.0.1' }])
    expect(body(await plain(port, V1 + GET))).toBe('198.51.100.9')
  })

  it('that does not come in time closes the connection', async () => {
    const port = await pages(['127.0.0.1'], { handshakeTimeout: 50 })
    expect(await plain(port, 'PROXY TCP4 ')).toBe('')
    expect(await plain(port)).toBe('')
  })

  it('gives each of its clients a bound of its own: of one address the oldest goes, those of another stay', async () => {
    const port = await pages(['127.0.0.1'], { maxConnectionsPerAddress: 1 })
    const hold = (address: string) => {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.write(`PROXY TCP4 ${address} 192.0.2.1 1 2\r\n`)
      return {
        socket,
        closed: new Promise<string>(resolve => socket.on('error', () => {}).once('close', () => resolve(address))),
      }
    }
    const first = hold('198.51.100.9')
    const other = hold('198.51.100.10')
    // Another client's, answered, so that both before have been read.
    expect(body(await plain(port, `PROXY TCP4 198.51.100.11 192.0.2.1 1 2\r\n${GET}`))).toBe('198.51.100.11')
    const second = hold('198.51.100.9')
    expect(await Promise.race([first.closed, other.closed])).toBe('198.51.100.9')
    expect(other.socket.destroyed).toBe(false)
    for (const { socket } of [other, second]) socket.destroy()
  })
})

it.each([
  ['a client', 'PROXY TCP4 198.51.100.10 192.0.2.1 1 2\r\n', '198.51.100.10'],
  ['itself', 'PROXY UNKNOWN\r\n', '127.0.0.1'],
])(
  'what a balancer says of a connection of %s holds, though an older one from the same port ends meanwhile',
  async (_, header, address) => {
    const accepted: Socket[] = []
    const server = createServer(raw => void accepted.push(raw.on('error', () => {})))
    readProxyHeaders(server, { timeout: 10_000, isFrom: () => true, onAddress: () => {}, onRefused: () => {} })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const listening = server.address()
    if (typeof listening !== 'object' || listening === null) throw new Error('it listens on a port')
    const open = async (text: string, localPort?: number) => {
      const socket = connect({ port: listening.port, host: '127.0.0.1', localPort }).on('error', () => {})
      await once(socket, 'connect')
      const before = accepted.length
      socket.write(text)
      await expect.poll(() => accepted.length).toBe(before + 1)
      const raw = accepted[before]
      if (!raw) throw new Error('it was accepted')
      return { socket, raw }
    }
    try {
      const { socket, raw } = await open(V1)
      const { localPort } = socket
      expect(peerAddress(raw)).toBe('198.51.100.9')
      // Read no further, so that its end is not heard of.
      socket.write(Buffer.alloc(1_000_000))
      await expect.poll(() => raw.readableLength).toBeGreaterThanOrEqual(raw.readableHighWaterMark)
      const reset = once(socket, 'close')
      socket.resetAndDestroy()
      await reset
      const next = await open(header, localPort)
      expect([next.raw.remotePort, raw.closed]).toEqual([localPort, false])
      expect(peerAddress(next.raw)).toBe(address)
      const closed = once(raw, 'close')
      raw.destroy()
      await closed
      expect(peerAddress(next.raw)).toBe(address)
    } finally {
      for (const raw of accepted) raw.destroy()
      server.close()
    }
  },
)

describe('a header of the PROXY protocol', () => {
  it('is not whole before its last byte, and none after the first that is wrong', () => {
    for (const header of [V1, v2(0x21, 0x21, six)]) {
      const bytes = Buffer.from(header, 'latin1')
      for (let n = 0; n < bytes.length; n++) expect(parseProxyHeader(bytes.subarray(0, n))).toBe('more')
      expect(parseProxyHeader(bytes)).toMatchObject({ length: bytes.length })
    }
    for (const text of ['G', 'PROXX', '\r\n\r\nG', 'PROXY TCP4\r\n'])
      expect(parseProxyHeader(Buffer.from(text))).toBe('wrong')
  })
})
