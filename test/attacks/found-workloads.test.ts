import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Connection, call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { addWorkload, joinWorkload, renewWorkload } from '#test/support/people/workload.ts'
import { type AttackWorld, bodyOf, openAttackWorld, outcome } from '#test/support/worlds/attack-world.ts'

/** What was found by attacking workloads, each as it was tried. */

let world: AttackWorld
beforeAll(async () => {
  world = await openAttackWorld()
  await call(world.alice.connection, api.projects.add, {
    body: bodyOf(api.projects.add, { name: 'payments', environments: ['prod', 'dev'] }),
  })
})
afterAll(() => world?.close())
afterEach(() => world.setClock(0))

let number = 0
const fresh = (place = 'payments/prod') => `${place}/f${++number}`
const show = (name: string) => call(world.alice.connection, api.workloads.show, { params: { name } })
const who = (connection: Connection) => outcome(call(connection, api.workloadSelf.show))

describe('a thief who was first', () => {
  it('and renews again and again is found out all the same; a process that is two renewals late is no thief', async () => {
    const name = fresh()
    const token = await addWorkload(world.alice, name)
    // TLS itself goes by the real clock, by which a certificate has begun.
    world.setClock(-600)
    const owner = await joinWorkload(world.stranger, name, token)
    let thief = owner
    for (const second of [-590, -580]) {
      world.setClock(second)
      thief = await renewWorkload(thief)
    }
    expect(await who(owner.connection)).toBe('not-signed-in')
    expect(await who(thief.connection)).toBe('done')
    for (const second of [-540, -490, -440]) {
      world.setClock(second)
      thief = await renewWorkload(thief)
    }
    expect(await who(thief.connection)).toBe('done')
    expect(await who(owner.connection)).toBe('not-signed-in')
    expect(await who(thief.connection)).toBe('not-signed-in')
    world.setClock(0)
    expect(await show(name)).toMatchObject({ state: 'ended', ended: expect.stringContaining('had been replaced') })
  })
})
