import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Connection, call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { type ApiSession, inviteAndEnrol, logIn } from '#test/support/people/api-person.ts'
import { addWorkload, joinWorkload, newToken, renewWorkload, workloadJoinBody } from '#test/support/people/workload.ts'
import { requires } from '#test/support/requires.ts'
import { bodyOf, outcome } from '#test/support/worlds/attack-world.ts'
import { type DatabaseWorld, openDatabaseWorld } from '#test/support/worlds/database-world.ts'

/** What a database makes of workloads: rows that are hidden, kept, put back, and two who may not do at once what they do. */

const NAME = 'payments/prod/backup'

describe.skipIf(!requires('postgresql'))('a workload of whose rows the database lies', () => {
  let world: DatabaseWorld
  let ed: ApiSession
  beforeEach(async () => {
    world = await openDatabaseWorld()
    await call(world.alice.connection, api.projects.add, {
      body: bodyOf(api.projects.add, { name: 'payments', environments: ['prod'] }),
    })
    ed = await logIn(world.server, await inviteAndEnrol(world.server, world.alice, 'ed@example.com'))
    await give('ed@example.com', { kind: 'role', role: 'editor', in: 'payments' })
  })
  afterEach(() => world?.close())

  const give = (who: string, what: Record<string, unknown>) =>
    call(world.alice.connection, api.grants.add, { body: bodyOf(api.grants.add, { who, ...what }) })
  const login = { login: 'backup', hosts: { in: 'payments/prod' } }
  const named = { params: { name: NAME }, query: { wait: 0 } }
  const who = (connection: Connection) => outcome(call(connection, api.workloadSelf.show))

  it('is made under no name that something is given to, though the database hides that from who asks for it; under one that is free it is', async () => {
    await addWorkload(world.alice, NAME)
    await give(`workload:${NAME}`, login)
    await world.sql(`alter table access_grant rename to real_grant; create view access_grant as
        select * from real_grant where current_query() not like '%"access_grant"."who" = $1%';
      grant select, insert, update, delete on access_grant to keyman_runtime`)
    expect(await outcome(call(world.alice.connection, api.workloads.remove, named))).toBe('conflict')
    expect(await outcome(addWorkload(ed, 'payments/prod/other'))).toBe('done')
  })

  it('is the only one of its name, though the database lets two be made at once', async () => {
    await world.sql('drop index workload_living_name')
    await world.lie(
      'access_epoch',
      'insert',
      `new.subject := 'lie' || random(); return new;`,
      `new.subject = 'workload:${NAME}'`,
    )
    const adding = await world.hold('workload_token', 'insert', `new.made_by = 'ed@example.com'`)
    const second = addWorkload(ed, NAME).catch(() => undefined)
    await adding.until(1)
    expect(await outcome(addWorkload(world.alice, NAME))).toBe('done')
    await adding.letGo()
    await second
    await world.tells(/record \d+ of the audit log .* it gives workload-name:payments\/prod\/backup, which another has/)
  })

  it('ends though its row is kept as it was; and begins anew with another token', async () => {
    const workload = await joinWorkload(world.stranger, NAME, await addWorkload(world.alice, NAME))
    expect(await who(workload.connection)).toBe('done')
    await world.lie('workload', 'update', 'return null;', 'new.session is null')
    await call(world.alice.connection, api.workloads.end, named)
    expect(await who(workload.connection)).toBe('not-signed-in')
    expect(await outcome(renewWorkload(workload))).toBe('not-signed-in')
    const again = await joinWorkload(world.stranger, NAME, await newToken(world.alice, NAME))
    expect(await who(again.connection)).toBe('done')
    expect(await who(workload.connection)).toBe('not-signed-in')
  })

  it('has the session that the log says, though the database shows the former one to who changes how long it lasts', async () => {
    const first = await joinWorkload(world.stranger, NAME, await addWorkload(world.alice, NAME))
    await world.sql('create table former as select * from workload')
    const second = await renewWorkload(first)
    await world.sql('create table latest as select * from workload')
    const putBack = (from: string) =>
      world.sql(`update workload set client_spki = ${from}.client_spki, renewed_at = ${from}.renewed_at, replaced = ${from}.replaced
        from ${from} where workload.id = ${from}.id`)
    const change = () =>
      outcome(
        call(world.alice.connection, api.workloads.change, {
          params: { name: NAME },
          body: bodyOf(api.workloads.change, { lifetime: 864_000 }),
        }),
      )
    await putBack('former')
    expect(await change()).toBe('conflict')
    expect(await who(first.connection)).toBe('not-signed-in')
    await putBack('latest')
    expect(await change()).toBe('done')
    expect(await who(second.connection)).toBe('done')
  })

  it('is begun once by one token, though the database says to both that they were the first', async () => {
    const token = await addWorkload(world.alice, NAME)
    await world.lie('access_epoch', 'insert', `new.subject := 'lie'; return new;`, `new.subject = 'workload:${NAME}'`)
    const joining = await world.hold('workload', 'update', `new.session is not null`)
    await world.lie('workload_token', 'update', 'new.used_at := null; return new;')
    const bodies = await Promise.all([1, 2].map(() => workloadJoinBody(world.stranger, token)))
    const two = bodies.map(body => outcome(call(world.stranger, api.workloadSelf.join, { body })))
    await joining.until(1)
    await joining.letGo()
    expect((await Promise.all(two)).filter(each => each === 'done').length).toBeLessThan(2)
    await world.tells(/record \d+ of the audit log .* uses workload-token:\S+ \S+, which is not there, or was used/)
  })
})
