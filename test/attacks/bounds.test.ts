import { readdirSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Connection, call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { HOST_STREAM_PATH } from '#shared/api/resources/host-stream.ts'
import { confirm, inviteAndEnrol, logIn } from '#test/support/people/api-person.ts'
import { rawExchange } from '#test/support/raw-http.ts'
import {
  type AttackWorld,
  bodyOf,
  machineCall,
  openAttackWorld,
  outcome,
  refusal,
  tlsOf,
} from '#test/support/worlds/attack-world.ts'

/** Callers who take more than their share of a small server: one that may have 600 files open, as little as any would have. */

const OPEN_FILES = 600
let world: AttackWorld
beforeAll(async () => {
  world = await openAttackWorld({
    openFiles: OPEN_FILES,
    env: { KEYMAN_LIMITS_CALLERS_PER_MINUTE: '100', KEYMAN_LIMITS_STRANGERS_PER_MINUTE: '600' },
  })
})
afterAll(() => world?.close())

const sockets: Socket[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
})
/** Says nothing unless it is told to, reads nothing, and keeps its own end open. */
function stubborn(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  sockets.push(socket.on('error', () => {}))
  return new Promise(resolve => socket.once('connect', () => resolve(socket)).once('close', () => resolve(socket)))
}
function secured({ port }: { port: number }, as: Connection): Promise<TLSSocket> {
  const socket = connectTls({ port, host: '127.0.0.1', servername: 'localhost', ...tlsOf(as) })
  sockets.push(socket.on('error', () => {}))
  return new Promise(resolve =>
    socket.once('secureConnect', () => resolve(socket)).once('close', () => resolve(socket)),
  )
}
const times = <T>(many: number, make: () => Promise<T>) => Promise.all(Array.from({ length: many }, make))
/** Of the server's process, as Linux tells it. */
const openFiles = () => readdirSync(`/proc/${world.server.pid}/fd`).length
const memory = () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${world.server.pid}/status`, 'utf8'))?.[1])
/** On a connection of its own: one that was kept from before may have been closed meanwhile, as the one that did nothing for longest. */
const asked = (path: string, more: { method?: string; headers?: Record<string, string> } = {}) =>
  new Promise<number | undefined>((resolve, reject) => {
    const sent = request(`${world.server.pagesUrl}${path}`, { ...more, agent: false }, answer => {
      answer.resume().once('end', () => resolve(answer.statusCode))
    })
    sent.once('error', reject).end()
  })
const bobIsServed = async () => expect((await machineCall(world.bob.connection, 'GET', '/v1/session')).status).toBe(200)
const pagesAreServed = async () => expect(await asked('/healthz')).toBe(200)

describe.skipIf(process.platform !== 'linux')('connections', () => {
  it('that never say anything keep nobody out, however many they are', async () => {
    for (const port of [world.port.machines, world.port.pages]) await times(400, () => stubborn(port))
    await bobIsServed()
    await pagesAreServed()
    expect(openFiles()).toBeLessThan(OPEN_FILES)
  })

  it('that send half a request keep nobody out, those of somebody who is signed in as little', async () => {
    const half =
      'POST /v1/ssh/user-certificates HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{'
    // A session of his own: what it asks for is on its own account, and may leave it none.
    const another = await logIn(world.server, world.bob.person)
    await times(150, async () => (await secured({ port: world.port.machines }, another.connection)).write(half))
    await times(150, async () => (await secured({ port: world.port.machines }, world.stranger)).write(half))
    expect((await machineCall(world.alice.connection, 'GET', '/v1/session')).status).toBe(200)
    expect((await machineCall(world.stranger, 'POST', '/v1/challenge')).status).toBe(200)
    await bobIsServed()
  })

  it('that ask for much, ahead of every answer, and read nothing take little memory, and keep nobody out', async () => {
    const ahead = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost:${world.port.pages}\r\n\r\n`.repeat(1_000)
    const before = memory()
    for (const path of ['/v1/openapi.json', '/', '/healthz'])
      await times(60, async () => {
        const plain = await stubborn(world.port.pages)
        plain.pause().write(ahead(path))
        const tls = await secured({ port: world.port.machines }, world.stranger)
        tls.pause().write(ahead(path))
      })
    await bobIsServed()
    // Some of it is what any process takes that was asked much: unbounded, this is gigabytes.
    expect(memory() - before).toBeLessThan(300_000)
  })
})

