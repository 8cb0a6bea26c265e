import { Agent } from 'node:https'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { fromBase64 } from '#shared/bytes.ts'
import { parseWorkloadToken } from '#shared/join-token.ts'
import { decodeKrl } from '#shared/ssh/index.ts'
import { inviteAndEnrol, logIn } from '#test/support/people/api-person.ts'
import { type ApiWorkload, addWorkload, joinWorkload, workloadJoinBody } from '#test/support/people/workload.ts'
import { type AttackWorld, answerOf, bodyOf, machineCall, openAttackWorld } from '#test/support/worlds/attack-world.ts'
import { newSshPublicKey } from '#test/support/worlds/rooms.ts'

/** A taken workload fills the list of what is revoked, which hosts and laptops read up to a length: beyond it no revocation reaches them. */

let world: AttackWorld
let agent: Agent
beforeAll(async () => {
  world = await openAttackWorld({ env: { KEYMAN_LIMITS_CALLERS_PER_MINUTE: '100' } })
  agent = new Agent({ keepAlive: true, maxSockets: 8 })
  for (const name of ['ops', 'small'])
    await call(world.alice.connection, api.projects.add, { body: bodyOf(api.projects.add, { name, environments: [] }) })
})
afterAll(() => {
  agent?.destroy()
  return world?.close()
})

const listed = async () => {
  const { base64 } = await call(world.alice.connection, api.auditTrail.krl)
  return decodeKrl(fromBase64(base64)).fingerprints.length
}
async function robotWith(name: string, role: Record<string, unknown>): Promise<ApiWorkload> {
  const robot = await joinWorkload(world.stranger, name, await addWorkload(world.alice, name))
  await call(world.alice.connection, api.grants.add, {
    body: bodyOf(api.grants.add, { kind: 'role', who: `workload:${name}`, ...role }),
  })
  return robot
}
const allow = (who: string) =>
  call(world.alice.connection, api.grants.add, {
    body: bodyOf(api.grants.add, { who, login: 'deploy', hosts: { labels: { env: 'x' } } }),
  })

it('by keys that nothing was certified for, as many as it likes: it is told to wait; for one that was it is not', async () => {
  const robot = await robotWith('ops/robot', { role: 'operator' })
  const eve = await inviteAndEnrol(world.server, world.alice, 'eve@example.com')
  await allow('eve@example.com')
  const { keys } = await logIn(world.server, eve)
  const revoke = async (publicKey: string) =>
    (
      await machineCall(robot.connection, 'POST', '/v1/revocations', {
        agent,
        body: { target: { publicKey }, wait: 0 },
      })
    ).status
  const statuses: number[] = []
  for (let n = 0; n < 30; n++) statuses.push(await revoke(newSshPublicKey()))
  expect(new Set(statuses)).toEqual(new Set([201, 429]))
  expect(await revoke(newSshPublicKey())).toBe(429)
  expect(await revoke(keys.ssh.line)).toBe(201)
})

it('by an editor of one small project, with sessions that were never given an SSH certificate: they put nothing on it', async () => {
  const robot = await robotWith('small/robot', { role: 'editor', in: 'small' })
  const made = await machineCall(robot.connection, 'POST', '/v1/workloads', {
    body: { name: 'small/puppet', lifetime: 400 * 86_400 },
  })
  expect(made.status).toBe(201)
  let { token } = answerOf(api.workloads.add, made)
  const before = await listed()
  for (let n = 0; n < 5; n++) {
    const joined = await machineCall(world.stranger, 'POST', '/v1/workloads/join', {
      body: await workloadJoinBody(world.stranger, parseWorkloadToken(token).secret),
    })
    expect(joined.status).toBe(201)
    const next = await machineCall(robot.connection, 'POST', '/v1/workloads/small%2Fpuppet/tokens', { body: {} })
    expect(next.status).toBe(201)
    ;({ token } = answerOf(api.workloads.token, next))
  }
  expect((await listed()) - before).toBe(0)
})

it('by somebody without any login, who signs in and out again and again: they put nothing on it; with one they do', async () => {
  const carol = await inviteAndEnrol(world.server, world.alice, 'carol@example.com')
  const before = await listed()
  for (let n = 0; n < 3; n++) await call((await logIn(world.server, carol)).connection, api.session.end)
  expect((await listed()) - before).toBe(0)
  await allow('carol@example.com')
  await call((await logIn(world.server, carol)).connection, api.session.end)
  expect((await listed()) - before).toBe(1)
})
