import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions, connect as connectTls, TLSSocket } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { KeymanError } from '#shared/errors.ts'
import { newMachineAuthority, type TestIdentity } from '#test/support/machine-authority.ts'
import { rawExchange } from '#test/support/raw-http.ts'
import { newApp } from '../edge.ts'
import { readJsonBody } from '../read-json.ts'
import type { Limits } from '../serve.ts'
import { type RenewableListener, refuseUpgrade, startMachinesListener, type UpgradeHandler } from './listeners.ts'

/** Every bound of a listener's connections, gone past by one caller while another is served. */

const authority = newMachineAuthority()
const identity = authority.server()
const alice = authority.client('keyman://acme/person/alice@example.com/session/ses_0123456789')
const bob = authority.client('keyman://acme/person/bob@example.com/session/ses_9876543210')

let served = 0
let held = Promise.withResolvers<void>()
let entered = Promise.withResolvers<void>()
const app = newApp(() => {})
app.get('/small', c => c.text(`${++served}`))
app.get('/large', c => {
  served++
  return c.body(new Uint8Array(16 * 1024 * 1024), 200)
})
app.get('/held', async c => {
  entered.resolve()
  await held.promise
  return c.text('held')
})
app.post('/body', async c => c.json(await readJsonBody(c)))

const opened: { listeners: RenewableListener[]; sockets: Socket[] } = { listeners: [], sockets: [] }
afterEach(async () => {
  for (const socket of opened.sockets.splice(0)) socket.destroy()
  for (const listener of opened.listeners.splice(0)) await listener.close(0)
  served = 0
  held = Promise.withResolvers()
  entered = Promise.withResolvers()
})

async function start(
  limits: Partial<Limits>,
  more: { trustedProxies?: readonly string[]; onUpgrade?: UpgradeHandler } = {},
) {
  const listener = await startMachinesListener({
    listen: { host: '0.0.0.0', port: 0 },
    publicUrl: 'https://localhost',
    app,
    tls: () => identity,
    clientRoots: [authority.root],
    onInternalError: () => {},
    strangers: { take: () => {} },
    limits,
    ...more,
  })
  opened.listeners.push(listener)
  const { port } = listener.address
  const tls = (client?: TestIdentity): ConnectionOptions => ({ ca: authority.root, servername: 'localhost', ...client })
  return {
    listener,
    /** A connection that says nothing, and does not even end when the other side does. */
    silent: (localAddress = '127.0.0.1') =>
      watched(connect({ port, host: '127.0.0.1', localAddress, allowHalfOpen: true })),
    secure: (client?: TestIdentity, localAddress = '127.0.0.1') =>
      watched(connectTls({ ...tls(client), socket: connect({ port, host: '127.0.0.1', localAddress }) })),
    ask: (bytes: string, client?: TestIdentity) => rawExchange({ port, tls: tls(client) }, bytes),
  }
}

type Watched = { readonly socket: Socket; readonly open: Promise<void>; readonly closed: Promise<void>; got(): string }
function watched(socket: Socket): Watched {
  opened.sockets.push(socket)
  let got = ''
  const event = (...names: string[]) =>
    new Promise<void>(resolve => {
      for (const name of names) socket.once(name, () => resolve())
    })
  socket.on('error', () => {}).on('data', chunk => (got += chunk.toString('latin1')))
  return {
    socket,
    open: event(socket instanceof TLSSocket ? 'secureConnect' : 'connect'),
    closed: event('end', 'close'),
    got: () => got,
  }
}

const GET = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`
const LAST = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`
const HALF = 'POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{'
const GET_WITH_BODY = GET('/held').replace('\r\n\r\n', '\r\nContent-Length: 1\r\n\r\nx')
const times = <T>(many: number, make: () => T): T[] => Array.from({ length: many }, make)
/** How many of these have ended, once it is so many. */
const gone = async (of: readonly Watched[], many: number) => {
  let count = 0
  for (const { closed } of of) void closed.then(() => count++)
  await expect.poll(() => count, { timeout: 5_000 }).toBe(many)
}

