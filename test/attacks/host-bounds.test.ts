import { afterAll, beforeAll, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api, type hostStream } from '#shared/api/index.ts'
import { parseCheckpoint } from '#shared/merkle/index.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { type ApiPerson, logIn } from '#test/support/people/api-person.ts'
import {
  type AttackWorld,
  bodyOf,
  hostStreamOf,
  type JoinedHost,
  joinHost,
  openAttackWorld,
} from '#test/support/worlds/attack-world.ts'

/** A host that somebody has taken, and what it says without end. */

let world: AttackWorld
let incarnation: string
beforeAll(async () => {
  world = await openAttackWorld()
  const { bundles } = await call(world.stranger, api.trust.show)
  incarnation = parseTrustDocument(bundles.at(-1)?.document ?? '').incarnation
})
afterAll(() => world?.close())

async function open(host: JoinedHost, onFrame?: (frame: hostStream.FrameToAgent) => void) {
  const stream = await hostStreamOf(host, onFrame)
  const hello = (revision: number, checkpoint?: string) =>
    stream.send({
      type: 'hello',
      revision,
      incarnation,
      agent: 'test',
      sshd: 'none',
      ...(checkpoint && { checkpoint }),
    })
  return { stream, hello }
}
const isServed = async (host: JoinedHost) => {
  const first = Promise.withResolvers<hostStream.FrameToAgent>()
  const { stream, hello } = await open(host, first.resolve)
  hello(0)
  expect((await first.promise).type).toBe('state')
  stream.close()
}
/** Opens one stream after the other until it is let in no more. */
async function flood(host: JoinedHost, say: (opened: Awaited<ReturnType<typeof open>>) => void): Promise<unknown> {
  for (let n = 0; n < 60; n++)
    try {
      const opened = await open(host)
      say(opened)
      await opened.stream.ended
    } catch (error) {
      return error
    }
  return 'let in sixty times'
}
const alarms = () => world.server.output().match(/rows were lost|has not signed/g)?.length ?? 0

it('false hellos, stream after stream: a few are alarms, then it is let in no more; another host is', async () => {
  const [taken, other] = [
    await joinHost(world, 'web1.keyman.localhost'),
    await joinHost(world, 'web2.keyman.localhost'),
  ]
  const refused = await flood(taken, ({ hello }) => hello(1_000_000))
  expect(refused).toMatchObject({ code: 'unavailable', message: expect.stringContaining('429') })
  expect(alarms()).toBeGreaterThan(0)
  expect(alarms()).toBeLessThanOrEqual(25)
  await isServed(other)
})

it('tree heads that the log never signed, on stream after stream: the same', async () => {
  const taken = await joinHost(world, 'web3.keyman.localhost')
  const before = alarms()
  const { checkpoint } = await call(world.alice.connection, api.auditTrail.checkpoint)
  const larger = checkpoint.replace(String(parseCheckpoint(checkpoint).size), '999999999')
  const refused = await flood(taken, ({ stream, hello }) => {
    hello(0, larger)
    stream.send({ type: 'in-force', revision: 999_999 })
    stream.close()
  })
  expect(refused).toMatchObject({ code: 'unavailable' })
  expect(alarms() - before).toBeLessThanOrEqual(25)
})

it.each(['a\0b', 'half of \ud83d'])(
  'words that no table takes (%j), which would spoil what other hosts say at that moment, are no frame; others are',
  async spoilt => {
    const name = `spoilt${spoilt.length}.keyman.localhost`
    const taken = await joinHost(world, name)
    const say = async (message: string) => {
      const asked = Promise.withResolvers<number>()
      const { stream, hello } = await open(taken, frame => {
        if (frame.type === 'state') asked.resolve(frame.state.revision)
      })
      hello(0)
      stream.send({ type: 'in-force', revision: await asked.promise, findings: [{ about: 'remark', message }] })
      return stream
    }
    const whole = await say('whole')
    await expect
      .poll(async () => (await call(world.alice.connection, api.hosts.show, { params: { name } })).findings)
      .toMatchObject([{ message: 'whole' }])
    whole.close()
    expect(await (await say(spoilt)).ended).toContain('not a frame')
  },
)

it('of what lets in on a host beside KeyMan nobody hears who ends what is their own; an administrator does', async () => {
  const name = 'web5.keyman.localhost'
  const host = await joinHost(world, name)
  await call(world.alice.connection, api.grants.add, {
    body: bodyOf(api.grants.add, { who: 'bob@example.com', login: 'deploy', hosts: { host: name } }),
  })
  const { stream, hello } = await open(host, frame => {
    if (frame.type === 'state')
      stream.send({
        ...{ type: 'in-force', revision: frame.state.revision },
        findings: [{ about: 'lets-in', login: 'root', message: '1 plain key', fingerprints: [] }],
      })
  })
  hello(0)
  await expect
    .poll(async () => (await call(world.alice.connection, api.hosts.show, { params: { name } })).findings)
    .toMatchObject([{ message: '1 plain key' }])
  const end = async (person: ApiPerson) => {
    const { connection } = await logIn(world.server, person)
    const { sessions } = await call(connection, api.sessions.list, { query: {} })
    const id = sessions.find(({ current }) => current)?.id ?? ''
    const { hosts } = await call(connection, api.sessions.end, { params: { id }, query: { wait: 0 } })
    return hosts.find(told => told.name === name)
  }
  const bobs = await end(world.bob.person)
  expect(bobs).toMatchObject({ name })
  expect(bobs).not.toHaveProperty('findings')
  expect(await end(world.alice.person)).toMatchObject({ findings: [{ message: '1 plain key' }] })
  stream.close()
})

it('answers to what nobody asked, on one stream: it is closed', async () => {
  const taken = await joinHost(world, 'web4.keyman.localhost')
  const started = Promise.withResolvers<void>()
  const { stream, hello } = await open(taken, () => started.resolve())
  hello(0)
  await started.promise
  let ended = ''
  const over = stream.ended.then(why => {
    ended = why
  })
  for (let n = 0; n < 200 && ended === ''; n++) {
    stream.send({ type: 'in-force', revision: 999_999 })
    await call(world.alice.connection, api.session.show)
  }
  await over
  expect(ended).toContain('in a short time')
})
