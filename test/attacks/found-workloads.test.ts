import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { type Connection, call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { HOST_STREAM_PATH } from '#shared/api/resources/host-stream.ts'
import { parseWorkloadToken } from '#shared/join-token.ts'
import { page } from '#test/support/people/api-person.ts'
import { openLaptop } from '#test/support/people/laptop.ts'
import {
  type ApiWorkload,
  addWorkload,
  joinWorkload,
  newToken,
  renewWorkload,
  workloadJoinBody,
} from '#test/support/people/workload.ts'
import { testHome } from '#test/support/programs/server-process.ts'
import {
  type AttackWorld,
  addHost,
  bodyOf,
  joinBody,
  machineCall,
  openAttackWorld,
  outcome,
} from '#test/support/worlds/attack-world.ts'

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

  it('or who knocks at the door of the hosts, is told as one all the same', async () => {
    const knocks = async ({ connection: { root = '', client } }: ApiWorkload) => {
      const url = `${world.server.machinesUrl.replace('https', 'wss')}${HOST_STREAM_PATH}`
      const socket = new WebSocket(url, { ca: root, key: client?.key, cert: client?.certificate })
      const [error] = await once(socket, 'error')
      return String(error)
    }
    const name = fresh()
    const token = await addWorkload(world.alice, name)
    world.setClock(-600)
    const owner = await joinWorkload(world.stranger, name, token)
    const thief = await renewWorkload(owner)
    expect(await knocks(thief)).toContain('403')
    expect(await who(thief.connection)).toBe('done')
    world.setClock(-530)
    expect(await knocks(owner)).toContain('401')
    expect(await who(thief.connection)).toBe('not-signed-in')
  })
})

describe('tokens that somebody made with the session of a workload', () => {
  it.each([
    ['its session was ended', 'denied'],
    ['its role was taken away', 'denied'],
    ['nothing at all', ''],
  ] as const)('for a host and for another workload, after %s: %j', async (what, code) => {
    const name = fresh()
    const maker = await joinWorkload(world.stranger, name, await addWorkload(world.alice, name))
    const { id } = await call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, { kind: 'role', who: `workload:${name}`, role: 'editor', in: 'payments/prod' }),
    })
    const alice = { ...world.alice, connection: maker.connection }
    const workload = await addWorkload(alice, fresh())
    const { secret } = await addHost({ alice }, `h${number}.keyman.localhost`, { in: 'payments/prod' })
    const query = { wait: 0 }
    if (what === 'its session was ended')
      await call(world.alice.connection, api.workloads.end, { params: { name }, query })
    if (what === 'its role was taken away')
      await call(world.alice.connection, api.grants.remove, { params: { id }, query })
    const joinAs = async (path: string, body: unknown) =>
      (await machineCall(world.stranger, 'POST', path, { body })).code
    expect(await joinAs(api.workloadSelf.join.path, await workloadJoinBody(world.stranger, workload))).toBe(code)
    expect(await joinAs(api.hostSelf.join.path, await joinBody(world.stranger, secret))).toBe(code)
  })
})

describe('a host on which a workload gets in', () => {
  it('is changed so that it gets in no more', async () => {
    const name = fresh()
    await addWorkload(world.alice, name)
    const host = 'relabelled.keyman.localhost'
    await addHost(world, host, { labels: { env: 'test' } })
    await call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, { who: `workload:${name}`, login: 'backup', hosts: { labels: { env: 'test' } } }),
    })
    const body = bodyOf(api.hosts.change, { labels: { env: 'other' } })
    expect(
      await outcome(
        call(world.alice.connection, api.hosts.change, { params: { name: host }, query: { wait: 0 }, body }),
      ),
    ).toBe('done')
  })
})

describe('a place', () => {
  it('in which workloads were is removed once they are gone', async () => {
    const name = fresh('payments/dev')
    await addWorkload(world.alice, name)
    const remove = () =>
      outcome(
        call(world.alice.connection, api.projects.removeEnvironment, {
          params: { project: 'payments', environment: 'dev' },
        }),
      )
    expect(await remove()).toBe('conflict')
    await call(world.alice.connection, api.workloads.remove, { params: { name }, query: { wait: 0 } })
    expect(await remove()).toBe('done')
  })
})

