import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { type ApiSession, logIn } from '#test/support/people/api-person.ts'
import { requires } from '#test/support/requires.ts'
import { bodyOf, type JoinedHost, joinHost, outcome } from '#test/support/worlds/attack-world.ts'
import { type DatabaseWorld, isRevokedAt, openDatabaseWorld, stateOf } from '#test/support/worlds/database-world.ts'

/** What the log says stays said: by a running server, and by one that starts. Each attack is taken back after it. */

describe.skipIf(!requires('postgresql'))('a database that is changed behind the log', () => {
  let world: DatabaseWorld
  let host: JoinedHost
  beforeAll(async () => {
    world = await openDatabaseWorld()
    host = await joinHost(world, 'web1.keyman.localhost')
    for (const who of ['alice@example.com', 'bob@example.com'])
      await call(world.alice.connection, api.grants.add, {
        body: bodyOf(api.grants.add, { who, login: 'deploy', hosts: { labels: { env: 'test' } } }),
      })
  })
  afterAll(() => world?.close())

  const issue = ({ connection, keys }: ApiSession) =>
    call(connection, api.ssh.issueUserCertificate, { body: { publicKey: keys.ssh.line } })
  const issues = (session: ApiSession) => outcome(issue(session))
  const revoke = (target: object) =>
    call(world.alice.connection, api.revocations.create, {
      body: bodyOf(api.revocations.create, { target, wait: 0 }),
    })
  /** With the database as it is meanwhile; then as it was before, and the server runs. */
  async function restarts(changed: string, back: string): Promise<string> {
    await world.server.stop()
    await world.sql(changed)
    const outcome = await world.server.restart().then(
      () => 'started',
      (error: unknown) => String(error),
    )
    if (outcome === 'started') await world.server.stop()
    await world.sql(back)
    await world.server.restart()
    return outcome
  }

  it('takes nothing off the KRL by a row that is taken away, changed or set back; what was not revoked is not on it', async () => {
    const bob = await logIn(world.server, world.bob.person)
    const [lost, kept] = [await issue(bob), await issue(world.alice)]
    await revoke({ keyId: lost.keyId })
    expect(await isRevokedAt(world, host, lost.certificate)).toBe(true)
    expect(await isRevokedAt(world, host, kept.certificate)).toBe(false)
    await world.sql(`delete from revoked_certificate; delete from revoked_key; delete from revocation;
      update krl_state set version = 1`)
    const { krl } = await stateOf(world, host)
    // Something that is revoked after it goes on from where the KRL was.
    await revoke({ serial: kept.serial })
    expect(await isRevokedAt(world, host, lost.certificate)).toBe(true)
    expect(await isRevokedAt(world, host, kept.certificate)).toBe(true)
    expect(BigInt((await stateOf(world, host)).krl.version)).toBeGreaterThan(BigInt(krl.version))
    await world.server.kill()
    await world.server.restart()
    expect(await isRevokedAt(world, host, lost.certificate)).toBe(true)
    expect(await isRevokedAt(world, host, (await issue(world.alice)).certificate)).toBe(false)
  })

  it('gives the KRL no version that hosts refuse, nor one after which there is none', async () => {
    const version = async () => BigInt((await stateOf(world, host)).krl.version)
    for (const number of ['1', '9223372036854775807']) {
      const { keyId } = await issue(world.alice)
      const before = await version()
      await world.sql(`create or replace function number() returns trigger language plpgsql as
          $$ begin new.version := ${number}; return new; end $$;
        create or replace trigger number before update on krl_state for each row execute function number()`)
      expect(await outcome(revoke({ keyId }))).toBe('internal')
      await world.sql('drop trigger number on krl_state')
      expect(await version()).toBe(before)
      await revoke({ serial: (await issue(await logIn(world.server, world.bob.person))).serial })
      expect(await version()).toBeGreaterThan(before)
    }
  })

  it('gives the KRL no time that nobody can read, so that hosts would hear of no version any more; of its own time they do', async () => {
    // By the key ID its session ends too.
    const { keyId, certificate } = await issue(await logIn(world.server, world.bob.person))
    const version = async () => BigInt((await stateOf(world, host)).krl.version)
    const before = await version()
    await world.sql(`create or replace function early() returns trigger language plpgsql as
        $$ begin new.at := '1960-01-01'; return new; end $$;
      create or replace trigger early before update on krl_state for each row execute function early()`)
    expect(await outcome(revoke({ keyId }))).toBe('internal')
    expect(await version()).toBe(before)
    await world.sql('drop trigger early on krl_state')
    await revoke({ keyId })
    expect(await version()).toBeGreaterThan(before)
    expect(await isRevokedAt(world, host, certificate)).toBe(true)
  })

  it('hides no certificate from its revocation by taking its row away beforehand', async () => {
    const bob = await logIn(world.server, world.bob.person)
    const [hidden, changed, other] = [await issue(bob), await issue(bob), await issue(world.alice)]
    await world.sql(`delete from issued_certificate where serial = ${hidden.serial};
      update issued_certificate set person = 'carol@example.com', session = 'session_none' where serial = ${changed.serial}`)
    await revoke({ keyId: changed.keyId })
    expect(await isRevokedAt(world, host, hidden.certificate)).toBe(true)
    expect(await isRevokedAt(world, host, changed.certificate)).toBe(true)
    expect(await isRevokedAt(world, host, other.certificate)).toBe(false)
  })

  it('keeps no certificate good that is hidden while its owner logs out: the key of the session is revoked', async () => {
    const [bob, carol] = [await logIn(world.server, world.bob.person), await logIn(world.server, world.bob.person)]
    const [hidden, other] = [await issue(bob), await issue(carol)]
    // From the very statements that look for them, and from no other.
    const hide = (table: string, statement: string) => `alter table ${table} rename to real_${table};
      create view ${table} as select * from real_${table} where current_query() not like '%${statement}%';
      grant select, insert, update on ${table} to keyman_runtime;`
    const show = (table: string) => `drop view ${table}; alter table real_${table} rename to ${table};`
    await world.sql(hide('issued_certificate', '"valid_before" >') + hide('ledger_record', 'as said from'))
    await call(bob.connection, api.session.end)
    await world.sql(show('issued_certificate') + show('ledger_record'))
    expect(await isRevokedAt(world, host, hidden.certificate)).toBe(true)
    expect(await isRevokedAt(world, host, other.certificate)).toBe(false)
  })

  it('has no other certificate revoked in the place of one that is named by its key ID; that one is', async () => {
    const bob = await logIn(world.server, world.bob.person)
    const [meant, other, another] = [await issue(bob), await issue(world.alice), await issue(world.alice)]
    const unsealed = await issue(world.alice)
    // Until the server has read on, it would miss its own record.
    await revoke({ serial: (await issue(world.alice)).serial })
    await world.sql(`create table kept_issued as select * from issued_certificate;
      create table kept_record as select * from ledger_record;
      update issued_certificate set key_id = '${meant.keyId}' where serial in (${other.serial}, ${another.serial});
      update ledger_record set record = replace(record, '"keyId":"${other.keyId}"', '"keyId":"${meant.keyId}"')
        where index = (select record from kept_issued where serial = ${other.serial} and authority like 'ssh-user%');
      update issued_certificate set key_id = '${meant.keyId}', record = 0 where serial = ${unsealed.serial} and authority like 'ssh-user%';
      update ledger_record r set seal = null, record = replace(k.record, '"keyId":"${unsealed.keyId}"', '"keyId":"${meant.keyId}"')
        from kept_record k where r.index = 0
        and k.index = (select record from kept_issued where serial = ${unsealed.serial} and authority like 'ssh-user%')`)
    await revoke({ keyId: meant.keyId })
    await world.sql(`update issued_certificate i set key_id = k.key_id, record = k.record from kept_issued k
        where k.authority = i.authority and k.serial = i.serial;
      update ledger_record r set record = k.record, seal = k.seal from kept_record k where k.index = r.index and k.record <> r.record;
      drop table kept_issued; drop table kept_record`)
    expect(await isRevokedAt(world, host, meant.certificate)).toBe(true)
    for (const { certificate } of [other, another, unsealed])
      expect(await isRevokedAt(world, host, certificate)).toBe(false)
    expect(await issues(world.alice)).toBe('done')
    await world.tells(/where another was to be revoked/)
  })

  it("keeps a server from starting where the key of the seals, the passkeys' place or the history is another", async () => {
    expect(
      await restarts(
        `create table kept as select * from server_secret; delete from server_secret where name = 'record seal'`,
        `delete from server_secret; insert into server_secret select * from kept; drop table kept`,
      ),
    ).toMatch(/the key that seals the audit log's records is not in the database/)
    expect(
      await restarts(
        `create table kept as select * from relying_party; update relying_party set rp_id = 'evil.example'`,
        `delete from relying_party; insert into relying_party select * from kept; drop table kept`,
      ),
    ).toMatch(/the passkeys here were made for evil.example/)
    expect(
      await restarts(
        `insert into incarnation (number, id) values (2, 'another')`,
        `delete from incarnation where number = 2`,
      ),
    ).toMatch(/another history/)
    expect(await restarts('select 1', 'select 1')).toBe('started')
    expect(await issues(world.alice)).toBe('done')
  })

  it('gives no session its end back by an older epoch; what was not ended goes on', async () => {
    const bob = await logIn(world.server, world.bob.person)
    await world.sql(`create table kept as select * from access_epoch`)
    await call(bob.connection, api.revocations.own)
    await world.sql(
      `update access_epoch e set epoch = k.epoch from kept k where k.subject = e.subject; drop table kept`,
    )
    await world.sql(`update person_session set ended_at = null where id = '${bob.login.session.session}'`)
    expect(await issues(bob)).toBe('not-signed-in')
    expect(await issues(await logIn(world.server, world.bob.person))).toBe('done')
  })

  const COPY = `create schema kept; create table kept.r as select * from ledger_record; create table kept.h as select * from ledger_head;
    create table kept.t as select * from ledger_tree; create table kept.l as select * from ledger_tile;
    create table kept.c as select * from ledger_checkpoint`
  const BACK = `delete from ledger_record; delete from ledger_head; delete from ledger_tree; delete from ledger_tile;
    delete from ledger_checkpoint; insert into ledger_record select * from kept.r; insert into ledger_head select * from kept.h;
    insert into ledger_tree select * from kept.t; insert into ledger_tile select * from kept.l;
    insert into ledger_checkpoint select * from kept.c; drop schema kept cascade`
  const CUT = `delete from ledger_record where index >= 5; update ledger_head set size = 5`

  it('keeps a running server from issuing once its log is shorter, and a stopped one from starting; with all of it they do', async () => {
    expect(await restarts(`${COPY}; ${CUT}`, BACK)).toMatch(/the database holds 5 records, but .* has \d+/)
    expect(await issues(world.alice)).toBe('done')
    await world.sql(`${COPY}; ${CUT}`)
    await world.tells(/the database holds 5 records; this server has read \d+/)
    expect(await issues(world.alice)).not.toBe('done')
    await world.server.kill()
    await world.sql(BACK)
    await world.server.restart()
    expect(await issues(world.alice)).toBe('done')
  })

  it('keeps nobody in by swallowing the end of a person together with its record: the server that was asked says so and stops', async () => {
    const bob = await logIn(world.server, world.bob.person)
    const swallowing = (what: string) => `create or replace function swallow() returns trigger language plpgsql as
        $$ begin ${what} end $$;
      create or replace trigger swallow before insert on ledger_record for each row when (new.kind = 'revoked')
        execute function swallow()`
    await world.sql(swallowing('return new;'))
    expect(await outcome(revoke({ keyId: (await issue(bob)).keyId }))).toBe('done')
    const again = await logIn(world.server, world.bob.person)
    // As if the whole transaction had never been.
    await world.sql(`create function keep() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger keep before update on person_session for each row when (new.ended_at is not null)
        execute function keep();
      create trigger keep before insert on identity_change for each row execute function keep()`)
    await world.sql(swallowing('update ledger_head set size = size - 1; return null;'))
    expect(await outcome(revoke({ person: world.bob.person.identity }))).toBe('internal')
    expect(await issues(again)).toBe('internal')
    await world.tells(/record \d+ of the audit log is missing/)
  })

  it('has nothing signed in the place of another record', async () => {
    await world.server.kill()
    await world.sql(`drop trigger swallow on ledger_record; drop trigger keep on person_session;
      drop trigger keep on identity_change`)
    await world.server.restart()
    const bob = await logIn(world.server, world.bob.person)
    expect(await issues(bob)).toBe('done')
    await world.sql(`alter table ledger_head rename to real_head; create view ledger_head as select * from real_head;
      grant select, update on ledger_head to keyman_runtime;
      create function elsewhere() returns trigger language plpgsql as $$ begin new.size := 1; return new; end $$;
      create trigger elsewhere instead of update on ledger_head for each row execute function elsewhere();
      create trigger keep before insert on ledger_record for each row execute function keep()`)
    await issues(bob)
    await world.tells(/record 0 of the audit log is not what this server wrote: its own is not there/)
    expect(await issues(bob)).toBe('internal')
    await world.server.kill()
    await world.sql(
      `drop trigger keep on ledger_record; drop view ledger_head; alter table real_head rename to ledger_head`,
    )
    await world.server.restart()
    expect(await issues(await logIn(world.server, world.bob.person))).toBe('done')
  })

  it('puts no other name into a record: the server that wrote it stops issuing, and none starts; a trigger that changes nothing stops nobody', async () => {
    const lying = (change: string) => `create or replace function lie() returns trigger language plpgsql as
      $$ begin ${change} return new; end $$;
      create or replace trigger lie before insert on ledger_record for each row execute function lie()`
    await world.sql(lying(''))
    expect(await issues(world.alice)).toBe('done')
    await world.sql(lying(`new.record := replace(new.record, 'alice@', 'carol@');`))
    await issues(world.alice)
    await world.tells(/record \d+ of the audit log is not what this server wrote/)
    expect(await issues(world.alice)).toBe('internal')
    expect((await fetch(`${world.server.pagesUrl}/readyz`)).status).toBe(503)
    await world.server.kill()
    await expect(world.server.restart()).rejects.toThrow(/the seal of record \d+ of the audit log does not fit/)
  })
})
