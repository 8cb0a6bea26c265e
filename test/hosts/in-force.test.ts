import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import type { hostStream } from '#shared/api/index.ts'
import { type Login, parseHostName, parseLogin, parsePersonIdentity } from '#shared/names.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'
import { addJoined, connectHost, hostsBeside } from './hosts-beside.ts'

/** Of a change that revokes nothing, and so is on no list with a number: a grant or a member that is taken away. */
const [web1, web2] = ['web1', 'web2'].map(name => parseHostName(`${name}.keyman.localhost`, 'name'))
if (!web1 || !web2) throw new Error('no names')
const alice = parsePersonIdentity('alice@example.com', 'test')
let server: HostsServer

beforeAll(async () => {
  server = await startHostsServer()
  const { enrolment } = server.services.identity
  const { link } = await enrolment.invite({ identity: alice, owner: false, lifetime: 600 }, server.by())
  const secret = new URL(link).hash.slice(1)
  const registration = new Authenticator(server.services.config.publicUrl).create(
    await enrolment.options(secret, alice),
  )
  const at = { requestId: server.by().requestId, from: '192.0.2.7' }
  await enrolment.complete({ secret, identity: alice, passkeyName: 'first', registration }, at)
  await addJoined(server.services, [web1, web2])
  await vi.waitFor(() => expect(server.services.hosts.living().length).toBe(2), { timeout: 10_000 })
})
afterAll(() => server?.close())

const everywhere = () => true
const addGrant = (login: Login) =>
  server.services.access.addGrant(
    {
      kind: 'login',
      who: alice,
      login,
      hosts: { host: web1 },
      maxLifetime: 3600,
      options: { pty: true, portForwarding: true, agentForwarding: false, x11Forwarding: false },
    },
    server.by(),
  )
const connect = (name: typeof web1, answer?: (revision: number) => hostStream.FrameToServer | undefined) =>
  connectHost(server.services.hosts, name, server.services.store.incarnation, undefined, answer)
const waited = (seconds: number) => server.services.hosts.waitForAll(seconds, everywhere)

it('is in force where the host has said so of just this, and a host that is away is no more than away', async () => {
  const stream = connect(web1)
  await stream.inForce
  await addGrant(parseLogin('deploy', 'test'))
  expect(await waited(20)).toMatchObject([
    { name: web1, state: 'in-force' },
    { name: web2, state: 'away' },
  ])
  stream.hangUp()
})

it('has failed where the host is there and cannot do it, with what it says; once it can it is in force', async () => {
  let isFull = false
  const stream = connect(web1, revision =>
    isFull ? { type: 'failed', revision, message: 'the disk is full' } : { type: 'in-force', revision },
  )
  await stream.inForce
  isFull = true
  await addGrant(parseLogin('full', 'test'))
  expect(await waited(20)).toMatchObject([{ name: web1, state: 'failed', message: 'the disk is full' }, { name: web2 }])
  isFull = false
  await addGrant(parseLogin('free', 'test'))
  expect(await waited(20)).toMatchObject([{ name: web1, state: 'in-force' }, { name: web2 }])
  stream.hangUp()
})

it('is not in force because somebody writes so into its row; where the host says so it is', async () => {
  let isSilent = false
  const asked: number[] = []
  const stream = connect(web1, revision => {
    asked.push(revision)
    return isSilent ? undefined : { type: 'in-force', revision }
  })
  await stream.inForce
  isSilent = true
  await addGrant(parseLogin('silent', 'test'))
  await expect.poll(() => asked.length).toBe(2)
  expect(await waited(0)).toMatchObject([{ name: web1, state: 'waiting' }, { name: web2 }])
  for (const written of ['in_force_hash = content_hash', 'in_force = revision']) {
    await server.services.store.execute(`update host set ${written} where name = $1`, [web1])
    expect(await waited(0)).toMatchObject([{ name: web1, state: 'waiting' }, { name: web2 }])
  }
  await stream.say({ type: 'in-force', revision: asked.at(-1) ?? 0 })
  expect(await waited(0)).toMatchObject([{ name: web1, state: 'in-force' }, { name: web2 }])
  stream.hangUp()
})

it('is not in force because somebody puts back what its row said before the change that was taken back; where the host says so it is', async () => {
  let isSilent = false
  const asked: number[] = []
  const stream = connect(web1, revision => {
    asked.push(revision)
    return isSilent ? undefined : { type: 'in-force', revision }
  })
  await stream.inForce
  const { store, access } = server.services
  await store.execute('create table kept_host as select * from host where name = $1', [web1])
  const { id } = await addGrant(parseLogin('taken', 'test'))
  expect(await waited(20)).toMatchObject([{ name: web1, state: 'in-force' }, { name: web2 }])
  isSilent = true
  const before = asked.length
  await access.removeGrant(id, server.by())
  await expect.poll(() => asked.length).toBe(before + 1)
  await store.execute(
    `update host h set in_force = k.in_force, in_force_krl = k.in_force_krl, in_force_seal = k.in_force_seal,
       in_force_hash = k.in_force_hash, revision = k.revision from kept_host k where h.id = k.id`,
    [],
  )
  expect(await waited(0)).toMatchObject([{ name: web1, state: 'waiting' }, { name: web2 }])
  await stream.say({ type: 'in-force', revision: asked.at(-1) ?? 0 })
  expect(await waited(0)).toMatchObject([{ name: web1, state: 'in-force' }, { name: web2 }])
  stream.hangUp()
})

it('says nothing of hosts that it does not concern, nor has what they are to have made anew', async () => {
  const { access, store } = server.services
  const made: string[] = []
  const hosts = await hostsBeside(server.services, {
    principalsFor(host) {
      made.push(host.name)
      return access.principalsFor(host)
    },
  })
  await hosts.start()
  try {
    const streams = [web1, web2].map(name => connectHost(hosts, name, store.incarnation))
    for (const { inForce } of streams) await inForce
    made.length = 0
    expect(await hosts.waitForAll(20, ({ name }) => name === web2)).toMatchObject([{ name: web2, state: 'in-force' }])
    expect(new Set(made)).toEqual(new Set([web2]))
    for (const { hangUp } of streams) hangUp()
  } finally {
    await hosts.stop()
  }
})
