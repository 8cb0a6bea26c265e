import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call as agentCall } from '#agent/server/call.ts'
import { fetchTrust, machineRoots } from '#agent/server/trust.ts'
import { call } from '#cli/server/client.ts'
import { proveBoth } from '#cli/session/keys.ts'
import { api } from '#shared/api/index.ts'
import { parseJoinToken } from '#shared/join-token.ts'
import { parseCertificate } from '#shared/ssh/index.ts'
import { machineUri } from '#shared/x509/index.ts'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import {
  type AttackWorld,
  addHost,
  joinBody,
  joinHost,
  machineCall,
  newKeys,
  openAttackWorld,
  outcome,
  tlsOf,
} from '#test/support/worlds/attack-world.ts'

/** What reaches the server from a joining host, and the agent from a server; files and sshd are tried in `test/agent` and `test/hosts`. */
let world: AttackWorld

beforeAll(async () => {
  world = await openAttackWorld()
})
afterAll(() => world?.close())
afterEach(() => world.setClock(0))

const join = (body: unknown) => machineCall(world.stranger, 'POST', '/v1/join', { body })
const removed = (name: string) => call(world.alice.connection, api.hosts.remove, { params: { name } })

describe('a join token', () => {
  it('used twice, with other keys or the same, at once or later: joins one host', async () => {
    const { secret } = await addHost(world, 'twice.keyman.localhost')
    const bodies = await Promise.all([1, 2, 3, 4].map(() => joinBody(world.stranger, secret)))
    const codes = (await Promise.all(bodies.map(join))).map(answer => answer.code)
    expect(codes.toSorted()).toEqual(['', 'expired', 'expired', 'expired'])
    expect((await join(await joinBody(world.stranger, secret))).code).toBe('expired')
  })

  it('that has ended, is not known, or is of a host that was taken out: joins none', async () => {
    const { secret } = await addHost(world, 'late.keyman.localhost', { tokenLifetime: 600 })
    world.setClock(601)
    expect((await join(await joinBody(world.stranger, secret))).code).toBe('expired')
    world.setClock(0)
    expect((await join(await joinBody(world.stranger, 'A'.repeat(43)))).code).toBe('denied')
    await removed('late.keyman.localhost')
    expect((await join(await joinBody(world.stranger, secret))).code).toMatch(/^(denied|expired)$/)
    const again = await addHost(world, 'late.keyman.localhost')
    expect((await join(await joinBody(world.stranger, again.secret))).status).toBe(201)
  })

  it('names the host and its labels: a joiner that chooses them is refused, and so is one that proves other keys', async () => {
    const { secret } = await addHost(world, 'web1.keyman.localhost')
    const body = () => joinBody(world.stranger, secret)
    for (const choice of [
      { name: 'db1.keyman.localhost' },
      { host: 'db1.keyman.localhost' },
      { labels: { env: 'prod' } },
    ])
      expect((await join({ ...(await body()), ...choice })).code).toBe('invalid-input')
    const keys = newKeys()
    const { challenge } = await call(world.stranger, api.login.challenge)
    const swapped = { ...(await body()), proof: proveBoth(keys, 'join', challenge) }
    expect((await join(swapped)).code).toBe('denied')
    const whole = await joinBody(world.stranger, secret, keys)
    const forLogin = { ...whole, proof: proveBoth(keys, 'login', whole.proof.challenge) }
    expect((await join(forLogin)).code).toBe('denied')
    expect((await join(await body())).body).toMatchObject({ host: 'web1.keyman.localhost' })
    const shown = await call(world.alice.connection, api.hosts.show, { params: { name: 'web1.keyman.localhost' } })
    expect(shown.labels).toEqual({ env: 'test' })
  })

  it("gives a living host's name to no second host", async () => {
    await addHost(world, 'only.keyman.localhost')
    expect(await outcome(addHost(world, 'only.keyman.localhost'))).toBe('conflict')
    await removed('only.keyman.localhost')
    expect(await outcome(addHost(world, 'only.keyman.localhost'))).toBe('done')
  })

  it('is not given for a name outside of the organisation, nor for a pattern', async () => {
    const add = (name: string) =>
      machineCall(world.alice.connection, 'POST', '/v1/hosts', { body: { name } }).then(answer => answer.code)
    for (const name of [
      'web1.example.org',
      '*.keyman.localhost',
      'keyman.localhost',
      'evilkeyman.localhost',
      'web1.keyman.localhost.',
      'Web1.keyman.localhost',
      'a\nb.keyman.localhost',
      '-oProxyCommand=x.keyman.localhost',
    ])
      expect([name, await add(name)]).toEqual([name, 'invalid-input'])
    expect(await add('fine.keyman.localhost')).toBe('')
  })
})

