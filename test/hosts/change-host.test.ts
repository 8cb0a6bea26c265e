import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Connection, call } from '#cli/server/client.ts'
import { api, type hostStream } from '#shared/api/index.ts'
import { decodeKrl, isRevoked, parseCertificate } from '#shared/ssh/index.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { confirm, page, untouched } from '#test/support/people/api-person.ts'
import {
  type AttackWorld,
  addHost,
  bodyOf,
  hostCertificateOf,
  hostStreamOf,
  type JoinedHost,
  joinHost,
  openAttackWorld,
  outcome,
  refusal,
} from '#test/support/worlds/attack-world.ts'

/** What is changed of a host by somebody who may: by its labels grants choose it, and by its names clients believe it. */

let world: AttackWorld
let owner: Connection
let incarnation: string
beforeAll(async () => {
  world = await openAttackWorld()
  owner = world.alice.connection
  const { bundles } = await call(world.stranger, api.trust.show)
  incarnation = parseTrustDocument(bundles.at(-1)?.document ?? '').incarnation
})
afterAll(() => world?.close())

const NAME = 'web1.keyman.localhost'
const of = (name: string, change: unknown) => ({ params: { name }, body: bodyOf(api.hosts.change, change) })
const change = (name: string, what: unknown) => call(owner, api.hosts.change, of(name, what))
const show = (name: string) => call(owner, api.hosts.show, { params: { name } })
const grant = (who: string, login: string, labels: Record<string, string>) =>
  call(owner, api.grants.add, { body: bodyOf(api.grants.add, { who, login, hosts: { labels } }) })

/** A host's stream by hand: has in force whatever it is told. */
async function connected(host: JoinedHost) {
  const states: hostStream.DesiredState[] = []
  const names: Extract<hostStream.FrameToAgent, { type: 'names' }>[] = []
  const types: string[] = []
  const stream = await hostStreamOf(host, frame => {
    types.push(frame.type)
    if (frame.type === 'names') names.push(frame)
    if (frame.type !== 'state') return
    states.push(frame.state)
    stream.send({ type: 'in-force', revision: frame.state.revision })
  })
  stream.send({ type: 'hello', revision: 0, incarnation, agent: 'test', sshd: 'none', names: true })
  await expect.poll(() => states.length).toBe(1)
  return { stream, states, names, types, lets: () => Object.keys(states.at(-1)?.principals ?? {}).sort() }
}

