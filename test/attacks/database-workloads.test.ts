import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Connection, call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import { addWorkload, joinWorkload, newToken, renewWorkload, workloadJoinBody } from '#test/support/people/workload.ts'
import { requires } from '#test/support/requires.ts'
import { addHost, bodyOf, machineCall, outcome, refusal } from '#test/support/worlds/attack-world.ts'
import { type DatabaseWorld, openDatabaseWorld } from '#test/support/worlds/database-world.ts'

/** A workload is what the log says, whatever stands in its row. */

describe.skipIf(!requires('postgresql'))('somebody who may change the rows of workloads', () => {
  let world: DatabaseWorld
  beforeAll(async () => {
    world = await openDatabaseWorld()
    await call(world.alice.connection, api.projects.add, {
      body: bodyOf(api.projects.add, { name: 'payments', environments: ['prod'] }),
    })
    await addHost(world, 'web1.keyman.localhost', { in: 'payments/prod' })
  })
  afterAll(() => world?.close())

  let number = 0
  const joined = async () => {
    const name = `payments/prod/w${++number}`
    return joinWorkload(world.stranger, name, await addWorkload(world.alice, name))
  }
  const who = (connection: Connection) => outcome(call(connection, api.workloadSelf.show))
  const tells = () => world.tells(/workload:\S+ in the database is not what the audit log says/)
  const heard = () => world.sql(`select pg_notify('workloads', '')`)

  it('begins no session by a token that they wrote; by one that was made it begins', async () => {
    const { name } = await joined()
    const secret = toBase64Url(createHash('sha256').update(name).digest())
    const hash = createHash('sha256').update(`keyman-workload-v1\n${secret}`).digest()
    await world.sql(
      `insert into workload_token (hash, workload, created_at, ends_at, again)
        select $1, id, now(), now() + interval '1 hour', false from workload where name = $2`,
      [hash, name],
    )
    const join = async (token: string) =>
      (
        await machineCall(world.stranger, 'POST', '/v1/workloads/join', {
          body: await workloadJoinBody(world.stranger, token),
        })
      ).code
    expect(await join(secret)).toBe('denied')
    const made = await newToken(world.alice, name)
    await world.sql(`update workload_token set ends_at = ends_at + interval '9 days' where used_at is null`)
    expect(await join(made)).toBe('denied')
    await world.sql(`update workload_token set ends_at = ends_at - interval '9 days' where used_at is null`)
    expect(await join(made)).toBe('')
  })

  it('uses no token twice by a row that says it was not used', async () => {
    const name = `payments/prod/w${++number}`
    const token = await addWorkload(world.alice, name)
    await joinWorkload(world.stranger, name, token)
    await world.sql('update workload_token set used_at = null')
    const body = await workloadJoinBody(world.stranger, token)
    expect((await machineCall(world.stranger, 'POST', '/v1/workloads/join', { body })).code).toBe('denied')
  })

  it('lets nobody go on by a session that was ended, or a key that was replaced, and is put back; by its own it goes on', async () => {
    const first = await joined()
    const [before] = await world.sql('select * from workload where name = $1', [first.name])
    const second = await renewWorkload(first)
    const putBack = () =>
      world.sql(
        `update workload set session = $2, ssh_key = $3, client_spki = $4, joined_at = $5, renewed_at = $6 where name = $1`,
        [first.name, before?.session, before?.ssh_key, before?.client_spki, before?.joined_at, before?.renewed_at],
      )
    const [after] = await world.sql('select * from workload where name = $1', [first.name])
    await putBack()
    await heard()
    expect(await who(first.connection)).toBe('not-signed-in')
    await world.sql('update workload set client_spki = $2, renewed_at = $3 where name = $1', [
      ...[first.name, after?.client_spki, after?.renewed_at],
    ])
    expect(await who(second.connection)).toBe('done')
    await call(world.alice.connection, api.workloads.end, { params: { name: first.name }, query: { wait: 0 } })
    await putBack()
    await heard()
    expect(await who(first.connection)).toBe('not-signed-in')
    expect(await who(second.connection)).toBe('not-signed-in')
    expect(await outcome(renewWorkload(second))).toBe('not-signed-in')
  })

  it('brings no session back that a new token has replaced, though its row is put back; the newer one goes on', async () => {
    const first = await joined()
    const select = () => world.sql('select * from workload where name = $1', [first.name])
    const [before] = await select()
    const second = await joinWorkload(world.stranger, first.name, await newToken(world.alice, first.name))
    const [after] = await select()
    const put = (row: Record<string, unknown> | undefined) =>
      world.sql(
        `update workload set session = $2, ssh_key = $3, client_spki = $4, joined_at = $5, renewed_at = $6 where name = $1`,
        [first.name, row?.session, row?.ssh_key, row?.client_spki, row?.joined_at, row?.renewed_at],
      )
    await put(before)
    await heard()
    expect(await who(first.connection)).toBe('not-signed-in')
    expect(await outcome(renewWorkload(first))).toBe('not-signed-in')
    await put(after)
    await heard()
    expect(await who(second.connection)).toBe('done')
  })

  it('makes no session last longer, and no workload another; both are told', async () => {
    const workload = await joined()
    await world.sql('update workload set lifetime = lifetime * 2 where name = $1', [workload.name])
    // Whoever looks is told at once; nobody does for half a minute at most.
    const { workloads } = await call(world.alice.connection, api.workloads.list)
    expect(workloads.map(({ name }) => name)).not.toContain(workload.name)
    await tells()
    expect(await outcome(renewWorkload(workload))).not.toBe('done')
    await world.sql('update workload set lifetime = lifetime / 2 where name = $1', [workload.name])
    const again = await renewWorkload(workload)
    expect(await who(again.connection)).toBe('done')
    const trusted = await joined()
    const grant = { who: `workload:${trusted.name}`, login: 'backup', hosts: { in: 'payments/prod' } }
    await call(world.alice.connection, api.grants.add, { body: bodyOf(api.grants.add, grant) })
    await world.sql('update workload set name = name || $2 where name = $1', [trusted.name, '-old'])
    await world.sql('update workload set name = $2 where name = $1', [workload.name, trusted.name])
    await heard()
    expect(await outcome(renewWorkload(again))).not.toBe('done')
    await world.sql('update workload set name = $2 where name = $1', [trusted.name, workload.name])
    await world.sql('update workload set name = $2 where name = $1', [`${trusted.name}-old`, trusted.name])
    await heard()
    expect((await renewWorkload(trusted)).login.ssh?.principals).toEqual([`workload:${trusted.name}`])
  })

  it('leaves no grant to the next workload of a name by hiding it: neither is one removed, nor another made; without it both are', async () => {
    const { name } = await joined()
    const who = `workload:${name}`
    const { id } = await call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, { who, login: 'backup', hosts: { in: 'payments/prod' } }),
    })
    await world.sql('create table hidden_grant as select * from access_grant where id = $1'.replace('$1', `'${id}'`))
    await world.sql('delete from access_grant where id = $1', [id])
    const input = { params: { name }, query: { wait: 0 } }
    const refused = await refusal(call(world.alice.connection, api.workloads.remove, input))
    expect(refused.message).toContain(`${id}, whose row is hidden`)
    await world.sql('insert into access_grant select * from hidden_grant')
    await call(world.alice.connection, api.grants.remove, { params: { id }, query: { wait: 0 } })
    await call(world.alice.connection, api.workloads.remove, input)
    expect(await addWorkload(world.alice, name)).toHaveLength(43)
  })

  it('keeps none whose row is hidden from being ended: put back, it does not go on', async () => {
    const workload = await joined()
    const grant = { who: `workload:${workload.name}`, login: 'backup', hosts: { in: 'payments/prod' } }
    await call(world.alice.connection, api.grants.add, { body: bodyOf(api.grants.add, grant) })
    const renewed = await renewWorkload(workload)
    await world.sql(`create table hidden as select * from workload where name = '${workload.name}'`)
    await world.sql('update workload set removed_at = now() where name = $1', [workload.name])
    const ended = await call(world.alice.connection, api.workloads.end, {
      params: { name: workload.name },
      query: { wait: 0 },
    })
    expect(ended.revoked).toBe(1)
    await world.sql(
      `update workload w set removed_at = null, session = h.session, ssh_key = h.ssh_key, client_spki = h.client_spki,
        joined_at = h.joined_at, renewed_at = h.renewed_at from hidden h where h.id = w.id`,
    )
    await heard()
    expect(await who(renewed.connection)).toBe('not-signed-in')
  })
})
