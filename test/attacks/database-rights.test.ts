import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { type ApiSession, enrol, inviteAndEnrol, logIn, page, untouched } from '#test/support/people/api-person.ts'
import { requires } from '#test/support/requires.ts'
import { addHost, bodyOf, joinBody, joinHost, newKeys, outcome, refusal } from '#test/support/worlds/attack-world.ts'
import { type DatabaseWorld, hashOf, openDatabaseWorld, stateOf } from '#test/support/worlds/database-world.ts'

/** Whoever may write any row of the database gives nobody anything by it, and keeps nobody who was put out. */

describe.skipIf(!requires('postgresql'))('somebody who may run any SQL', () => {
  let world: DatabaseWorld
  let mallory: ApiSession
  beforeAll(async () => {
    world = await openDatabaseWorld()
    mallory = await logIn(world.server, await inviteAndEnrol(world.server, world.alice, 'mallory@example.com'))
  })
  afterAll(() => world?.close())

  const person = (identity: string) => ({ params: { identity } })
  const grant = (who: string) => ({
    body: bodyOf(api.grants.add, { who, login: 'deploy', hosts: { labels: { env: 'test' } } }),
  })
  const members = (name: string, persons: readonly string[]) => ({
    params: { name },
    body: bodyOf(api.teams.addMembers, { persons }),
  })
  const certificate = ({ connection, keys }: ApiSession) =>
    outcome(call(connection, api.ssh.issueUserCertificate, { body: { publicKey: keys.ssh.line } }))
  const isAlive = ({ connection }: ApiSession) => outcome(call(connection, api.session.show))
  const administers = ({ connection }: ApiSession) => outcome(call(connection, api.persons.list))
  /** Something that the server reads all rights anew for. */
  const change = () =>
    call(world.alice.connection, api.teams.addMembers, members(`team${++teams}`, ['bob@example.com']))
  let teams = 0
  const triggers: string[] = []
  let lies = 0
  /** Makes the database do otherwise than it is told, at the rows that `which` says: `what` is what the trigger returns. */
  async function trigger(table: string, when: string, what: 'old' | 'null', which: string): Promise<void> {
    const name = `lie${++lies}`
    triggers.push(`drop trigger ${name} on ${table}`)
    await world.sql(`create function ${name}() returns trigger language plpgsql as $$ begin return ${what}; end $$;
      create trigger ${name} before ${when} on ${table} for each row when (${which}) execute function ${name}()`)
  }
  const honest = async () => {
    for (const each of triggers.splice(0)) await world.sql(each)
  }
  const enrolled = async (name: string, options = {}) =>
    logIn(world.server, await inviteAndEnrol(world.server, world.alice, name, options))

  it('gives nobody a grant or a team by a row; an administrator does', async () => {
    await call(world.alice.connection, api.teams.addMembers, members('sre', ['bob@example.com']))
    await call(world.alice.connection, api.grants.add, grant('team:sre'))
    await world.sql(`insert into access_grant select 'grant_evilevilevil', 'mallory@example.com', login, hosts, options,
      max_lifetime, ends_at, created_at, created_by from access_grant limit 1`)
    await world.sql(`insert into team_member values ('sre', 'mallory@example.com')`)
    // Nor does one that is no grant at all keep the others from being read.
    await world.sql(`insert into access_grant select 'evil', who, 'no login', '[]', options, 1, null, created_at, created_by
      from access_grant limit 1;
      insert into person (identity, administrator, state, user_handle, created_at)
        values ('no person', true, 'active', decode(repeat('00', 64), 'hex'), now())`)
    await change()
    expect(await certificate(mallory)).toBe('denied')
    await world.tells(/grant evil in the database is not well-formed/)
    await world.tells(/grant:grant_evilevilevil in the database is not what the audit log says/)
    await world.tells(/member:sre mallory@example.com in the database is not what the audit log says/)
    await world.sql(
      `delete from access_grant where id in ('evil', 'grant_evilevilevil'); delete from team_member where person like 'mallory%'`,
    )
    await world.sql(`update access_grant set who = 'mallory@example.com'`)
    await change()
    expect(await certificate(mallory)).toBe('denied')
    await world.sql(`update access_grant set who = 'team:sre'`)
    await call(world.alice.connection, api.teams.addMembers, members('sre', ['mallory@example.com']))
    expect(await certificate(mallory)).toBe('done')
  })

  it('gives a grant or team that was taken away back to nobody; one that was not stays', async () => {
    const kim = await enrolled('kim@example.com')
    const { id } = await call(world.alice.connection, api.grants.add, grant('kim@example.com'))
    await call(world.alice.connection, api.teams.addMembers, members('ops', ['kim@example.com']))
    await call(world.alice.connection, api.grants.add, grant('team:ops'))
    expect(await certificate(kim)).toBe('done')
    await world.sql(`create table kept_grant as select * from access_grant;
      create table kept_member as select * from team_member`)
    await call(world.alice.connection, api.grants.remove, { params: { id } })
    expect(await certificate(kim)).toBe('done')
    await call(world.alice.connection, api.teams.removeMembers, members('ops', ['kim@example.com']))
    await world.sql(`insert into access_grant select * from kept_grant on conflict do nothing;
      insert into team_member select * from kept_member on conflict do nothing; drop table kept_grant, kept_member`)
    await change()
    expect(await certificate(kim)).toBe('denied')
  })

  it('shows whoever puts somebody into a team that it may get more than is seen, where a grant of it is hidden', async () => {
    const team = (persons: readonly string[]) => ({
      params: { name: 'interns' },
      body: bodyOf(api.teams.addMembers, { persons: [...persons] }),
    })
    await call(world.alice.connection, api.teams.addMembers, team(['bob@example.com']))
    const { id } = await call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, { who: 'team:interns', login: 'root', hosts: { labels: { env: 'test' } } }),
    })
    const gets = async () => {
      const { transaction } = await refusal(
        call(untouched(world.alice.connection), api.teams.addMembers, team(['mallory@example.com'])),
      )
      const params = { transaction: transaction?.id ?? '' }
      const { shown } = await page(world.server, api.actions.show, { params })
      return shown.find(({ name }) => name === 'What the team interns gets')?.value
    }
    expect(await gets()).toMatch(/^[^;]*root[^;]*$/)
    await world.sql(
      `create table hidden as select * from access_grant where id = '${id}'; delete from access_grant where id = '${id}'`,
    )
    expect(await gets()).toBe(`maybe more: the database does not show ${id}`)
    await world.sql('insert into access_grant select * from hidden; drop table hidden')
    await call(world.alice.connection, api.grants.remove, { params: { id } })
    expect(await gets()).toBe('nothing yet')
  })

  it('has nobody shown, nor the log record, another thing than what is changed', async () => {
    const zoe = await enrolled('zoe@example.com')
    const { id } = await call(world.alice.connection, api.grants.add, grant('zoe@example.com'))
    const { connection } = world.alice
    await call(connection, api.teams.addMembers, members('crew', ['mallory@example.com']))
    await call(connection, api.grants.add, grant('team:crew'))
    const ask = async (work: Promise<unknown>) => {
      const { code, transaction } = await refusal(work)
      const params = { transaction: transaction?.id ?? '' }
      return transaction ? JSON.stringify((await page(world.server, api.actions.show, { params })).shown) : code
    }
    const removal = () => call(untouched(connection), api.grants.remove, { params: { id } })
    const joining = () => call(untouched(connection), api.teams.addMembers, members('crew', ['zoe@example.com']))
    const disabling = () =>
      call(untouched(connection), api.persons.disable, { params: { identity: 'zoe@example.com' } })
    await world.sql(`create table kept_grant as select * from access_grant;
      update access_grant set who = 'somebody@example.com', login = 'nothing';
      update person set administrator = true where identity = 'zoe@example.com'`)
    const asked = await ask(removal())
    expect(asked).toContain(`${id}: the database does not say what the audit log says of it`)
    expect(asked).toContain('zoe@example.com as deploy on env=test')
    expect(asked).not.toContain('somebody@example.com')
    const changing = { params: { id }, body: bodyOf(api.grants.change, { maxLifetime: 60 }) }
    expect(await outcome(call(connection, api.grants.change, changing))).toBe('conflict')
    expect(await ask(disabling())).toContain('unknown: the database does not say')
    await world.sql(`update access_grant g set who = k.who, login = k.login from kept_grant k where k.id = g.id;
      update person set administrator = false where identity = 'zoe@example.com'; drop table kept_grant`)
    expect(await ask(disabling())).toContain('no owner, active')
    await world.sql(`alter table team_member disable trigger all;
      insert into team_member (team, person) values ('crew', 'nobody@example.com');
      alter table team_member enable trigger all`)
    const shown = await ask(joining())
    expect(shown).toContain('mallory@example.com')
    expect(shown).not.toContain('nobody@example.com')
    await world.sql(`delete from team_member where person = 'nobody@example.com'`)
    await call(connection, api.teams.removeMembers, members('crew', ['mallory@example.com']))
    const shownAgain = await ask(removal())
    expect(shownAgain).toContain('zoe@example.com as deploy on env=test')
    expect(shownAgain).not.toContain('the database does not say')
    await call(connection, api.grants.remove, { params: { id } })
    expect(await certificate(zoe)).toBe('denied')
  })

  it('keeps no grant from its removal by hiding or altering its row, or the team that it is to; one that is not removed is there again', async () => {
    const { connection } = world.alice
    const [zed, ann, joy] = [
      await enrolled('zed@example.com'),
      await enrolled('ann@example.com'),
      await enrolled('joy@example.com'),
    ]
    await call(connection, api.teams.addMembers, members('night', ['zed@example.com']))
    const [hidden, altered, kept] = [
      await call(connection, api.grants.add, grant('team:night')),
      await call(connection, api.grants.add, grant('ann@example.com')),
      await call(connection, api.grants.add, grant('joy@example.com')),
    ]
    const certificates = async () => [await certificate(zed), await certificate(ann), await certificate(joy)]
    expect(await certificates()).toEqual(['done', 'done', 'done'])
    await world.sql(`create table kept_grant as select * from access_grant;
      create table kept_member as select * from team_member where team = 'night';
      create table kept_team as select * from team where name = 'night';
      delete from access_grant where id in ('${hidden.id}', '${kept.id}');
      update access_grant set login = 'root', who = 'joy@example.com' where id = '${altered.id}';
      delete from team_member where team = 'night'; delete from team where name = 'night'`)
    for (const { id } of [hidden, altered])
      expect(await outcome(call(connection, api.grants.remove, { params: { id } }))).toBe('done')
    await world.sql(`insert into team select * from kept_team; insert into team_member select * from kept_member;
      delete from access_grant where id = '${altered.id}';
      insert into access_grant select * from kept_grant on conflict do nothing;
      drop table kept_grant, kept_member, kept_team`)
    await change()
    expect(await certificates()).toEqual(['denied', 'denied', 'done'])
    expect(await outcome(call(connection, api.grants.remove, { params: { id: hidden.id } }))).toBe('not-found')
    await world.sql(`delete from access_grant where id in ('${hidden.id}', '${altered.id}')`)
  })

  it('takes no removal of a grant, member or host back by a trigger that swallows it', async () => {
    const lee = await enrolled('lee@example.com')
    const { id } = await call(world.alice.connection, api.grants.add, grant('lee@example.com'))
    const host = await joinHost(world, 'web7.keyman.localhost')
    expect(await certificate(lee)).toBe('done')
    await trigger('access_grant', 'delete', 'null', 'true')
    await trigger('host', 'update', 'null', 'true')
    await call(world.alice.connection, api.grants.remove, { params: { id } })
    await call(world.alice.connection, api.hosts.remove, { params: { name: host.name } })
    await honest()
    expect(await certificate(lee)).toBe('denied')
    await expect(stateOf(world, host)).rejects.toThrow()
    await call(world.alice.connection, api.grants.add, grant('lee@example.com'))
    expect(await certificate(lee)).toBe('done')
  })

  it('makes nobody an owner, not even by what an owner does next', async () => {
    await world.sql(`update person set administrator = true where identity = 'mallory@example.com'`)
    await world.sql(`insert into identity_change (subject) values ('person:mallory@example.com')`)
    await expect.poll(() => administers(mallory), { timeout: 10_000 }).toBe('not-signed-in')
    await world.tells(/person:mallory@example.com in the database is not what the audit log says/)
    // What stands in the row when she is disabled, and enabled again, is not said by the log from then on.
    await call(world.alice.connection, api.persons.disable, person('mallory@example.com'))
    expect(await outcome(call(world.alice.connection, api.persons.enable, person('mallory@example.com')))).toBe(
      'conflict',
    )
    await world.sql(`update person set administrator = false where identity = 'mallory@example.com'`)
    await call(world.alice.connection, api.persons.enable, person('mallory@example.com'))
    mallory = await logIn(world.server, mallory.person)
    expect(await administers(mallory)).toBe('denied')
    const eve = await enrolled('eve@example.com', { owner: true })
    await expect.poll(() => administers(eve), { timeout: 10_000 }).toBe('done')
  })

  it('keeps nobody in who was disabled: neither by the row, nor by a trigger that swallows it, nor by writing it beforehand', async () => {
    const nia = await enrolled('nia@example.com')
    await trigger('person', 'update', 'old', `old.identity = 'nia@example.com'`)
    await trigger('person_session', 'update', 'null', `old.person = 'nia@example.com'`)
    await call(world.alice.connection, api.persons.disable, person('nia@example.com'))
    expect(await isAlive(nia)).toBe('not-signed-in')
    await expect(logIn(world.server, nia.person)).rejects.toThrow()
    await honest()
    expect(await isAlive(nia)).toBe('not-signed-in')

    const oli = await enrolled('oli@example.com')
    await world.sql(`update person set state = 'disabled' where identity = 'oli@example.com'`)
    await call(world.alice.connection, api.persons.disable, person('oli@example.com'))
    await world.sql(`update person set state = 'active' where identity = 'oli@example.com'`)
    expect(await isAlive(oli)).toBe('not-signed-in')
    await expect(logIn(world.server, oli.person)).rejects.toThrow()
    await world.sql(`update person set state = 'disabled' where identity = 'oli@example.com'`)
    await call(world.alice.connection, api.persons.enable, person('oli@example.com'))
    expect(await isAlive(await logIn(world.server, oli.person))).toBe('done')
  })

  it('keeps no session and no invitation from its end by hiding its row meanwhile; those of others go on', async () => {
    const pam = await enrolled('pam@example.com', { owner: true })
    const invite = (session: ApiSession, identity: string) =>
      call(session.connection, api.persons.invite, {
        body: bodyOf(api.persons.invite, { identity, owner: true }),
      })
    const sleeper = await invite(pam, 'sleeper@example.com')
    const friend = await invite(world.alice, 'friend@example.com')
    await world.sql(`create table kept_session as select * from person_session where person = 'pam@example.com';
      create table kept_link as select * from enrolment_link where created_by = 'pam@example.com';
      update person_session set person = 'bob@example.com' where person = 'pam@example.com';
      delete from enrolment_link where created_by = 'pam@example.com'`)
    await call(world.alice.connection, api.revocations.create, {
      body: bodyOf(api.revocations.create, { target: { person: 'pam@example.com' }, wait: 0 }),
    })
    await world.sql(`update person_session set person = 'pam@example.com' where id in (select id from kept_session);
      insert into enrolment_link select * from kept_link`)
    expect(await isAlive(pam)).toBe('not-signed-in')
    await expect(enrol(world.server, sleeper.link, 'sleeper@example.com')).rejects.toThrow('expired')
    await enrol(world.server, friend.link, 'friend@example.com')
    expect(await isAlive(await logIn(world.server, pam.person))).toBe('done')
  })

  it('leaves nothing of an owner who is none any more by hiding her invitations meanwhile; of one who stays they are good', async () => {
    const quinn = await enrolled('quinn@example.com', { owner: true })
    const invite = (session: ApiSession, identity: string) =>
      call(session.connection, api.persons.invite, {
        body: bodyOf(api.persons.invite, { identity, owner: true }),
      })
    const sleeper = await invite(quinn, 'dozer@example.com')
    const friend = await invite(world.alice, 'fellow@example.com')
    await world.sql(`create table kept_invitation as select * from enrolment_link where created_by = 'quinn@example.com';
      delete from enrolment_link where created_by = 'quinn@example.com'`)
    await call(world.alice.connection, api.persons.change, {
      params: { identity: 'quinn@example.com' },
      body: { owner: false },
    })
    await world.sql('insert into enrolment_link select * from kept_invitation')
    await expect(enrol(world.server, sleeper.link, 'dozer@example.com')).rejects.toThrow('expired')
    await enrol(world.server, friend.link, 'fellow@example.com')
    const again = await logIn(world.server, quinn.person)
    expect(await isAlive(again)).toBe('done')
    expect(await outcome(call(again.connection, api.persons.list))).toBe('denied')
  })

  it('lets no host in by a row or another key, and makes none by a join token; a joined one is let in', async () => {
    const [one, two] = [await joinHost(world, 'web1.keyman.localhost'), await joinHost(world, 'web2.keyman.localhost')]
    const spkiOf = async (name: string) => (await world.sql(`select client_spki from host where name = $1`, [name]))[0]
    const own = await spkiOf(one.name)
    await world.sql(`alter table host drop constraint if exists none; drop index host_living_key`)
    await world.sql(
      `update host set client_spki = (select client_spki from host where name = 'web2.keyman.localhost') where name = $1;`.replace(
        '$1',
        `'${one.name}'`,
      ),
    )
    await world.sql('update host_change set version = version + 1')
    await world.tells(/host:\S+ in the database is not what the audit log says/)
    await expect(stateOf(world, one)).rejects.toThrow()
    expect((await stateOf(world, two)).revision).toBeGreaterThan(0)
    await world.sql('update host set client_spki = $1 where name = $2', [own?.client_spki, one.name])
    await world.sql('update host_change set version = version + 1')
    await expect.poll(() => stateOf(world, one).then(() => 'let in', String), { timeout: 10_000 }).toBe('let in')

    const { secret } = await addHost(world, 'web3.keyman.localhost')
    await world.sql(
      `insert into join_token select $1, id, now(), now() + interval '1 day', null from host where name = 'web3.keyman.localhost'`,
      [hashOf(`keyman-join-v1\n${'A'.repeat(43)}`)],
    )
    const join = async (token: string) =>
      outcome(call(world.stranger, api.hostSelf.join, { body: await joinBody(world.stranger, token, newKeys()) }))
    expect(await join('A'.repeat(43))).toBe('denied')
    await world.tells(/join-token:\S+ in the database is not what the audit log says/)
    // Nor is one somebody else's, or nobody's: whoever made it may have lost what it takes.
    const maker = (who: string) =>
      world.sql(`update join_token set made_by = ${who} where hash = $1`, [hashOf(`keyman-join-v1\n${secret}`)])
    for (const who of ["'bob@example.com'", 'null']) {
      await maker(who)
      expect(await join(secret)).toBe('denied')
    }
    await maker("'alice@example.com'")
    expect(await join(secret)).toBe('done')
  })

  it('gives nobody a role by a row, and no wider one; nor does less than an owner act on an owner who is hidden', async () => {
    const rae = await enrolled('rae@example.com')
    const give = (role: string) =>
      call(world.alice.connection, api.grants.add, {
        body: bodyOf(api.grants.add, { kind: 'role', who: 'rae@example.com', role }),
      })
    const { id } = await give('auditor')
    expect(await administers(rae)).toBe('denied')
    await world.sql(`update access_grant set role = 'administrator' where id = $1`, [id])
    await world.sql(`insert into access_grant (id, who, created_at, created_by, kind, role)
      values ('grant_rolewritten', 'rae@example.com', now(), 'alice@example.com', 'role', 'administrator')`)
    await change()
    expect(await administers(rae)).toBe('denied')
    await world.sql(`delete from access_grant where id = 'grant_rolewritten'`)
    await world.sql(`update access_grant set role = 'auditor' where id = $1`, [id])
    await give('administrator')
    expect(await administers(rae)).toBe('done')
    const disable = (by: ApiSession, who: string) => outcome(call(by.connection, api.persons.disable, person(who)))
    await enrolled('hidden-owner@example.com', { owner: true })
    await enrolled('shown@example.com')
    await world.sql(`alter table person rename to real_person; create view person as select * from real_person
        where identity <> 'hidden-owner@example.com'; grant select, insert, update on person to keyman_runtime`)
    // Each connection of before is told once that the table is another.
    await expect.poll(() => disable(rae, 'shown@example.com'), { timeout: 10_000 }).toBe('done')
    expect(await disable(rae, 'hidden-owner@example.com')).toBe('denied')
    await world.sql('drop view person; alter table real_person rename to person')
  })

  it('keeps nobody from being revoked and disabled by hiding the row from whoever asks for it; others are what they were', async () => {
    const [roz, wes] = [await enrolled('roz@example.com'), await enrolled('wes@example.com')]
    await world.sql(`alter table person rename to real_person; create view person as select * from real_person
        where identity <> 'roz@example.com' or current_query() not like '%count(*)%where "person"."identity" = $1%';
      grant select, insert, update on person to keyman_runtime`)
    const body = bodyOf(api.revocations.create, { target: { person: 'roz@example.com' }, wait: 0 })
    const revoke = () => outcome(call(world.alice.connection, api.revocations.create, { body }))
    // Each connection of before is told once that the table is another.
    await expect.poll(revoke, { timeout: 10_000 }).toBe('done')
    const shown = (who: string) => outcome(call(world.alice.connection, api.persons.show, person(who)))
    expect([await shown('roz@example.com'), await shown('wes@example.com')]).toEqual(['not-found', 'done'])
    expect([await isAlive(roz), await isAlive(wes)]).toEqual(['not-signed-in', 'done'])
    const again = await logIn(world.server, roz.person)
    expect(await isAlive(again)).toBe('done')
    const disable = () => outcome(call(world.alice.connection, api.persons.disable, person('roz@example.com')))
    expect(await disable()).toBe('done')
    await world.sql('drop view person; alter table real_person rename to person')
    await world.sql(`update person set state = 'active' where identity = 'roz@example.com'`)
    await expect(logIn(world.server, roz.person)).rejects.toThrow()
    expect([await isAlive(again), await isAlive(wes)]).toEqual(['not-signed-in', 'done'])
    const nobody = call(world.alice.connection, api.persons.disable, person('nobody@example.com'))
    expect(await outcome(nobody)).toBe('not-found')
  })

  it('disables and enables nobody in the place of another, by a database that answers with the row of another', async () => {
    const [ria, sam, tim] = [
      await enrolled('ria@example.com'),
      await enrolled('sam@example.com'),
      await enrolled('tim@example.com'),
    ]
    await call(world.alice.connection, api.persons.disable, person('sam@example.com'))
    const answering = async (asked: string, found: string) => {
      await world.sql(`create schema if not exists lies; grant usage on schema lies to public;
        create or replace function lies.same(text, text) returns boolean language sql immutable as
          $$ select $1 operator(pg_catalog.=) case when $2 operator(pg_catalog.=) '${asked}' then '${found}' else $2 end $$`)
      const made = await world.sql(`select oprname from pg_operator where oprnamespace = 'lies'::regnamespace`)
      if (made.length === 0)
        await world.sql(`create operator lies.= (leftarg = text, rightarg = text, function = lies.same)`)
      await searching(`set search_path = lies, pg_catalog, public`)
    }
    const searching = async (how: string) => {
      await world.server.stop()
      await world.sql(`alter role keyman_app ${how}`)
      await world.server.restart()
    }
    await answering('ria@example.com', 'tim@example.com')
    expect(await outcome(call(world.alice.connection, api.persons.disable, person('ria@example.com')))).toBe('done')
    await answering('ria@example.com', 'sam@example.com')
    expect(await outcome(call(world.alice.connection, api.persons.enable, person('ria@example.com')))).toBe('conflict')
    await searching('reset search_path')
    await expect(logIn(world.server, sam.person)).rejects.toThrow()
    await expect(logIn(world.server, ria.person)).rejects.toThrow()
    // What befell his row is nothing that the log says of him.
    await world.sql(`update person set state = 'active' where identity = 'tim@example.com'`)
    await logIn(world.server, tim.person)
  })

  it('keeps no owner from being disabled by hiding the others, as if she were the last; who is the last is kept', async () => {
    const una = await enrolled('una@example.com', { owner: true })
    await world.sql(`alter table person rename to real_person; create view person as select * from real_person
        where identity = 'una@example.com' or current_query() not like '%order by "person"."identity" asc for update%';
      grant select, insert, update on person to keyman_runtime`)
    // Una herself would be the last by that.
    expect(await outcome(call(una.connection, api.persons.disable, person('una@example.com')))).toBe('conflict')
    expect(await outcome(call(world.alice.connection, api.persons.disable, person('una@example.com')))).toBe('done')
    await world.sql('drop view person; alter table real_person rename to person')
    expect(await isAlive(una)).toBe('not-signed-in')
  })

  it('keeps no invitation good by hiding it while a newer one takes its place; the newer one is', async () => {
    const invite = () =>
      call(world.alice.connection, api.persons.invite, {
        body: bodyOf(api.persons.invite, { identity: 'ida@example.com' }),
      })
    const older = await invite()
    await world.sql(`create table older_link as select * from enrolment_link where identity = 'ida@example.com';
      delete from enrolment_link where identity = 'ida@example.com'`)
    const newer = await invite()
    await world.sql('insert into enrolment_link select * from older_link; drop table older_link')
    await expect(enrol(world.server, older.link, 'ida@example.com')).rejects.toThrow('expired')
    await enrol(world.server, newer.link, 'ida@example.com')
  })

  it('has no link printed for a first owner by hiding those that there are from a start; an empty database has', async () => {
    // By which Alice became one here.
    await world.server.stop()
    await world.sql(`create table kept_person as select * from person; update person set administrator = false`)
    await world.server.restart()
    expect(world.server.output()).not.toContain('/enrol#')
    await world.sql(`update person p set administrator = k.administrator from kept_person k where k.identity = p.identity;
      drop table kept_person`)
  })
})