describe('a machine whose session was ended', () => {
  it('says so at once to an ssh that asks for a host which is not known here', async () => {
    const name = fresh()
    const cron = await openLaptop(testHome(), { PATH: world.server.env.PATH }, { agent: false })
    const keyman = (args: string[], input = '') => cron.run(join(cron.home, 'bin', 'keyman'), args, input)
    const { token } = await call(world.alice.connection, api.workloads.add, {
      body: bodyOf(api.workloads.add, { name }),
    })
    expect((await keyman(['workload', 'join', '--no-ssh-config'], token)).code).toBe(0)
    await call(world.alice.connection, api.workloads.end, { params: { name }, query: { wait: 0 } })
    const started = performance.now()
    expect((await keyman(['ssh', 'renew', '--new-host'])).code).toBe(3)
    // It waited for itself, for fifteen seconds.
    expect(performance.now() - started).toBeLessThan(10_000)
    await cron.close()
  })
})

describe('a session that is over by a change of how long it may last', () => {
  it('ends with its certificates; one that is not over keeps them', async () => {
    const name = fresh()
    await addWorkload(world.alice, name)
    await call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, { who: `workload:${name}`, login: 'backup', hosts: { in: 'payments/prod' } }),
    })
    const workload = await joinWorkload(world.stranger, name, await newToken(world.alice, name))
    const serials = async () => {
      const { records } = await call(world.alice.connection, api.auditTrail.list, {
        query: { kind: 'revoked', limit: 5 },
      })
      return records.map(({ record }) => JSON.parse(record)).find(({ target }) => target === `workload ${name}`)
        ?.details.serials
    }
    const change = (lifetime: number) =>
      call(world.alice.connection, api.workloads.change, {
        params: { name },
        body: bodyOf(api.workloads.change, { lifetime }),
      })
    world.setClock(100)
    expect((await change(3600)).state).toBe('active')
    expect(await serials()).toBeUndefined()
    expect(await change(60)).toMatchObject({ state: 'ended', ended: 'its time was over' })
    expect(await serials()).toBe(workload.login.ssh?.serial)
    await change(86_400)
    expect(await who(workload.connection)).toBe('not-signed-in')
  })
})

describe('a home in which a join was stopped before its end', () => {
  async function stopped() {
    const home = testHome()
    const laptop = await openLaptop(home, { PATH: world.server.env.PATH }, { agent: false })
    const keyman = (args: string[], input = '') => laptop.run(join(home, 'bin', 'keyman'), args, input)
    const { token } = await call(world.alice.connection, api.workloads.add, {
      body: bodyOf(api.workloads.add, { name: fresh() }),
    })
    expect((await keyman(['workload', 'join', '--no-ssh-config'], token)).code).toBe(0)
    const folder = join(home, '.local', 'state', 'keyman', 'workloads', 'local')
    // What is written last.
    rmSync(join(folder, 'session.json'))
    return { laptop, keyman, folder, fingerprint: parseWorkloadToken(token).fingerprint }
  }

  it('is that of whoever signs in there, and of nobody else', async () => {
    const { laptop, keyman, fingerprint } = await stopped()
    const args = ['login', world.server.machinesUrl, '--fingerprint', fingerprint, '--yes', '--ssh-config', 'no']
    const signedIn = await laptop.keyman(args, async url => {
      const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
      const { options } = await page(world.server, api.login.consentOptions, { params })
      const body = { assertion: world.alice.person.authenticator.get(options) }
      await fetch((await page(world.server, api.login.consent, { params, body })).redirectTo ?? '')
    })
    expect(signedIn.code, signedIn.stderr).toBe(0)
    const listed = await keyman(['passkey', 'list'])
    expect(listed.code, listed.stderr).toBe(0)
    await laptop.close()
  })

  it('is cleared by a logout', async () => {
    const { laptop, keyman, folder } = await stopped()
    const out = await keyman(['logout'])
    expect(out.stderr).toContain('Removed what a join at local that did not come to its end had left.')
    expect(existsSync(folder)).toBe(false)
    expect((await keyman(['logout'])).stderr).toContain('You were not signed in.')
    await laptop.close()
  })
})
