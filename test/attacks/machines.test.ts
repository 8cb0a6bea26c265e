import { connect, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Connection, call } from '#cli/server/client.ts'
import { ACTIONS, allRoutes, api, type Route } from '#shared/api/index.ts'
import { HOST_STREAM_PATH } from '#shared/api/resources/host-stream.ts'
import { machineUri } from '#shared/x509/index.ts'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { type ApiSession, inviteAndEnrol, logIn, page, pageCall } from '#test/support/people/api-person.ts'
import { addWorkload, joinWorkload } from '#test/support/people/workload.ts'
import { rawExchange } from '#test/support/raw-http.ts'
import { pathOf, routeInputs } from '#test/support/route-inputs.ts'
import {
  type AttackWorld,
  bodyOf,
  type JoinedHost,
  joinHost,
  keptAlive,
  machineCall,
  openAttackWorld,
  tlsOf,
} from '#test/support/worlds/attack-world.ts'

let world: AttackWorld
let host: JoinedHost
let bobsCookie: string

beforeAll(async () => {
  world = await openAttackWorld()
  host = await joinHost(world, 'web1.keyman.localhost')
  const { options } = await page(world.server, api.signIn.options)
  const body = { assertion: world.bob.person.authenticator.get(options) }
  bobsCookie = (await pageCall(world.server, api.signIn.complete, { body })).cookie ?? ''
})
afterAll(() => world?.close())
afterEach(() => world.setClock(0))

const whoAmI = (connection: Connection, agent?: ReturnType<typeof keptAlive>) =>
  machineCall(connection, 'GET', '/v1/session', agent ? { agent } : {})
const newPerson = async (identity: string, lifetime = 3600): Promise<ApiSession> =>
  logIn(world.server, await inviteAndEnrol(world.server, world.alice, identity), { lifetime })
const revokePerson = (identity: string) =>
  call(world.alice.connection, api.revocations.create, {
    body: bodyOf(api.revocations.create, { target: { person: identity }, wait: 0 }),
  })