describe('a change of a host', () => {
  it('is in force by the answer: whom grants name by its labels of now gets in, and nobody by those of before', async () => {
    const host = await joinHost(world, NAME, { labels: { env: 'test' } })
    await grant('bob@example.com', 'tester', { env: 'test' })
    await grant('bob@example.com', 'webber', { tier: 'web' })
    const { stream, states, lets } = await connected(host)
    await expect.poll(lets).toEqual(['tester'])
    const wait = { query: { wait: 10 } }
    const both = await call(owner, api.hosts.change, { ...of(NAME, { labels: { tier: 'web' } }), ...wait })
    expect([lets(), both.labels, both.hosts.map(({ state }) => state)]).toEqual([
      ['tester', 'webber'],
      { env: 'test', tier: 'web' },
      ['in-force'],
    ])
    const one = await call(owner, api.hosts.change, { ...of(NAME, { labels: { env: null } }), ...wait })
    expect([lets(), one.labels, one.hosts]).toMatchObject([['webber'], { tier: 'web' }, [{ state: 'in-force' }]])
    // Nothing that nobody gets in by is told to the host.
    const told = states.length
    await change(NAME, { port: 2200 })
    expect([states.length, (await show(NAME)).port]).toEqual([told, 2200])
    stream.close()
  })

  it('is shown before the touch as it is and as it will be, with who gets in by it or no more', async () => {
    const thief = untouched(owner)
    const ask = of(NAME, { labels: { env: 'test', tier: null }, address: '192.0.2.7' })
    const shown = async (transaction: string) =>
      (await page(world.server, api.actions.show, { params: { transaction } })).shown.map(
        ({ name, value }) => `${name}: ${value}`,
      )
    const asked = await refusal(call(thief, api.hosts.change, ask))
    const id = asked.transaction?.id ?? ''
    expect(await shown(id)).toEqual(
      expect.arrayContaining([
        'Labels, now: tier=web',
        'Labels, then: env=test',
        'Reached at, now: its name',
        'Reached at, then: 192.0.2.7',
        'Get in then: bob@example.com as tester',
        'Get in no more: bob@example.com as webber',
      ]),
    )
    await confirm(world.server, world.alice.person, id)
    // Somebody else would get in by then: that was not confirmed.
    await grant('alice@example.com', 'tester', { env: 'test' })
    const anew = await refusal(call(thief, api.hosts.change, { ...ask, touch: id }))
    expect([anew.code, anew.transaction?.id === id]).toEqual(['assertion-required', false])
    expect(await shown(anew.transaction?.id ?? '')).toContain(
      'Get in then: alice@example.com as tester; bob@example.com as tester',
    )
    const touch = anew.transaction?.id ?? ''
    await confirm(world.server, world.alice.person, touch)
    expect(await outcome(call(thief, api.hosts.change, { ...ask, touch }))).toBe('done')
    const query = { kind: 'host-changed' as const, limit: 100 }
    const { records } = await call(owner, api.auditTrail.list, { query })
    expect(JSON.parse(records.at(-1)?.record ?? '{}')).toMatchObject({
      kind: 'host-changed',
      target: NAME,
      actor: { identity: 'alice@example.com', consent: touch },
      details: {
        before: { labels: 'tier=web', address: 'its name' },
        after: { labels: 'env=test', address: '192.0.2.7' },
      },
    })
    expect(await show(NAME)).toMatchObject({ labels: { env: 'test' }, address: '192.0.2.7', port: 2200 })
  })

  it('is refused as a whole where one part of it cannot be: nothing is changed; without that part all of it is', async () => {
    await addHost(world, 'web2.keyman.localhost', { aliases: ['w2.keyman.localhost'], labels: { env: 'prod' } })
    const before = await show('web2.keyman.localhost')
    const good = { labels: { tier: 'db' }, port: 2222 }
    for (const [bad, code, why] of [
      [{ addAliases: ['db.example.org'] }, 'invalid-input', /host suffix/],
      [{ addAliases: [NAME] }, 'conflict', /there is a host web1/],
      [{ addAliases: ['w2.keyman.localhost'] }, 'invalid-input', /already, or stands there twice/],
      [{ addAliases: ['web2.keyman.localhost'] }, 'invalid-input', /already, or stands there twice/],
      [{ removeAliases: ['none.keyman.localhost'] }, 'invalid-input', /is no further name/],
      [{ labels: { none: null, tier: 'db' } }, 'invalid-input', /has no label none/],
    ] as const) {
      const refused = await refusal(change('web2.keyman.localhost', { ...good, ...bad }))
      expect([refused.code, refused.message], JSON.stringify(bad)).toEqual([code, expect.stringMatching(why)])
      expect(await show('web2.keyman.localhost')).toEqual(before)
    }
    expect(await change('web2.keyman.localhost', good)).toMatchObject({
      labels: { env: 'prod', tier: 'db' },
      port: 2222,
    })
    expect((await refusal(change('web2.keyman.localhost', good))).message).toContain('nothing would change')
    expect(await outcome(change('web3.keyman.localhost', good))).toBe('not-found')
    expect(await outcome(call(world.bob.connection, api.hosts.change, of(NAME, good)))).toBe('denied')
  })

  it('takes a name for one host alone, whoever asks at the same moment; a change that is done stays, one that is refused is not there', async () => {
    await addHost(world, 'web4.keyman.localhost', { labels: {} })
    const alias = { addAliases: ['one.keyman.localhost'] }
    const changes = Array.from({ length: 6 }, (_, i) => ({ labels: { [`n${i}`]: 'x' } }))
    const [first, second, ...others] = await Promise.all([
      outcome(change('web4.keyman.localhost', alias)),
      outcome(change('web2.keyman.localhost', alias)),
      ...changes.map(each => outcome(change('web4.keyman.localhost', each))),
    ])
    expect([first, second]).toContain('conflict')
    for (const each of others) expect(['done', 'conflict']).toContain(each)
    const done = changes.filter((_, i) => others[i] === 'done').map(({ labels }) => labels)
    expect((await show('web4.keyman.localhost')).labels).toEqual(Object.assign({}, ...done))
    const holders = await Promise.all(['web2.keyman.localhost', 'web4.keyman.localhost'].map(show))
    const taken = holders.filter(({ aliases = [] }) => aliases.some(name => name === 'one.keyman.localhost'))
    expect(taken.length).toBe([first, second].filter(each => each === 'done').length)
  })

  it('takes two names for two hosts that ask at the same moment', async () => {
    const named = { web4: 'two.keyman.localhost', web2: 'three.keyman.localhost' }
    const asked = Object.entries(named).map(([host, alias]) =>
      outcome(change(`${host}.keyman.localhost`, { addAliases: [alias] })),
    )
    expect(await Promise.all(asked)).toEqual(['done', 'done'])
    for (const [host, alias] of Object.entries(named))
      expect((await show(`${host}.keyman.localhost`)).aliases).toContain(alias)
  })

  it('of its names is told to it, which gets certificates with them; those for a name that it lost are revoked', async () => {
    const host = await joinHost(world, 'web5.keyman.localhost')
    const { stream, states, names, types } = await connected(host)
    // What ends somebody's access comes before.
    await expect.poll(() => types).toEqual(['state', 'names'])
    expect(names.map(({ aliases }) => aliases)).toEqual([[]])
    await change(host.name, { labels: { tier: 'none' } })
    await change(host.name, { addAliases: ['w5.keyman.localhost', 'v5.keyman.localhost'] })
    // Nothing is said twice, whatever else is changed.
    await expect
      .poll(() => names.slice(1).map(({ aliases }) => aliases))
      .toEqual([['w5.keyman.localhost', 'v5.keyman.localhost']])
    const both = parseCertificate((await hostCertificateOf(host)).certificate)
    expect(both.principals).toEqual([host.name, 'w5.keyman.localhost', 'v5.keyman.localhost'])
    const { namesGoodUntil } = await change(host.name, { removeAliases: ['v5.keyman.localhost'] })
    expect(Date.parse(namesGoodUntil ?? '')).toBe(Number(both.validBefore) * 1000)
    await expect.poll(() => names.at(-1)?.aliases).toEqual(['w5.keyman.localhost'])
    const one = parseCertificate((await hostCertificateOf(host)).certificate)
    expect(one.principals).toEqual([host.name, 'w5.keyman.localhost'])
    const areRevoked = () => {
      const krl = decodeKrl(Uint8Array.fromBase64(states.at(-1)?.krl.base64 ?? ''))
      return [both, one].map(certificate => isRevoked(krl, certificate))
    }
    await expect.poll(areRevoked).toEqual([true, false])
    stream.close()
  })
})