describe('one host can not be another', () => {
  it('certificates are for its own name; a request names none', async () => {
    const own = await joinHost(world, 'own.keyman.localhost')
    await joinHost(world, 'other.keyman.localhost')
    const body = async (keys = own.keys) => {
      const { challenge } = await call(world.stranger, api.login.challenge)
      // The client key is bound in: the proof of one host's key is of no use to another host.
      const { sshSignature } = proveBoth({ ...keys, client: own.keys.client }, 'host-key', challenge)
      return { publicKey: keys.ssh.line, challenge, signature: sshSignature }
    }
    const ask = (wanted: unknown) => machineCall(own.connection, 'POST', '/v1/host/ssh-certificates', { body: wanted })
    for (const more of [
      { name: 'other.keyman.localhost' },
      { principals: ['other.keyman.localhost'] },
      { lifetime: 1 },
    ])
      expect((await ask({ ...(await body()), ...more })).code).toBe('invalid-input')
    const issued = await call(own.connection, api.hostSelf.hostCertificate, { body: await body() })
    expect(issued.principals).toEqual(['own.keyman.localhost'])
    expect(parseCertificate(issued.certificate).principals).toEqual(['own.keyman.localhost'])
  })

  it('a proof is used once, and serves the host alone whose client key it binds', async () => {
    const own = await joinHost(world, 'own2.keyman.localhost')
    const other = await joinHost(world, 'other2.keyman.localhost')
    const { challenge } = await call(world.stranger, api.login.challenge)
    const { sshSignature } = proveBoth(own.keys, 'host-key', challenge)
    const body = { publicKey: own.keys.ssh.line, challenge, signature: sshSignature }
    const ask = (connection: typeof own.connection) => outcome(call(connection, api.hostSelf.hostCertificate, { body }))
    expect(await ask(other.connection)).toBe('denied')
    expect(await ask(own.connection)).toBe('done')
    expect(await ask(own.connection)).toBe('expired')
  })
})

describe("a server's certificate of another authority", () => {
  it('is not spoken to by the agent, and is sent no token', async () => {
    const { token, secret } = await addHost(world, 'wary.keyman.localhost')
    const { bundle } = await fetchTrust(world.server.machinesUrl, { fingerprint: parseJoinToken(token).fingerprint })
    const roots = machineRoots(bundle)
    const heard: string[] = []
    const impostor = createServer(newMachineAuthority().server(), (request, response) => {
      heard.push(request.url ?? '')
      response.end('{}')
    })
    await new Promise<void>(resolve => impostor.listen(0, '127.0.0.1', resolve))
    const { port } = impostor.address() as AddressInfo
    try {
      const body = await joinBody(world.stranger, secret)
      const joinAt = (url: string) => outcome(agentCall({ url, roots }, api.hostSelf.join, { body }))
      expect(await joinAt(`https://localhost:${port}`)).toBe('unavailable')
      expect(heard).toEqual([])
      expect(await joinAt(world.server.machinesUrl)).toBe('done')
    } finally {
      impostor.close()
    }
  })

  it("is not spoken to by the CLI either, nor is a host's own certificate taken for the server's", async () => {
    const host = await joinHost(world, 'pretends.keyman.localhost')
    const { key = '', certificate = '' } = host.connection.client ?? {}
    expect(machineUri.host('local', host.name)).toContain(host.name)
    for (const identity of [newMachineAuthority().server(), { key, cert: certificate }]) {
      const impostor = createServer(identity, (_, response) => void response.end('{}'))
      await new Promise<void>(resolve => impostor.listen(0, '127.0.0.1', resolve))
      const { port } = impostor.address() as AddressInfo
      try {
        const url = `https://localhost:${port}`
        expect(await outcome(call({ ...world.alice.connection, url }, api.session.show))).toBe('unavailable')
      } finally {
        impostor.close()
      }
    }
    expect(tlsOf(world.alice.connection).ca).toBeDefined()
    expect(await outcome(call(world.alice.connection, api.session.show))).toBe('done')
  })
})
