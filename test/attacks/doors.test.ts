import { readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import WebSocket from 'ws'
import { type Connection, call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { HOST_STREAM_PATH } from '#shared/api/resources/host-stream.ts'
import { beginLogin, page, pageCall, untouched } from '#test/support/people/api-person.ts'
import {
  type AttackWorld,
  type JoinedHost,
  joinHost,
  loginBody,
  machineCall,
  openAttackWorld,
  refusal,
  tlsOf,
} from '#test/support/worlds/attack-world.ts'

/**
 * A walk over every door of a small server, one caller going past the bound of each. While it lasts others are served; whoever
 * went past it is told, or cut off; and when it is over all is as before.
 */

let world: AttackWorld
let host: JoinedHost
beforeAll(async () => {
  world = await openAttackWorld({ openFiles: 600 })
  host = await joinHost(world, 'web1.keyman.localhost')
})
afterAll(() => world?.close())

const files = () => readdirSync(`/proc/${world.server.pid}/fd`).length
const sockets = new Set<Socket>()
const open = (socket: Socket): Promise<Socket> => {
  sockets.add(socket.on('error', () => {}))
  return new Promise(resolve => {
    for (const event of ['connect', 'secureConnect', 'close']) socket.once(event, () => resolve(socket))
  })
}
const plain = (port: number) => open(connect({ port, host: '127.0.0.1', allowHalfOpen: true }))
const secure = async (as: Connection) => {
  const socket = connectTls({ port: world.port.machines, host: '127.0.0.1', servername: 'localhost', ...tlsOf(as) })
  sockets.add(socket.on('error', () => {}))
  await new Promise<void>(resolve => void socket.once('secureConnect', resolve).once('close', () => resolve()))
  return socket
}
const times = <T>(many: number, make: (n: number) => Promise<T>) =>
  Promise.all(Array.from({ length: many }, (_, n) => make(n)))
const text = (socket: Socket): Promise<string> =>
  new Promise(resolve => {
    let got = ''
    socket.on('data', chunk => {
      got += chunk.toString('latin1')
    })
    for (const event of ['end', 'close']) socket.once(event, () => resolve(got))
  })

/** The one that was there first has been closed. */
async function firstIsCutOff([first]: readonly Socket[]): Promise<string> {
  if (!first) throw new Error('there is none')
  if (!first.readableEnded && !first.destroyed) await text(first)
  return 'cut off'
}

/** The first bytes of a handshake that is never gone on with: the record's header and a part of a ClientHello. */
const HELLO = Uint8Array.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, ...Array.from({ length: 32 }, (_, n) => n)])
const GET = 'GET /v1/session HTTP/1.1\r\nHost: localhost\r\n\r\n'
const HALF =
  'POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{'

/** What each attack did that went past the bound, in words of whoever did it. */
const DOORS: Readonly<Record<string, () => Promise<unknown>>> = {
  'sockets that say nothing': async () => {
    return firstIsCutOff(await times(300, n => plain(n % 2 ? world.port.machines : world.port.pages)))
  },
  'handshakes that stop in the middle': async () => {
    const all = await times(300, () => plain(world.port.machines))
    for (const socket of all) socket.write(HELLO)
    return firstIsCutOff(all)
  },
  'requests that are sent ahead': async () => {
    const socket = await secure(world.bob.connection)
    const whole = text(socket)
    socket.write(GET.repeat(40))
    return (await whole).includes('HTTP/1.1 429') && 'told'
  },
  'answers that nobody takes': async () => {
    const all = await times(60, () => secure(world.stranger))
    for (const socket of all)
      socket.pause().write('GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(500))
    return firstIsCutOff(all)
  },
  'bodies that never end': async () => {
    const all = await times(120, n => secure(n % 2 ? world.bob.connection : world.stranger))
    for (const socket of all) socket.write(HALF)
    return firstIsCutOff(all)
  },
  'a message of a host that is too long': async () => {
    const { root = '', client } = host.connection
    const url = `${world.server.machinesUrl.replace('https', 'wss')}${HOST_STREAM_PATH}`
    const socket = new WebSocket(url, { ca: root, key: client?.key, cert: client?.certificate })
    await new Promise(resolve => socket.once('open', resolve))
    const code = new Promise(resolve => socket.once('close', resolve))
    socket.send('x'.repeat(16 * 1024 + 1))
    return (await code) === 1009 && 'told'
  },
  'rows: logins that nobody goes on with': async () => {
    const first = await beginLogin(world.stranger)
    for (let n = 0; n < 110; n++) await beginLogin(world.stranger)
    const { problem } = await pageCall(world.server, api.login.show, {
      params: { transaction: first.started.transaction },
    })
    return problem?.code === 'not-found' && 'told'
  },
  'codes of device logins, guessed': async () => {
    const codes: string[] = []
    for (let n = 0; n < 20; n++) {
      const { problem } = await pageCall(world.server, api.login.find, { body: { userCode: 'BCDF-GHJK' } })
      codes.push(problem?.code ?? 'found')
    }
    return codes.at(-1) === 'too-many-requests' && 'told'
  },
  'ceremonies of one action': async () => {
    const params = { identity: 'bob@example.com' }
    const { transaction } = await refusal(call(untouched(world.alice.connection), api.persons.disable, { params }))
    const codes: string[] = []
    for (let n = 0; n < 12; n++) {
      const { problem } = await pageCall(world.server, api.actions.options, {
        params: { transaction: transaction?.id ?? '' },
      })
      codes.push(problem?.code ?? 'given')
    }
    return codes.indexOf('too-many-requests') === 10 && 'told'
  },
  'a body with 5,000 fields too many': async () => {
    const { body } = await loginBody(world.stranger)
    const more = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`x${n}`, 1]))
    const { status, text: answer } = await machineCall(world.stranger, 'POST', '/v1/login', {
      body: { ...body, ...more },
    })
    return [400, 413].includes(status) && answer.length < 4_000 && 'told'
  },
}

describe.skipIf(process.platform !== 'linux')('at each door', () => {
  it.each(Object.keys(DOORS))('%s: the others are served, it is told or cut off, and all is as before', async door => {
    const before = files()
    const outcome = await DOORS[door]?.()
    expect(['told', 'cut off']).toContain(outcome)
    expect((await machineCall(world.alice.connection, 'GET', '/v1/session')).status).toBe(200)
    expect((await machineCall(world.stranger, 'POST', '/v1/challenge')).status).toBe(200)
    expect((await fetch(`${world.server.pagesUrl}/healthz`)).status).toBe(200)
    expect((await page(world.server, api.signIn.options)).options).toBeDefined()
    expect(files()).toBeLessThan(600)
    for (const socket of sockets) socket.destroy()
    sockets.clear()
    await expect.poll(files, { timeout: 30_000 }).toBeLessThan(before + 20)
    expect((await machineCall(world.bob.connection, 'GET', '/v1/session')).status).toBe(200)
  })
})