describe('a connection without a handshake', () => {
  it('is closed when its time is over, with not a byte of HTTP, though the other side keeps its end open', async () => {
    const { listener, silent } = await start({ handshakeTimeout: 200 })
    const all = times(20, () => silent())
    await gone(all, 20)
    expect(all.map(({ got }) => got()).join('')).toBe('')
    // Nothing of them is left to wait for.
    await listener.close(60_000)
  })

  it('does not hold a server up that stops; nor does one that has asked nothing after its handshake', async () => {
    const { listener, silent, secure } = await start({
      handshakeTimeout: 600_000,
      headersTimeout: 600_000,
      requestTimeout: 600_000,
    })
    const all = [...times(5, () => silent()), ...times(5, () => secure(alice))]
    await Promise.all(all.map(({ open }) => open))
    await listener.close(60_000)
    await gone(all, 10)
  })

  it('that says nonsense is closed, without an answer that is no TLS', async () => {
    const { silent, ask } = await start({})
    const nonsense = silent()
    nonsense.socket.write(GET('/small'))
    await nonsense.closed
    expect(nonsense.got()).not.toContain('HTTP')
    expect((await ask(LAST('/small'))).status).toBe(200)
  })
})

describe('beyond what there is room for', () => {
  it.skipIf(process.platform !== 'linux')('of one address its own oldest goes; those of another stay', async () => {
    const { silent, secure, ask } = await start({ maxConnections: 100, maxConnectionsPerAddress: 10 })
    const other = secure(undefined, '127.0.0.2')
    await other.open
    const flood = times(30, () => silent())
    await gone(flood, 20)
    other.socket.write(LAST('/small'))
    await other.closed
    expect(other.got()).toContain('200 OK')
    expect((await ask(LAST('/small'))).status).toBe(200)
  })

  it('of one client key its own oldest goes; those of another key at the same address stay', async () => {
    const { secure, ask } = await start({ maxConnectionsPerKey: 8 })
    const bobs = secure(bob)
    await bobs.open
    const flood: Watched[] = []
    for (let n = 0; n < 12; n++) {
      const next = secure(alice)
      flood.push(next)
      await next.open
    }
    await gone(flood.slice(0, 4), 4)
    bobs.socket.write(LAST('/small'))
    await bobs.closed
    expect(bobs.got()).toContain('200 OK')
    expect((await ask(LAST('/small'), alice)).status).toBe(200)
  })

  it('in all the oldest goes, whatever it is that fills it; whoever comes is served', async () => {
    const { silent, secure, ask } = await start({ maxConnections: 20, maxConnectionsPerAddress: 100 })
    const parked = times(10, () => secure())
    await Promise.all(parked.map(({ open }) => open))
    for (const { socket } of parked) socket.write(HALF)
    const flood = times(30, () => silent())
    await gone([...parked, ...flood], 20)
    expect((await ask(LAST('/small'))).status).toBe(200)
  })

  it('whoever is being answered stays', async () => {
    const { silent, secure } = await start({ maxConnections: 5, maxConnectionsPerAddress: 5 })
    const asking = secure()
    asking.socket.write(LAST('/held'))
    await entered.promise
    const flood = times(20, () => silent())
    await gone(flood, 16)
    held.resolve()
    await asking.closed
    expect(asking.got()).toContain('held')
  })

  it('the connections of a trusted proxy are not one address', async () => {
    const { secure } = await start({ maxConnectionsPerAddress: 5 }, { trustedProxies: ['127.0.0.1'] })
    const all = times(12, () => secure())
    await Promise.all(all.map(({ open }) => open))
    for (const { socket } of all) socket.write(LAST('/small'))
    await gone(all, 12)
    for (const { got } of all) expect(got()).toContain('200 OK')
  })
})

