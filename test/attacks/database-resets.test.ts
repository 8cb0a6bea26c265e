import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { type ApiSession, enrol, inviteAndEnrol, logIn } from '#test/support/people/api-person.ts'
import { requires } from '#test/support/requires.ts'
import { bodyOf, outcome, refusal } from '#test/support/worlds/attack-world.ts'
import { type DatabaseWorld, openDatabaseWorld } from '#test/support/worlds/database-world.ts'

describe.skipIf(!requires('postgresql'))('an administrator who resets another, and owns the database', () => {
  let world: DatabaseWorld
  let mallory: ApiSession
  beforeEach(async () => {
    world = await openDatabaseWorld()
    const owner = { owner: true }
    mallory = await logIn(world.server, await inviteAndEnrol(world.server, world.alice, 'mallory@example.com', owner))
    await inviteAndEnrol(world.server, world.alice, 'pam@example.com', owner)
  })
  afterEach(() => world?.close())

  const params = { identity: 'pam@example.com' }
  const reset = async () =>
    (await call(mallory.connection, api.persons.reset, { params, body: bodyOf(api.persons.reset, {}) })).link
  const enable = () => call(world.alice.connection, api.persons.enable, { params })

  it("takes nobody's passkey or invitation but those of whom it is about, whichever the database gives for them", async () => {
    const bob = world.bob.person
    const { link } = await call(world.alice.connection, api.persons.invite, {
      body: bodyOf(api.persons.invite, { identity: 'fay@example.com' }),
    })
    const [hers] = await world.sql(`select id from passkey where person = 'alice@example.com'`)
    const idsOf = (kind: string) =>
      world.sql(`select record from ledger_record where kind = $1 order by index desc limit 1`, [kind])
    // Whoever takes Bob's is given Alice's, and Fay's invitation for one of his.
    await world.sql(`alter table passkey rename to real_passkey;
      create view passkey as select case when person = 'bob@example.com' then '${hers?.id}' else id end as id, person, name,
        credential_id, public_key, counter, transports, synced, backed_up, created_at, last_used_at from real_passkey;
      create function keep() returns trigger language plpgsql as $$ begin return old; end $$;
      create trigger keep instead of delete on passkey for each row execute function keep();
      alter table enrolment_link rename to real_link;
      create view enrolment_link as select id, secret_hash, kind, is_first,
        case when identity = 'fay@example.com' and current_query() like '%unused%' then 'bob@example.com' else identity end as identity,
        identity_fixed, administrator, created_by, created_at, ends_at, used_at, used_by from real_link;
      create function put() returns trigger language plpgsql security definer as
        $$ begin insert into real_link (id, secret_hash, kind, is_first, identity, identity_fixed, administrator, created_by, created_at, ends_at)
          values (new.id, new.secret_hash, new.kind, new.is_first, new.identity, new.identity_fixed, new.administrator, new.created_by, new.created_at, new.ends_at);
        return new; end $$;
      create trigger put instead of insert on enrolment_link for each row execute function put();
      create trigger keep instead of update on enrolment_link for each row execute function keep();
      grant select, insert, update, delete on passkey, enrolment_link to keyman_runtime`)
    const body = bodyOf(api.persons.reset, { removePasskeys: true })
    const resetBob = () =>
      outcome(call(mallory.connection, api.persons.reset, { params: { identity: bob.identity }, body }))
    // Each connection of before is told once that the table is another.
    await expect.poll(resetBob, { timeout: 10_000 }).toBe('done')
    await world.sql(`drop view passkey; alter table real_passkey rename to passkey;
      drop view enrolment_link; alter table real_link rename to enrolment_link`)
    const [{ record } = {}] = await idsOf('person-reset')
    expect(record).not.toContain(hers?.id)
    await expect
      .poll(() => outcome(logIn(world.server, world.alice.person)).catch(String), { timeout: 10_000 })
      .toBe('done')
    await logIn(world.server, await enrol(world.server, link, 'fay@example.com'))
    // The twin: Bob's own is gone, though it is still there.
    await expect(logIn(world.server, bob)).rejects.toThrow('denied')
  })

  it('makes no passkey that comes after the yes to those of before, though the link is hidden from it and used at once', async () => {
    // The twin: what is made before the yes is what the yes is to.
    const first = await enrol(world.server, await reset(), params.identity)
    await enable()
    await logIn(world.server, first)
    const link = await reset()
    await world.sql(`select pg_advisory_lock(900);
      create function hold() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock_shared(900); return old; end $$;
      create trigger hold before delete on webauthn_challenge for each row when (old.purpose = 'enrolment') execute function hold()`)
    // Awaited for below; it may come to its end while the answer to the last statement is on its way.
    const second = expect(enrol(world.server, link, params.identity)).rejects.toThrow('expired')
    const waiting = () => world.sql(`select from pg_locks where locktype = 'advisory' and objid = 900 and not granted`)
    await expect.poll(waiting, { timeout: 5_000 }).toHaveLength(1)
    await world.sql(`create table kept as select * from enrolment_link where identity = 'pam@example.com' and used_at is null;
      delete from enrolment_link where id in (select id from kept)`)
    await enable()
    await world.sql('insert into enrolment_link select * from kept')
    await world.sql('select pg_advisory_unlock(900)')
    await second
    await logIn(world.server, first)
  })

  it('makes a passkey by no older link of a reset that was hidden from the newer one; by the newer it does', async () => {
    const bob = world.bob.person
    const resetBob = async (session: ApiSession) =>
      (
        await call(session.connection, api.persons.reset, {
          params: { identity: bob.identity },
          body: bodyOf(api.persons.reset, {}),
        })
      ).link
    const leaked = await resetBob(mallory)
    await world.sql(`create table kept as select * from enrolment_link where identity = 'bob@example.com' and used_at is null;
      delete from enrolment_link where id in (select id from kept)`)
    const link = await resetBob(world.alice)
    await world.sql('insert into enrolment_link select * from kept')
    await expect(enrol(world.server, leaked, bob.identity)).rejects.toThrow('expired')
    await logIn(world.server, await enrol(world.server, link, bob.identity))
  })

  it('has no yes count for a passkey that is made while it is said; for one that was there it does', async () => {
    const first = await enrol(world.server, await reset(), params.identity)
    await enable()
    await logIn(world.server, first)
    const link = await reset()
    // Nobody waits for the other by what both would end, nor by a lock.
    await world.sql(`create table kept as select * from enrolment_link where identity = 'pam@example.com' and used_at is null;
      delete from enrolment_link where id in (select id from kept);
      select pg_advisory_lock(902); create sequence lies; grant usage on sequence lies to public;
      create function hold() returns trigger language plpgsql as $$ begin
        if current_query() like 'update "person" set "state"%' then perform pg_advisory_xact_lock_shared(902); end if;
        return null; end $$;
      create trigger hold before update on person for each statement execute function hold();
      create function let() returns trigger language plpgsql as
        $$ begin new.subject := 'lie' || nextval('lies'); return new; end $$;
      create trigger let before insert on access_epoch for each row when (new.subject = 'person:pam@example.com') execute function let()`)
    const yes = outcome(enable())
    const waiting = () => world.sql(`select from pg_locks where locktype = 'advisory' and objid = 902 and not granted`)
    await expect.poll(waiting, { timeout: 5_000 }).toHaveLength(1)
    await world.sql('insert into enrolment_link select * from kept')
    const unseen = await enrol(world.server, link, params.identity)
    await world.sql('select pg_advisory_unlock(902)')
    expect(await yes).toBe('conflict')
    await expect(logIn(world.server, unseen)).rejects.toThrow('is disabled')
  })

  it('has nobody say yes to a passkey that is hidden from whoever says it; to one that is seen it is said', async () => {
    const stolen = await enrol(world.server, await reset(), params.identity)
    const [{ id } = {}] = await world.sql(
      `select id from passkey where person = 'pam@example.com' order by created_at desc limit 1`,
    )
    await world.sql(`alter table passkey rename to real_passkey;
      create view passkey as select * from real_passkey where id <> '${id}' or current_query() like '%"credential_id" = %';
      grant select, insert, update, delete on passkey to keyman_runtime`)
    await expect.poll(() => outcome(enable()), { timeout: 10_000 }).not.toBe('unavailable')
    expect((await refusal(enable())).message).toContain(`that the database does not show: ${id}`)
    await world.sql('drop view passkey; alter table real_passkey rename to passkey')
    await expect(logIn(world.server, stolen)).rejects.toThrow()
    await expect.poll(() => outcome(enable()), { timeout: 10_000 }).toBe('done')
    await logIn(world.server, stolen)
  })

  it('is said no yes to by one that was under way when they reset once more; one that comes after it is to that', async () => {
    const carol = await logIn(
      world.server,
      await inviteAndEnrol(world.server, world.alice, 'carol@example.com', { owner: true }),
    )
    const by = (session: ApiSession, removePasskeys: boolean) =>
      call(session.connection, api.persons.reset, { params, body: bodyOf(api.persons.reset, { removePasskeys }) })
    const yes = () => call(carol.connection, api.persons.enable, { params })
    await by(world.alice, false)
    // Nobody waits for the other by what both would end.
    await world.sql(`delete from enrolment_link where identity = 'pam@example.com'`)
    await world.sql(`select pg_advisory_lock(901); create sequence lies; grant usage on sequence lies to public;
      create function hold() returns trigger language plpgsql as $$ begin
        if current_query() like 'update "person" set "state"%' then perform pg_advisory_xact_lock_shared(901); end if;
        return null; end $$;
      create trigger hold before update on person for each statement execute function hold();
      create function let() returns trigger language plpgsql as
        $$ begin new.subject := 'lie' || nextval('lies'); return new; end $$;
      create trigger let before insert on access_epoch for each row when (new.subject = 'person:pam@example.com') execute function let()`)
    const late = outcome(yes())
    const waiting = () => world.sql(`select from pg_locks where locktype = 'advisory' and objid = 901 and not granted`)
    await expect.poll(waiting, { timeout: 5_000 }).toHaveLength(1)
    const { link } = await by(mallory, true)
    const second = await enrol(world.server, link, params.identity)
    await world.sql('select pg_advisory_unlock(901)')
    expect(await late).toBe('conflict')
    // Nothing else is done before the log says of it that it failed.
    const saidSo = () => world.sql(`select from ledger_record where kind = 'change-failed'`)
    await expect.poll(saidSo, { timeout: 10_000 }).not.toEqual([])
    await expect(logIn(world.server, second)).rejects.toThrow('is disabled')
    await world.sql('drop trigger let on access_epoch')
    await yes()
    await logIn(world.server, second)
  })
})
