import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { type ApiSession, logIn } from '#test/support/people/api-person.ts'
import { requires } from '#test/support/requires.ts'
import {
  addHost,
  bodyOf,
  hostCertificateOf,
  type JoinedHost,
  joinHost,
  outcome,
} from '#test/support/worlds/attack-world.ts'
import {
  type DatabaseWorld,
  isRevokedAt,
  openDatabaseWorld,
  stateOf,
  streamOf,
} from '#test/support/worlds/database-world.ts'

/** What hosts are told is what the log says, whatever stands in the row of the host. */

describe.skipIf(!requires('postgresql'))('somebody who may change the row of a host', () => {
  let world: DatabaseWorld
  let host: JoinedHost
  beforeAll(async () => {
    world = await openDatabaseWorld()
    host = await joinHost(world, 'web1.keyman.localhost')
    await grant('alice@example.com', 'test')
  })
  afterAll(() => world?.close())

  const grant = (who: string, env: string) =>
    call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, { who, login: 'deploy', hosts: { labels: { env } } }),
    })
  const issue = ({ connection, keys }: ApiSession) =>
    call(connection, api.ssh.issueUserCertificate, { body: { publicKey: keys.ssh.line } })
  const revoke = (target: object) =>
    call(world.alice.connection, api.revocations.create, {
      body: bodyOf(api.revocations.create, { target, wait: 0 }),
    })
  const principals = async () => JSON.stringify((await stateOf(world, host)).principals)

  it('lets nobody in by labels that it was not given; by its own the one of the grant', async () => {
    await grant('bob@example.com', 'secret')
    await world.sql(`update host set labels = '{"env":"secret"}'`)
    await expect(principals()).rejects.toThrow('this host is gone')
    await world.tells(/host:\S+ in the database is not what the audit log says/)
    await world.sql(`update host set labels = '{"env":"test"}'`)
    expect(await principals()).toContain('alice@example.com')
    expect(await principals()).not.toContain('bob@example.com')
  })

  it('has no certificate given for a name that it was not given; the log alone says its aliases', async () => {
    const ask = () => hostCertificateOf(host)
    expect((await ask()).principals).toEqual(['web1.keyman.localhost'])
    await world.sql(
      `update host set aliases = '["db1.keyman.localhost"]'; update host_change set version = version + 1`,
    )
    await world.tells(/host:\S+ in the database is not what the audit log says/)
    await expect
      .poll(() =>
        ask().then(
          ({ principals }) => principals,
          told => told.code,
        ),
      )
      .toBe('not-signed-in')
    await world.sql(`update host set aliases = '[]'; update host_change set version = version + 1`)
    await expect
      .poll(() =>
        ask().then(
          ({ principals }) => principals,
          told => told.code,
        ),
      )
      .toEqual(['web1.keyman.localhost'])
    const www = await joinHost(world, 'web2.keyman.localhost', { aliases: ['www.keyman.localhost'] })
    expect((await hostCertificateOf(www)).principals).toEqual(['web2.keyman.localhost', 'www.keyman.localhost'])
  })

  it('has it take nothing for in force that it was never told, and so keeps nobody in who was revoked; what was told is not told again', async () => {
    const { certificate, keyId } = await issue(await logIn(world.server, world.alice.person))
    const stream = await streamOf(world, host, 0)
    expect(stream.frame.type).toBe('state')
    const { revision } = stream
    await stream.inForce()
    const again = await streamOf(world, host, revision)
    expect(again.frame.type).toBe('current')
    again.close()
    await revoke({ keyId })
    // The number of what this host has, and the content that it lacks.
    const next = await streamOf(world, host, revision)
    next.close()
    await world.sql('update host set revision = $1', [revision])
    const told = await streamOf(world, host, revision)
    told.close()
    expect(told.frame.type).toBe('state')
    expect(told.revision).toBeGreaterThan(revision)
    expect(await isRevokedAt(world, host, certificate)).toBe(true)
  })

  it('is suspected by no server that has just started: the host is told once more, by a higher number', async () => {
    const { revision } = await stateOf(world, host)
    await world.server.stop()
    await world.server.restart()
    const told = await streamOf(world, host, revision)
    told.close()
    expect(told.frame).toMatchObject({ type: 'state', state: { revision: revision + 1 } })
    expect(world.server.output()).not.toContain('would not be told what is new')
  })

  it('keeps no revocation from it by a KRL or revision that never was: it is told, and so is everybody', async () => {
    const { certificate, keyId } = await issue(await logIn(world.server, world.alice.person))
    await world.sql('update host set krl_version = krl_version + 1000')
    await revoke({ keyId })
    expect(await isRevokedAt(world, host, certificate)).toBe(true)
    await world.tells(/web1\.keyman\.localhost would not be told what is new, by what the database says/)
    // Nor a number after which there would soon be none.
    await world.sql('update host set krl_version = 0, revision = 9007199254740990')
    expect((await stateOf(world, host)).revision).toBeLessThan(2 ** 50)
    await world.sql('update host set revision = 1000')
  })

  it('gives no second host the name of one that is hidden, and keeps none in that is hidden while it is taken out', async () => {
    const name = 'hidden.keyman.localhost'
    const old = await joinHost(world, name, { aliases: ['hid.keyman.localhost'] })
    const add = (name: string, more: object = {}) => outcome(addHost(world, name, { ...more }))
    const [{ id } = {}] = await world.sql('select id from host where name = $1', [name])
    await world.sql('update host set removed_at = now() where id = $1', [id])
    expect(await add(name)).toBe('conflict')
    expect(await add('other.keyman.localhost', { aliases: [name] })).toBe('conflict')
    expect(await add('hid.keyman.localhost')).toBe('conflict')
    expect(await outcome(call(world.alice.connection, api.hosts.remove, { params: { name } }))).toBe('done')
    await world.sql('update host set removed_at = null where id = $1', [id])
    await world.sql('update host_change set version = version + 1')
    expect(await outcome(call(old.connection, api.hostSelf.renewClientCertificate))).toBe('not-signed-in')
    await world.sql('update host set removed_at = now() where id = $1', [id])
    // The twin: nobody has these names any more.
    expect([await add(name), await add('hid.keyman.localhost')]).toEqual(['done', 'done'])
  })

  it('gives no second host a further name that one got later, though that one is hidden; one that it lost is free', async () => {
    const name = 'renamed.keyman.localhost'
    await addHost(world, name, { aliases: ['first.keyman.localhost'] })
    const change = (body: object) =>
      call(world.alice.connection, api.hosts.change, { params: { name }, body: bodyOf(api.hosts.change, body) })
    await change({ addAliases: ['later.keyman.localhost'], removeAliases: ['first.keyman.localhost'] })
    await addHost(world, 'third.keyman.localhost')
    await world.sql('update host set removed_at = now() where name = $1', [name])
    const add = (name: string) => outcome(addHost(world, name))
    expect([await add('later.keyman.localhost'), await add('first.keyman.localhost')]).toEqual(['conflict', 'done'])
    const body = bodyOf(api.hosts.change, { addAliases: ['later.keyman.localhost'] })
    const params = { name: 'third.keyman.localhost' }
    expect(await outcome(call(world.alice.connection, api.hosts.change, { params, body }))).toBe('conflict')
    await world.sql('update host set removed_at = null where name = $1', [name])
  })

  it('has no revocation said to be in force everywhere but on a host that is hidden from whoever waits, unnoticed, though others see it', async () => {
    const apart = await joinHost(world, 'apart.keyman.localhost')
    const [{ id } = {}] = await world.sql('select id from host where name = $1', [apart.name])
    await world.sql(`alter table host rename to real_host;
      create view host as select * from real_host where name <> '${apart.name}' or current_query() not like '%order by "host"."name"%';
      grant select, insert, update on host to keyman_runtime`)
    const names = async () =>
      (await revoke({ serial: (await issue(await logIn(world.server, world.alice.person))).serial })).hosts.map(
        ({ name }) => name,
      )
    // Each connection of before is told once that the table is another.
    await expect.poll(() => names().catch(String), { timeout: 10_000 }).toContain(host.name)
    expect(await names()).not.toContain(apart.name)
    await world.tells(new RegExp(`the database does not show host:${id}, which the audit log knows`))
    await world.sql('drop view host; alter table real_host rename to host')
    await expect.poll(() => names().catch(String), { timeout: 10_000 }).toContain(apart.name)
  })

  it('keeps no host in that was taken out while no host could be read, and the number of changes stays; one that was not is let in', async () => {
    const [gone, stays] = [
      await joinHost(world, 'gone.keyman.localhost'),
      await joinHost(world, 'stays.keyman.localhost'),
    ]
    await world.sql(`create table kept as select * from access_epoch;
      alter table host rename to real_host; alter table host_change rename to real_change;
      create function may_read() returns boolean language plpgsql as $$ begin
        if current_query() like '%"removed_at" is null order by "host"."name"%' then raise exception 'not now' using errcode = '57014'; end if;
        return true; end $$;
      create view host as select * from real_host where may_read();
      create view host_change as select version from real_change where may_read();
      create function stay() returns trigger language plpgsql as $$ begin return old; end $$;
      create trigger stay instead of update on host_change for each row execute function stay();
      grant select, insert, update on host, host_change to keyman_runtime`)
    const remove = () => outcome(call(world.alice.connection, api.hosts.remove, { params: { name: gone.name } }))
    // Each connection of before is told once that the table is another.
    await expect.poll(remove, { timeout: 10_000 }).toBe('not-found')
    await world.sql(
      'update access_epoch e set epoch = k.epoch from kept k where k.subject = e.subject; drop table kept',
    )
    const renew = (host: JoinedHost) => outcome(call(host.connection, api.hostSelf.renewClientCertificate))
    expect([await renew(gone), await renew(stays)]).toEqual(['not-signed-in', 'done'])
    await expect(hostCertificateOf(gone)).rejects.toMatchObject({ code: 'not-signed-in' })
    await world.sql(`drop view host; drop view host_change; drop function may_read; drop function stay;
      alter table real_host rename to host; alter table real_change rename to host_change`)
    await expect.poll(() => renew(stays), { timeout: 10_000 }).toBe('done')
    expect(await renew(gone)).toBe('not-signed-in')
  })

  it('is waited for though its row says that it never joined; and a revocation is in force where its own list is, whatever its row says', async () => {
    await (await streamOf(world, host, 0)).inForce()
    const { keyId } = await issue(await logIn(world.server, world.alice.person))
    const { id, hosts } = await revoke({ keyId })
    const there = { hosts: expect.arrayContaining([expect.objectContaining({ name: host.name })]) }
    expect({ hosts }).toMatchObject(there)
    await world.sql('update revocation set krl_version = 1; update host set joined_at = null')
    const status = () => call(world.alice.connection, api.revocations.status, { params: { id } })
    expect(await status()).toMatchObject(there)
    expect((await status()).hosts.map(({ state }) => state)).not.toContain('in-force')
    await (await streamOf(world, host, 0)).inForce()
    expect((await status()).hosts).toContainEqual(expect.objectContaining({ name: host.name, state: 'in-force' }))
  })
})