describe('the requests of one connection', () => {
  it('that are sent ahead are answered one after the other; beyond nine it is told so, and closed', async () => {
    const { ask } = await start({})
    const nine = await ask(GET('/small').repeat(8) + LAST('/small'))
    expect(nine.whole.match(/200 OK/g)).toHaveLength(9)
    const { whole } = await ask(GET('/small').repeat(40))
    expect(whole.match(/200 OK/g)?.length).toBeLessThan(100)
    expect(whole.match(/429 /g)).toHaveLength(1)
    expect(whole.trimEnd().endsWith('}')).toBe(true)
    // What nobody sends by mistake is cut off.
    expect((await ask(GET('/small').repeat(1_000))).whole).not.toContain('429 ')
  })

  it('whose answers nobody reads are not made ahead, and the connection is closed; others are served meanwhile', async () => {
    const { secure, ask } = await start({ answerTimeout: 500 })
    const greedy = times(5, () => secure())
    await Promise.all(greedy.map(({ open }) => open))
    for (const { socket } of greedy) socket.pause().write(GET('/large').repeat(300))
    await expect.poll(() => served).toBe(5)
    expect((await ask(LAST('/small'))).body).toBe('6')
    const reading = watched(greedy[0]?.socket ?? expect.fail('there are five'))
    // Closed by the server with the answer cut off, at some later moment.
    const ended = new Promise<void>(resolve => reading.socket.once('close', () => resolve()))
    await expect
      .poll(
        () => {
          reading.socket.write('x')
          return reading.socket.destroyed
        },
        { timeout: 10_000, interval: 200 },
      )
      .toBe(true)
    await ended
    expect(served).toBe(6)
  })
})

describe('bodies on their way', () => {
  it('beyond what may be at a time: the one that has taken longest goes, and whoever sends a whole one is served', async () => {
    const { secure, ask } = await start({ maxBodies: 5 })
    const parked: Watched[] = []
    for (let n = 0; n < 8; n++) {
      const next = secure()
      await next.open
      next.socket.write(HALF)
      parked.push(next)
    }
    await gone(parked.slice(0, 3), 3)
    const whole = HALF.replace(': 12', ': 2').replace('\r\n\r\n{', '\r\nConnection: close\r\n\r\n{}')
    expect((await ask(whole)).status).toBe(200)
    parked[7]?.socket.write('"name":"a"}\n')
    await expect.poll(() => parked[7]?.got()).toContain('"name":"a"')
  })

  it.each([
    { how: 'on as many connections', made: () => times(9, () => HALF), client: undefined, lost: 5 },
    { how: 'ahead, on one connection', made: () => [GET_WITH_BODY.repeat(9)], client: undefined, lost: 1 },
    { how: 'ahead, with a certificate', made: () => [GET_WITH_BODY.repeat(9)], client: bob, lost: 1 },
  ])('beyond what may be at a time, sent by one $how: its own go; that of another is served', async each => {
    const { secure, ask } = await start({ maxBodies: 5 })
    const mine = secure(alice)
    await mine.open
    mine.socket.write(HALF)
    await ask(LAST('/small'), alice)
    const flood = each.made().map(bytes => ({ bytes, from: secure(each.client, '127.0.0.2') }))
    for (const { bytes, from } of flood) {
      await from.open
      from.socket.write(bytes)
    }
    const theirs = flood.map(({ from }) => from)
    await gone(theirs, each.lost)
    mine.socket.write('"name":"a"}\n')
    await expect.poll(() => mine.got()).toContain('"name":"a"')
  })
})

describe('an upgrade', () => {
  const UPGRADE = GET('/stream').replace('\r\n\r\n', '\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')

  it('that is refused to somebody who reads nothing ends all the same; one that is let in stays', async () => {
    const decided: { isIn: boolean; socket: Duplex }[] = []
    const onUpgrade: UpgradeHandler = (_incoming, socket, _head, { requestId }, opened) => {
      // More than what lies between the two takes: nothing behind it goes out before the other side reads.
      socket.write(new Uint8Array(32 * 1024 * 1024))
      const isIn = decided.length === 0
      if (isIn) opened()
      else refuseUpgrade(socket, new KeymanError('denied', 'not for you'), requestId)
      decided.push({ isIn, socket })
    }
    const { secure } = await start({ answerTimeout: 500 }, { onUpgrade })
    for (const asked of [1, 2]) {
      const { socket, open } = secure()
      await open
      socket.pause().write(UPGRADE)
      await expect.poll(() => decided.length).toBe(asked)
    }
    await expect.poll(() => decided[1]?.socket.destroyed, { timeout: 5_000 }).toBe(true)
    expect(decided[0]).toMatchObject({ isIn: true, socket: { destroyed: false } })
  })
})
