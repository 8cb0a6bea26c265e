import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { untouched } from '#test/support/people/api-person.ts'
import { addWorkload, joinWorkload } from '#test/support/people/workload.ts'
import { requires } from '#test/support/requires.ts'
import { addHost, bodyOf, joinBody, joinHost, outcome, refusal } from '#test/support/worlds/attack-world.ts'
import { type DatabaseWorld, openDatabaseWorld, stateOf } from '#test/support/worlds/database-world.ts'

/** What a database hides while a project is taken away is not in the next one of that name. */

describe.skipIf(!requires('postgresql'))('somebody who may change the rows of a project that is taken away', () => {
  let world: DatabaseWorld
  beforeAll(async () => {
    world = await openDatabaseWorld()
  })
  afterAll(() => world?.close())

  const add = (name: string, ...environments: string[]) =>
    call(world.alice.connection, api.projects.add, { body: bodyOf(api.projects.add, { name, environments }) })
  const remove = (project: string, connection = world.alice.connection) =>
    call(connection, api.projects.remove, { params: { project } })
  const projects = async () => (await call(world.alice.connection, api.projects.list)).projects.map(({ name }) => name)
  const hosts = async () => (await call(world.alice.connection, api.hosts.list)).hosts.map(({ name }) => name)
  const removeHost = (name: string) =>
    call(world.alice.connection, api.hosts.remove, { params: { name }, query: { wait: 0 } })
  const letBobIn = (place: string) =>
    call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, { who: 'bob@example.com', login: 'root', hosts: { in: place } }),
    })
  /** Takes rows away, and gives what puts them back. */
  async function hide(channel: string, ...rows: (readonly [table: string, which: string])[]) {
    const kept = rows.map(([table], n) => ({ table, copy: `kept_${table}_${++copies}_${n}` }))
    for (const [n, { table, copy }] of kept.entries())
      await world.sql(`create table ${copy} as select ${COLUMNS[table] ?? '*'} from ${table} where ${rows[n]?.[1]}`)
    for (const [table, which] of rows.toReversed()) await world.sql(`delete from ${table} where ${which}`)
    await world.sql(`select pg_notify('${channel}', '')`)
    return async () => {
      for (const { table, copy } of kept)
        await world.sql(`insert into ${table} ${COLUMNS[table] ? `(${COLUMNS[table]})` : ''} select * from ${copy}`)
      await world.sql(`select pg_notify('${channel}', '')`)
    }
  }
  let copies = 0
  /** Without what the database makes itself. */
  const COLUMNS: Readonly<Record<string, string>> = { place: 'name, created_at' }
  const rowsOf = (host: string) =>
    [
      ['host', `name = '${host}'`],
      ['join_token', `host = (select id from host where name = '${host}')`],
    ] as const

  it('has no host of it be one of the next: it is not taken away before that host is, by the log; a host of the next one is let into', async () => {
    await add('alpha')
    const host = await joinHost(world, 'web1.keyman.localhost', { in: 'alpha' })
    const [{ id } = {}] = await world.sql(`select id from host where name = '${host.name}'`)
    const put = await hide('hosts', ...rowsOf(host.name))
    // Whoever reads all hosts again.
    await joinHost(world, 'free1.keyman.localhost')
    await expect.poll(hosts).not.toContain(host.name)
    const hidden = `conflict: alpha is not empty: maybe the host ${host.name} (${id}), which the database does not show`
    for (const connection of [world.alice.connection, untouched(world.alice.connection)]) {
      const refused = await refusal(remove('alpha', connection))
      expect(`${refused.code}: ${refused.message}`).toContain(hidden)
      expect(refused.hint).toContain('keyman host remove NAME')
    }
    await removeHost(host.name)
    await remove('alpha')
    await add('alpha')
    await put()
    const next = await joinHost(world, 'web2.keyman.localhost', { in: 'alpha' })
    await letBobIn('alpha')
    expect(Object.keys((await stateOf(world, next)).principals)).toEqual(['root'])
    expect(await hosts()).not.toContain(host.name)
    await expect(stateOf(world, host)).rejects.toThrow()
  })

  it('has no workload of it be one of the next: it is not taken away before that workload is, by the log; one of the next goes on', async () => {
    await add('beta')
    const name = 'beta/robot'
    const robot = await joinWorkload(world.stranger, name, await addWorkload(world.alice, name))
    const isThere = ({ connection }: typeof robot) => outcome(call(connection, api.workloadSelf.show))
    const show = () => outcome(call(world.alice.connection, api.workloads.show, { params: { name } }))
    expect(await isThere(robot)).toBe('done')
    const which = `(select id from workload where name = '${name}')`
    const put = await hide('workloads', ['workload', `name = '${name}'`], ['workload_token', `workload in ${which}`])
    await expect.poll(show).toBe('not-found')
    const refused = await refusal(remove('beta'))
    expect(`${refused.code}: ${refused.message}`).toContain(`conflict: beta is not empty: workload ${name}`)
    await call(world.alice.connection, api.workloads.remove, { params: { name }, query: { wait: 0 } })
    await remove('beta')
    await add('beta')
    await put()
    const other = 'beta/other'
    const next = await joinWorkload(world.stranger, other, await addWorkload(world.alice, other))
    expect(await isThere(next)).toBe('done')
    expect([await isThere(robot), await show()]).toEqual(['not-signed-in', 'not-found'])
  })

  it('has no environment of it be one of the next: it is not taken away before that is, by the log; one that the next is made with is there', async () => {
    await add('gamma', 'prod')
    const put = await hide('access', ['place', `name = 'gamma/prod'`])
    const refused = await refusal(remove('gamma'))
    expect(`${refused.code}: ${refused.message}`).toContain('conflict: gamma is not empty: gamma/prod')
    const params = { project: 'gamma', environment: 'prod' }
    await call(world.alice.connection, api.projects.removeEnvironment, { params })
    await remove('gamma')
    await add('gamma', 'test')
    await put()
    await letBobIn('gamma/test')
    expect(await outcome(letBobIn('gamma/prod'))).toBe('not-found')
  })

  it('has none be one of the next that they let in while it was taken away; one that comes into the next is', async () => {
    await add('delta')
    for (const table of ['host', 'workload'])
      await world.sql(`alter table ${table} drop constraint ${table}_place_fkey`)
    const held = await Promise.all([world.hold('host', 'insert', 'true'), world.hold('workload', 'insert', 'true')])
    const host = addHost(world, 'late1.keyman.localhost', { in: 'delta' })
    const workload = addWorkload(world.alice, 'delta/robot')
    for (const each of held) await each.until(1)
    await remove('delta')
    expect(await projects()).not.toContain('delta')
    for (const each of held) await each.letGo()
    // As an honest database would not have answered.
    const [{ secret }, token] = await Promise.all([host, workload])
    await add('delta')
    const join = async (of: string) =>
      outcome(call(world.stranger, api.hostSelf.join, { body: await joinBody(world.stranger, of) }))
    expect([await join(secret), await outcome(joinWorkload(world.stranger, 'delta/robot', token))]).toEqual([
      'denied',
      'denied',
    ])
    const refused = await refusal(remove('delta'))
    expect(refused.message).toMatch(/workload delta\/robot, maybe the host late1\.keyman\.localhost \(host_/)
    await removeHost('late1.keyman.localhost')
    const params = { name: 'delta/robot' }
    await call(world.alice.connection, api.workloads.remove, { params, query: { wait: 0 } })
    const [later, again] = await Promise.all([
      addHost(world, 'late1.keyman.localhost', { in: 'delta' }),
      addWorkload(world.alice, 'delta/robot'),
    ])
    expect(await join(later.secret)).toBe('done')
    expect(await outcome(joinWorkload(world.stranger, 'delta/robot', again))).toBe('done')
  })
})