describe('a client certificate', () => {
  it('revoked, on a connection that is kept alive: refused from the next request on', async () => {
    const carol = await newPerson('carol@example.com')
    const [hers, bobs] = [keptAlive(), keptAlive()]
    expect((await whoAmI(carol.connection, hers)).status).toBe(200)
    expect((await whoAmI(world.bob.connection, bobs)).status).toBe(200)
    await revokePerson('carol@example.com')
    expect(await whoAmI(carol.connection, hers)).toMatchObject({ reused: true, code: 'not-signed-in' })
    expect(await whoAmI(world.bob.connection, bobs)).toMatchObject({ reused: true, status: 200 })
    for (const agent of [hers, bobs]) agent.destroy()
  })

  it('revoked, on the first request after a restart, even of a killed server: refused', async () => {
    const dora = await newPerson('dora@example.com')
    await revokePerson('dora@example.com')
    await world.server.kill()
    await world.server.restart()
    expect((await whoAmI(dora.connection)).code).toBe('not-signed-in')
    expect((await whoAmI(world.bob.connection)).status).toBe(200)
  })

  it('ended, on a connection that is kept alive and on a new one that TLS lets pass: refused', async () => {
    const erin = await newPerson('erin@example.com', 600)
    const [hers, bobs] = [keptAlive(), keptAlive()]
    expect((await whoAmI(erin.connection, hers)).status).toBe(200)
    expect((await whoAmI(world.bob.connection, bobs)).status).toBe(200)
    world.setClock(601)
    expect(await whoAmI(erin.connection, hers)).toMatchObject({ reused: true, code: 'not-signed-in' })
    expect((await whoAmI(erin.connection)).code).toBe('not-signed-in')
    expect(await whoAmI(world.bob.connection, bobs)).toMatchObject({ reused: true, status: 200 })
    world.setClock(0)
    for (const agent of [hers, bobs]) agent.destroy()
  })

  it.each(['TLSv1.3'] as const)(
    'in a resumed session of %s, with the key and without: no session is resumed, and without a key nobody is known',
    async version => {
      const open = (tls: object) =>
        connect({
          host: '127.0.0.1',
          port: world.port.machines,
          servername: 'localhost',
          minVersion: version,
          maxVersion: version,
          ...tls,
        })
      const ask = (socket: TLSSocket) =>
        new Promise<{ status: number; reused: boolean }>((resolve, reject) => {
          let text = ''
          let reused = true
          socket.on('error', reject).on('data', chunk => {
            text += chunk
          })
          socket.on('secureConnect', () => {
            reused = socket.isSessionReused()
          })
          socket.on('close', () => resolve({ status: Number(text.split(' ')[1]), reused }))
          socket.write('GET /v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
        })
      let session: Buffer | undefined
      const first = open(tlsOf(world.bob.connection)).on('session', given => {
        session = given
      })
      first.once('secureConnect', () => {
        session ??= first.getSession()
      })
      expect((await ask(first)).status).toBe(200)
      const kept = session ? { session } : {}
      expect(await ask(open({ ...tlsOf(world.bob.connection), ...kept }))).toEqual({ status: 200, reused: false })
      expect(await ask(open({ ...tlsOf(world.stranger), ...kept }))).toEqual({ status: 401, reused: false })
    },
  )

  it("of another organisation's authority with all the right names: refused", async () => {
    const { organisation, session } = world.alice.login.session
    const forged = newMachineAuthority().client(machineUri.person(organisation, 'alice@example.com', session))
    const client = { key: forged.key, certificate: forged.cert }
    expect((await whoAmI({ ...world.stranger, client })).code).toBe('not-signed-in')
    expect((await whoAmI(world.alice.connection)).status).toBe(200)
  })

  it("with another key than the certificate's: no connection at all", async () => {
    const { client } = world.alice.connection
    const other = world.bob.connection.client
    if (!client || !other) throw new Error('both have one')
    const mixed = { ...world.stranger, client: { key: other.key, certificate: client.certificate } }
    await expect(whoAmI(mixed)).rejects.toThrow()
  })

  it('said in a header, as a proxy would, at either listener: nobody', async () => {
    const pem = encodeURIComponent(world.alice.login.client.certificate)
    const headers = {
      'x-forwarded-client-cert': `Cert="${pem}"`,
      'x-ssl-client-cert': pem,
      'x-ssl-client-verify': 'SUCCESS',
      'ssl-client-cert': pem,
      'client-cert': `:${world.alice.login.client.certificate.split('\n').slice(1, -2).join('')}:`,
    }
    expect((await machineCall(world.stranger, 'GET', '/v1/session', { headers })).code).toBe('not-signed-in')
    expect((await pageCall(world.server, api.session.show, { headers })).problem?.code).toBe('not-signed-in')
  })

  it('of a host that was taken out, on a connection that is kept alive: refused', async () => {
    const gone = await joinHost(world, 'web2.keyman.localhost')
    const agent = keptAlive()
    const renew = () => machineCall(gone.connection, 'POST', '/v1/host/client-certificate', { agent })
    expect((await renew()).status).toBe(200)
    await call(world.alice.connection, api.hosts.remove, { params: { name: gone.name } })
    expect(await renew()).toMatchObject({ reused: true, code: 'not-signed-in' })
    expect((await machineCall(host.connection, 'POST', '/v1/host/client-certificate')).status).toBe(200)
    agent.destroy()
  })
})

describe('the stream of hosts', () => {
  const upgrade = (connection: Connection, more = '') =>
    rawExchange(
      { port: world.port.machines, tls: tlsOf(connection) },
      `GET ${HOST_STREAM_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n${more}\r\n`,
      '\r\n\r\n',
    )
  it('is for hosts alone: not for strangers, persons, administrators or pages', async () => {
    expect((await upgrade(world.stranger)).status).toBe(401)
    expect((await upgrade(world.bob.connection)).status).toBe(403)
    expect((await upgrade(world.alice.connection)).status).toBe(403)
    expect((await upgrade(host.connection, 'Origin: https://evil.example\r\n')).status).toBe(403)
    expect((await upgrade(host.connection)).status).toBe(101)
  })
})

const inputs = () => routeInputs(world, host)
const NAME = { name: 'web1.keyman.localhost' }
const ENDS_THE_SESSION = ['session.end', 'revocations.own']
/** Whose certificate it takes. */
const isForMachines = ({ caller }: Route) => caller === 'host' || caller === 'workload'

describe('every route, walked', () => {
  describe('at the machines', () => {
    const walk = allRoutes.filter(route => route.listeners.includes('machines'))
    const ask = (connection: Connection, route: (typeof walk)[number], headers = {}) => {
      const input = inputs()[route.id] ?? {}
      return machineCall(connection, route.method, pathOf(route.path, input), {
        headers,
        ...(input.body === undefined ? {} : { body: input.body }),
      })
    }

    it('a stranger, with a cookie too, gets what is for anyone and nothing else', async () => {
      const served: string[] = []
      for (const route of walk) {
        const answer = await ask(world.stranger, route, { cookie: `__Host-keyman=${bobsCookie}` })
        if (answer.status < 300) served.push(route.id)
        if (route.caller !== 'anyone') expect([route.id, answer.code]).toEqual([route.id, 'not-signed-in'])
      }
      expect(served).toEqual(['login.challenge', 'trust.show'])
    })
    it('a person without rights gets nothing that is for administrators or hosts', async () => {
      for (const route of walk.filter(each => !ENDS_THE_SESSION.includes(each.id))) {
        const { status, code } = await ask(world.bob.connection, route)
        if (ACTIONS[route.action].by === 'role' || isForMachines(route))
          expect([route.id, code]).toEqual([route.id, 'denied'])
        else if (route.id !== 'ssh.issueUserCertificate') expect([route.id, status]).not.toEqual([route.id, 403])
      }
    })
    it("a person without rights sees nothing of another person's access", async () => {
      const why = (query: string) => machineCall(world.bob.connection, 'GET', `/v1/why?host=${NAME.name}${query}`)
      expect((await why('&person=alice@example.com')).code).toBe('denied')
      expect((await why('&person=bob@example.com')).status).toBe(200)
    })
    it('a host gets what is for hosts and nothing that is for persons', async () => {
      for (const route of walk.filter(each => each.caller !== 'anyone')) {
        const { code } = await ask(host.connection, route)
        if (route.caller === 'host') expect([route.id, code]).not.toEqual([route.id, 'not-signed-in'])
        else expect([route.id, code]).toEqual([route.id, 'denied'])
      }
    })
    it('a workload gets what is for workloads, and nothing that is for persons or hosts', async () => {
      await call(world.alice.connection, api.projects.add, { body: bodyOf(api.projects.add, { name: 'walking' }) })
      const name = 'walking/walker'
      const { connection } = await joinWorkload(world.stranger, name, await addWorkload(world.alice, name))
      for (const route of walk.filter(({ id, caller }) => caller !== 'anyone' && id !== 'workloadSelf.end')) {
        const { code } = await ask(connection, route)
        if (route.caller === 'workload' || route.caller === 'session')
          expect([route.id, code]).not.toEqual([route.id, 'denied'])
        else expect([route.id, code]).toEqual([route.id, 'denied'])
      }
    })
    it('an administrator is let in to each of them that is for persons, and to none that is for hosts', async () => {
      for (const route of walk.filter(each => each.caller !== 'anyone' && !ENDS_THE_SESSION.includes(each.id))) {
        const { code, status } = await ask(world.alice.connection, route)
        if (isForMachines(route)) expect([route.id, code]).toEqual([route.id, 'denied'])
        else if (route.id !== 'ssh.issueUserCertificate')
          expect([route.id, [401, 403, 500].includes(status)]).toEqual([route.id, false])
      }
    })
    it('under another spelling of its address is no way around: no caller without rights gets an answer', async () => {
      const secured = walk.filter(route => route.method === 'GET' && ACTIONS[route.action].by === 'role')
      for (const route of secured) {
        const path = pathOf(route.path, inputs()[route.id] ?? {})
        const spellings = [
          `${path}/`,
          path.replace('/v1/', '/v1//'),
          path.replace('/v1/', '//v1/'),
          path.replace('/v1/', '/V1/'),
          path.replace('/v1/', '/x/../v1/'),
          path.replace('/v1/', '/v1/./'),
          path.replace('/v1/', '/v1%2f'),
          path.replace('/v1/', '/%76%31/'),
          `${path};x=1`,
          `${path}%00`,
          `https://localhost${path}`,
        ]
        const asking = spellings.map(
          spelling => `GET ${spelling} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
        )
        for (const tls of [tlsOf(world.stranger), tlsOf(world.bob.connection)])
          for (const bytes of asking) {
            const { status } = await rawExchange({ port: world.port.machines, tls }, bytes)
            expect([bytes, [400, 401, 403, 404].includes(status)]).toEqual([bytes, true])
          }
      }
    })
    it('by another method than its own, or one that a header names, is no way around', async () => {
      const headers = { 'x-http-method-override': 'GET', 'x-method-override': 'GET' }
      expect((await machineCall(world.stranger, 'POST', '/v1/challenge', { headers })).status).toBe(200)
      expect((await machineCall(world.bob.connection, 'PATCH', '/v1/persons', { headers })).status).toBe(405)
      expect((await machineCall(world.bob.connection, 'HEAD', '/v1/persons')).status).toBe(403)
    })
  })

  describe('at the pages', () => {
    const ask = (route: (typeof allRoutes)[number], cookie?: string) => {
      const input = inputs()[route.id] ?? {}
      const path = pathOf(route.path, input)
      return pageCall(world.server, { ...route, path }, { body: input.body, cookie })
    }
    it('routes of the machines are not there', async () => {
      for (const route of allRoutes.filter(each => !each.listeners.includes('pages'))) {
        const { status } = await ask(route, bobsCookie)
        // `/v1/login/token` is one login's address for another method there.
        expect([route.id, status]).toEqual([route.id, route.id === 'login.token' ? 405 : 404])
      }
    })
    it('a browser that is not signed in gets what is for anyone and nothing else', async () => {
      const served: string[] = []
      for (const route of allRoutes.filter(each => each.listeners.includes('pages'))) {
        const { status, problem } = await ask(route)
        if (status < 300) served.push(route.id)
        if (route.caller !== 'anyone') expect([route.id, problem?.code]).toEqual([route.id, 'not-signed-in'])
      }
      expect(served).toEqual(['signIn.show', 'signIn.options'])
    })
    it('a browser that is signed in gets what is for browsers and persons', async () => {
      for (const route of allRoutes.filter(each => each.listeners.includes('pages') && each.caller !== 'anyone'))
        if (!ENDS_THE_SESSION.includes(route.id)) {
          const { problem } = await ask(route, bobsCookie)
          expect([route.id, problem?.code]).not.toEqual([route.id, 'not-signed-in'])
        }
    })
  })

  it('who ends what is their own hears of no host but those where they get in', async () => {
    const hostsFor = async ({ connection }: ApiSession) =>
      (await call(connection, api.revocations.own)).hosts.map(({ name }) => name)
    expect(await hostsFor(await newPerson('fred@example.com'))).toEqual([])
    const gina = await newPerson('gina@example.com')
    const grant = { who: 'gina@example.com', login: 'gina', hosts: { host: host.name } }
    await call(world.alice.connection, api.grants.add, { body: bodyOf(api.grants.add, grant) })
    expect(await hostsFor(gina)).toEqual([host.name])
  })

  it('ending a session is for its own person: a stranger ends none', async () => {
    for (const [method, path] of [
      ['DELETE', '/v1/session'],
      ['POST', '/v1/session/revoke-all'],
    ] as const) {
      expect((await machineCall(world.stranger, method, path)).code).toBe('not-signed-in')
      expect((await machineCall(host.connection, method, path)).code).toBe('denied')
    }
    expect((await whoAmI(world.bob.connection)).status).toBe(200)
    expect((await machineCall(world.bob.connection, 'DELETE', '/v1/session')).status).toBe(204)
    expect((await whoAmI(world.bob.connection)).code).toBe('not-signed-in')
  })
})
