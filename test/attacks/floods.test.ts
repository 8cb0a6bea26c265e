import { afterAll, beforeAll, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { inviteAndEnrol, logIn } from '#test/support/people/api-person.ts'
import { type AttackWorld, bodyOf, openAttackWorld, outcome } from '#test/support/worlds/attack-world.ts'

/** Somebody who is signed in, or stole what signs in, and fills the log with what is kept for good. */

let world: AttackWorld
beforeAll(async () => {
  world = await openAttackWorld({ env: { KEYMAN_LIMITS_CALLERS_PER_MINUTE: '100' } })
})
afterAll(() => world?.close())

const many = async (times: number, once: () => Promise<unknown>) => {
  const outcomes: string[] = []
  for (let n = 0; n < times; n++) outcomes.push(await outcome(once()))
  return outcomes
}
const recorded = async (kind: 'denied' | 'ssh-user-certificate', actor: string) =>
  (await call(world.alice.connection, api.auditTrail.list, { query: { kind, actor, limit: 1000 } })).records.length

it('a flood of what is denied: a few are recorded, then its person is told to wait; everybody else goes on', async () => {
  // His login was told that no grant gives him a certificate.
  const before = await recorded('denied', 'bob@example.com')
  const outcomes = await many(60, () => call(world.bob.connection, api.persons.list))
  expect(new Set(outcomes)).toEqual(new Set(['denied', 'too-many-requests']))
  const denials = outcomes.filter(each => each === 'denied').length
  expect(denials).toBeLessThanOrEqual(10)
  expect(await recorded('denied', 'bob@example.com')).toBe(before + denials)
  expect(await outcome(call(world.bob.connection, api.session.show))).toBe('too-many-requests')
  expect(await outcome(call(world.alice.connection, api.session.show))).toBe('done')
})

it('a flood of what is denied, from one session after the other: each new one is good for one more record', async () => {
  const dave = await inviteAndEnrol(world.server, world.alice, 'dave@example.com')
  for (let n = 0; n < 8; n++) {
    const { connection } = await logIn(world.server, dave)
    await many(10, () => call(connection, api.persons.list))
  }
  // Each login is told that no grant gives a certificate, which is a record as well.
  expect(await recorded('denied', 'dave@example.com')).toBeLessThanOrEqual(8 + 5 + 8 + 2)
  expect(await outcome(call(world.alice.connection, api.session.show))).toBe('done')
})

it('a flood of certificates: some are given, so that a revocation has no more to collect than it can', async () => {
  const carol = await logIn(world.server, await inviteAndEnrol(world.server, world.alice, 'carol@example.com'))
  await call(world.alice.connection, api.grants.add, {
    body: bodyOf(api.grants.add, { who: 'carol@example.com', login: 'deploy', hosts: { labels: { env: 'x' } } }),
  })
  const body = { publicKey: carol.keys.ssh.line }
  const outcomes = await many(60, () => call(carol.connection, api.ssh.issueUserCertificate, { body }))
  expect(new Set(outcomes)).toEqual(new Set(['done', 'too-many-requests']))
  const given = outcomes.filter(each => each === 'done').length
  expect(given).toBeLessThanOrEqual(20)
  expect(await recorded('ssh-user-certificate', 'carol@example.com')).toBe(given)
})

it('a flood of certificates, from one session after the other: no more than two sessions have; somebody else is given some', async () => {
  const given = async (identity: string, sessions: number) => {
    const person = await inviteAndEnrol(world.server, world.alice, identity)
    await call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, { who: identity, login: 'deploy', hosts: { labels: { env: 'x' } } }),
    })
    let done = 0
    for (let n = 0; n < sessions; n++) {
      const { connection, keys } = await logIn(world.server, person)
      const body = { publicKey: keys.ssh.line }
      const outcomes = await many(15, () => call(connection, api.ssh.issueUserCertificate, { body }))
      done += outcomes.filter(each => each === 'done').length
    }
    return done
  }
  // A session has ten at once, by this limit, and ten more a minute.
  const all = await given('erin@example.com', 6)
  expect(all).toBeGreaterThan(10)
  expect(all).toBeLessThanOrEqual(40)
  expect(await given('frank@example.com', 1)).toBeGreaterThanOrEqual(10)
})