describe('whoever stole a client certificate and uses it up', () => {
  const flood = async (connection: Connection) => {
    const outcomes = []
    for (let n = 0; n < 150; n++) outcomes.push(await outcome(call(connection, api.session.show)))
    return outcomes.at(-1)
  }

  it("keeps nobody from revoking, disabling and taking away: the owner's own commands are never told to wait", async () => {
    const dora = await inviteAndEnrol(world.server, world.alice, 'dora@example.com')
    const erin = await inviteAndEnrol(world.server, world.alice, 'erin@example.com')
    await logIn(world.server, erin)
    const { transaction } = await refusal(
      call(world.alice.connection, api.persons.disable, { params: { identity: 'nobody@example.com' } }),
    ).catch(() => ({ transaction: undefined }))
    if (transaction) await confirm(world.server, world.alice.person, transaction.id)
    expect(await flood(world.alice.connection)).toBe('too-many-requests')
    expect(
      await outcome(call(world.alice.connection, api.persons.disable, { params: { identity: dora.identity } })),
    ).toBe('done')
    const body = bodyOf(api.revocations.create, { target: { person: erin.identity }, wait: 0 })
    expect(await outcome(call(world.alice.connection, api.revocations.create, { body }))).toBe('done')
    // What gives somebody something waits.
    expect(await flood(world.alice.connection)).toBe('too-many-requests')
    expect(
      await outcome(call(world.alice.connection, api.persons.enable, { params: { identity: dora.identity } })),
    ).toBe('too-many-requests')
  })

  it('leaves her other sessions as they are, and her own log-out and revocation free', async () => {
    const frank = await inviteAndEnrol(world.server, await logIn(world.server, world.alice.person), 'frank@example.com')
    const [stolen, other, third] = [
      await logIn(world.server, frank),
      await logIn(world.server, frank),
      await logIn(world.server, frank),
    ]
    expect(await flood(stolen.connection)).toBe('too-many-requests')
    expect(await outcome(call(other.connection, api.session.show))).toBe('done')
    expect(await flood(other.connection)).toBe('too-many-requests')
    expect(await outcome(call(other.connection, api.session.end))).toBe('done')
    expect(await outcome(call(stolen.connection, api.revocations.own))).toBe('done')
    expect(await outcome(call(third.connection, api.session.show))).toBe('not-signed-in')
  })

  it('is not free to be denied: each denial is a record', async () => {
    const { connection } = await logIn(world.server, world.bob.person)
    const outcomes = []
    for (let n = 0; n < 40; n++)
      outcomes.push(await outcome(call(connection, api.persons.disable, { params: { identity: 'alice@example.com' } })))
    expect(outcomes.filter(each => each === 'denied').length).toBeLessThanOrEqual(10)
    expect(outcomes.at(-1)).toBe('too-many-requests')
  })
})

describe('one limit is in front of everything', () => {
  it.each(['/v1/openapi.json', '/healthz', '/readyz', '/', '/nothing-here', '/v1/nothing-here'])(
    '%s: a stranger is told to wait; whoever is known goes on',
    async path => {
      const answers = []
      for (let n = 0; n < 700 && answers.at(-1) !== 429; n++) answers.push(await asked(path))
      expect(answers.at(-1)).toBe(429)
      await bobIsServed()
    },
  )

  it('what is refused before any route counts as well', async () => {
    const foreign = { method: 'POST', headers: { origin: 'null' } }
    const answers = []
    for (let n = 0; n < 700 && answers.at(-1) !== 429; n++) answers.push(await asked('/v1/sign-in/options', foreign))
    expect(answers[0] === 403 || answers[0] === 429).toBe(true)
    expect(answers.at(-1)).toBe(429)
  })

  it.each(['tea', '100-continue'])('nor does an expectation (%s) go past it, sent ahead or not', async expectation => {
    const ask = `GET /v1/nothing-here HTTP/1.1\r\nHost: localhost\r\nExpect: ${expectation}\r\n\r\n`
    const last = ask.replace('Expect', 'Connection: close\r\nExpect')
    const answers: string[] = []
    for (let n = 0; n < 700 && answers.at(-1) !== '429'; n++) {
      const { whole } = await rawExchange(
        { port: world.port.machines, tls: tlsOf(world.stranger) },
        ask.repeat(19) + last,
      )
      const said = whole.match(/(?<=HTTP\/1\.1 )[2-5]\d\d/g) ?? []
      // One is answered, eight wait, and the last hears that it was too much.
      expect(said.length).toBeLessThanOrEqual(10)
      answers.push(said[0] ?? '')
    }
    expect(['400', '404', '429']).toContain(answers[0])
    expect(answers.at(-1)).toBe('429')
    await bobIsServed()
  })

  it('nor is an upgrade free that is refused, whoever asks for it', async () => {
    const upgrade = `GET ${HOST_STREAM_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`
    const asked = async () =>
      (await rawExchange({ port: world.port.machines, tls: tlsOf(world.bob.connection) }, upgrade)).status
    const answers = []
    for (let n = 0; n < 700 && answers.at(-1) !== 429; n++) answers.push(await asked())
    expect([403, 429]).toContain(answers[0])
    expect(answers.at(-1)).toBe(429)
    await bobIsServed()
  })

  it('a flood of refusals leaves a few lines in the log, with how many were left out', async () => {
    const lines = () => world.server.output().match(/refused/g)?.length ?? 0
    const before = lines()
    for (let n = 0; n < 300; n++) await asked('/v1/nothing-here')
    expect(lines() - before).toBeLessThan(120)
  })
})

it('a server that is told to stop ends while silent connections are open at both of its doors, and half a question at its own', async () => {
  for (const port of [world.port.machines, world.port.pages]) await times(30, () => stubborn(port))
  const half = connect(join(world.server.dataFolder, 'operator.sock')).on('error', () => {})
  half.write('{')
  const trickle = setInterval(() => half.write(' '), 1_000)
  expect(await world.server.stop().finally(() => clearInterval(trickle))).toBe(0)
  half.destroy()
})
