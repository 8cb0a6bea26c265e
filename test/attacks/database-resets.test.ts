import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { call } from '#cli/client.ts'
import { api } from '#shared/api/index.ts'
import { type ApiSession, enrol, inviteAndEnrol, logIn } from '#test/support/api-person.ts'
import { bodyOf, outcome } from '#test/support/attack-world.ts'
import { type DatabaseWorld, openDatabaseWorld } from '#test/support/database-world.ts'
import { requires } from '#test/support/requires.ts'

describe.skipIf(!requires('postgresql'))('an administrator who resets another, and owns the database', () => {
  let world: DatabaseWorld
  let mallory: ApiSession
  beforeEach(async () => {
    world = await openDatabaseWorld()
    const administrator = { administrator: true }
    mallory = await logIn(
      world.server,
      await inviteAndEnrol(world.server, world.alice, 'mallory@example.com', administrator),
    )
    await inviteAndEnrol(world.server, world.alice, 'pam@example.com', administrator)
  })
  afterEach(() => world?.close())

  const params = { identity: 'pam@example.com' }
  const reset = async () =>
    (await call(mallory.connection, api.persons.reset, { params, body: bodyOf(api.persons.reset, {}) })).link
  const enable = () => call(world.alice.connection, api.persons.enable, { params })

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
    const second = enrol(world.server, link, params.identity)
    const waiting = () => world.sql(`select from pg_locks where locktype = 'advisory' and objid = 900 and not granted`)
    await expect.poll(waiting, { timeout: 5_000 }).toHaveLength(1)
    await world.sql(`create table kept as select * from enrolment_link where identity = 'pam@example.com' and used_at is null;
      delete from enrolment_link where id in (select id from kept)`)
    await enable()
    await world.sql('insert into enrolment_link select * from kept')
    await world.sql('select pg_advisory_unlock(900)')
    await expect(second).rejects.toThrow('expired')
    await logIn(world.server, first)
  })

  it('is said no yes to by one that was under way when they reset once more; one that comes after it is to that', async () => {
    const carol = await logIn(
      world.server,
      await inviteAndEnrol(world.server, world.alice, 'carol@example.com', { administrator: true }),
    )
    const by = (session: ApiSession, removePasskeys: boolean) =>
      call(session.connection, api.persons.reset, { params, body: bodyOf(api.persons.reset, { removePasskeys }) })
    const yes = () => call(carol.connection, api.persons.enable, { params })
    await by(world.alice, false)
    // Nobody waits for the other by what both would end.
    await world.sql(`delete from enrolment_link where identity = 'pam@example.com'`)
    await world.sql(`select pg_advisory_lock(901); create sequence lies; grant usage on sequence lies to public;
      create function hold() returns trigger language plpgsql as $$ begin
        if current_query() like 'update person set state%' then perform pg_advisory_xact_lock_shared(901); end if;
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
    await expect(logIn(world.server, second)).rejects.toThrow('is disabled')
    await world.sql('drop trigger let on access_epoch')
    await yes()
    await logIn(world.server, second)
  })
})
