import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { askServer } from '#server/operator/operator.ts'
import { api } from '#shared/api/index.ts'
import { type ApiSession, beginLogin, consent, enrol, inviteAndEnrol, logIn } from '#test/support/people/api-person.ts'
import { requires } from '#test/support/requires.ts'
import { addHost, bodyOf, joinBody, joinHost, newKeys, outcome } from '#test/support/worlds/attack-world.ts'
import { type DatabaseWorld, isRevokedAt, openDatabaseWorld } from '#test/support/worlds/database-world.ts'

/** A database that keeps what a server wrote for later, or holds a transaction back until the world has gone on. */

describe.skipIf(!requires('postgresql'))('what a database keeps back', () => {
  let world: DatabaseWorld
  let mallory: ApiSession
  beforeEach(async () => {
    world = await openDatabaseWorld()
    mallory = await logIn(world.server, await inviteAndEnrol(world.server, world.alice, 'mallory@example.com'))
  })
  afterEach(() => world?.close())

  const grant = () =>
    call(world.alice.connection, api.grants.add, {
      body: bodyOf(api.grants.add, { who: 'mallory@example.com', login: 'deploy', hosts: { labels: { env: 'test' } } }),
    })
  const certificate = ({ connection, keys }: ApiSession) =>
    outcome(call(connection, api.ssh.issueUserCertificate, { body: { publicKey: keys.ssh.line } }))

  /** Has each row of these tables that is about to be written copied to where no rollback reaches it; then the change fails. */
  async function keepBack(tables: readonly string[], record: string): Promise<void> {
    await world.sql(`create function keep_back() returns trigger language plpgsql security definer as $$ begin
        execute format('copy (select %L) to %L', to_jsonb(new)::text, '${world.postgres.folder}/' || tg_table_name);
        if tg_table_name = 'ledger_record' then raise exception 'kept back' using errcode = '40001'; end if;
        return new; end $$`)
    for (const table of tables) {
      const which = table === 'ledger_record' ? `when (new.kind = '${record}')` : ''
      await world.sql(
        `create trigger keep_back before insert on ${table} for each row ${which} execute function keep_back()`,
      )
    }
  }
  /** Writes them; the record at the end of the log. */
  async function giveBack(tables: readonly string[]): Promise<void> {
    for (const table of tables) {
      const index = table === 'ledger_record' ? `|| jsonb_build_object('index', (select size from ledger_head))` : ''
      await world.sql(`drop trigger keep_back on ${table};
        insert into ${table} select * from jsonb_populate_record(null::${table},
          (select replace(pg_read_file('${world.postgres.folder}/${table}'), '\\\\', '\\')::jsonb ${index}))`)
    }
    await world.sql('update ledger_head set size = size + 1')
  }

  it('is void: a grant whose adding failed counts for nobody later; one that was added again, and taken away, is gone', async () => {
    const TABLES = ['access_grant', 'ledger_record']
    await keepBack(TABLES, 'grant-added')
    expect(await outcome(grant())).toBe('unavailable')
    const saidSo = () => world.sql(`select from ledger_record where kind = 'change-failed'`)
    await expect.poll(saidSo, { timeout: 5_000 }).toHaveLength(1)
    await world.sql(TABLES.map(table => `alter table ${table} disable trigger keep_back;`).join(''))
    const { id } = await grant()
    expect(await certificate(mallory)).toBe('done')
    await call(world.alice.connection, api.grants.remove, { params: { id } })
    expect(await certificate(mallory)).toBe('denied')
    await giveBack(TABLES)
    await expect.poll(() => certificate(mallory), { timeout: 5_000 }).not.toBe('denied')
    expect(await certificate(mallory)).toBe('internal')
    await world.tells(/record \d+ of the audit log/)
  })

  it('is void, too, at a place that the log came to later, though the database showed records before it, and has nobody say that it failed', async () => {
    const TABLES = ['access_grant', 'ledger_record']
    const AHEAD = 3
    await keepBack(TABLES, 'grant-added')
    // Of the change alone, and rolled back with it.
    await world.lie(
      'access_grant',
      'insert',
      `insert into ledger_record select (select size from ledger_head) + n, request_id || n, kind, part, actor, at, record, proof, seal
         from ledger_record, generate_series(0, ${AHEAD - 1}) as n where index = 0;
       update ledger_head set size = size + ${AHEAD}; return new;`,
    )
    await world.lie(
      'ledger_record',
      'insert',
      `raise exception 'refused' using errcode = '40001';`,
      `new.kind = 'change-failed'`,
    )
    const size = async () => Number((await world.sql('select size from ledger_head'))[0]?.size)
    // The record of the touch comes before.
    const place = (await size()) + 1 + AHEAD
    expect(await outcome(grant())).toBe('unavailable')
    while ((await size()) < place) expect(await certificate(mallory)).toBe('denied')
    for (const table of TABLES) await world.sql(`alter table ${table} disable trigger all`)
    await giveBack(TABLES)
    await expect.poll(() => certificate(mallory), { timeout: 5_000 }).not.toBe('denied')
    expect(await certificate(mallory)).toBe('internal')
    await world.tells(/record \d+ of the audit log .* was made to come after other records/)
  })

  it('is not even made where the database says that the log is longer than it shows; where it says what is so it is', async () => {
    await world.lie('access_grant', 'insert', 'update ledger_head set size = size + 3; return new;')
    expect(await outcome(grant())).toBe('internal')
    await world.tells(/the database says that the audit log has \d+ records, and shows \d+/)
    await world.sql('alter table access_grant disable trigger all')
    await grant()
    expect(await certificate(mallory)).toBe('done')
  })

  /** Whoever takes somebody's standing away waits for nobody who acts by it. */
  const letBoth = (person: string) =>
    world.lie('access_epoch', 'insert', `new.subject := 'lie'; return new;`, `new.subject = 'person:${person}'`)
  const alive = ({ connection }: ApiSession) => outcome(call(connection, api.session.show))
  const invite = (session: ApiSession, identity: string) =>
    call(session.connection, api.persons.invite, { body: bodyOf(api.persons.invite, { identity }) })
  const revoke = (person: string) =>
    call(world.alice.connection, api.revocations.create, {
      body: bodyOf(api.revocations.create, { target: { person }, wait: 0 }),
    })

  it('is not done in the name of somebody who was disabled meanwhile: an invitation of hers lets nobody in; one of before her end did', async () => {
    const pam = await logIn(
      world.server,
      await inviteAndEnrol(world.server, world.alice, 'pam@example.com', { owner: true }),
    )
    await enrol(world.server, (await invite(pam, 'friend@example.com')).link, 'friend@example.com')
    const inviting = await world.hold('enrolment_link', 'insert', `new.identity = 'sleeper@example.com'`)
    await letBoth('pam@example.com')
    const sleeper = invite(pam, 'sleeper@example.com')
    await inviting.until(1)
    await call(world.alice.connection, api.persons.disable, { params: { identity: 'pam@example.com' } })
    await inviting.letGo()
    const { link } = await sleeper
    await expect(enrol(world.server, link, 'sleeper@example.com')).rejects.toThrow()
    await world.tells(/record \d+ of the audit log .* was done in the session \w+, which had ended/)
  })

  it('is not done by the rights of an owner who was made none meanwhile: a grant of hers gives nothing; one before did', async () => {
    const pam = await logIn(
      world.server,
      await inviteAndEnrol(world.server, world.alice, 'pam@example.com', { owner: true }),
    )
    const grantOf = (login: string) =>
      call(pam.connection, api.grants.add, {
        body: bodyOf(api.grants.add, { who: 'mallory@example.com', login, hosts: { labels: { env: 'test' } } }),
      })
    const { id } = await grantOf('deploy')
    expect(await certificate(mallory)).toBe('done')
    await call(world.alice.connection, api.grants.remove, { params: { id } })
    const granting = await world.hold('access_grant', 'insert', `new.login = 'admin'`)
    await letBoth('pam@example.com')
    const granted = outcome(grantOf('admin'))
    await granting.until(1)
    await call(world.alice.connection, api.persons.change, {
      params: { identity: 'pam@example.com' },
      body: { owner: false },
    })
    await granting.letGo()
    await granted
    await expect.poll(() => certificate(mallory), { timeout: 5_000 }).not.toBe('denied')
    expect(await certificate(mallory)).toBe('internal')
    await world.tells(/record \d+ of the audit log .* was done in the session \w+, which had ended/)
  })

  it('brings no session back by a touch that was under way when it was ended; without its end it goes on', async () => {
    const rename = (session: ApiSession, name: string) =>
      call(session.connection, api.passkeys.list).then(({ passkeys: [own] }) =>
        call(session.connection, api.passkeys.rename, { params: { id: own?.id ?? '' }, body: { name } }),
      )
    await rename(world.bob, 'one')
    expect(await alive(world.bob)).toBe('done')
    const own = `new.session = '${world.bob.login.session.session}'`
    const touching = await world.hold('action_transaction', 'update', `new.state = 'confirmed' and ${own}`)
    await letBoth('bob@example.com')
    await world.lie('person_session', 'update', 'return null;', 'new.ended_at is not null')
    const touched = rename(world.bob, 'two').catch(() => undefined)
    await touching.until(1)
    await revoke('bob@example.com')
    expect(await alive(world.bob)).toBe('not-signed-in')
    await touching.letGo()
    await touched
    expect(await alive(world.bob)).not.toBe('done')
    await world.tells(/record \d+ of the audit log .* was done in the session \w+, which had ended/)
  })

  it('redeems no login that was consented to before all that its person had was ended', async () => {
    const redeem = async () => {
      const { started, codeVerifier } = await beginLogin(world.stranger)
      const code = await consent(world.server, world.bob.person, started.transaction)
      const body = { grant: 'code' as const, transaction: started.transaction, code, codeVerifier }
      return { done: () => call(world.stranger, api.login.token, { body, deadline: 20_000 }) }
    }
    expect((await (await redeem()).done()).state).toBe('done')
    const { done } = await redeem()
    const redeeming = await world.hold('person_session', 'insert', `new.person = 'bob@example.com'`)
    await letBoth('bob@example.com')
    await world.sql(`alter table login_transaction rename to real_login; create view login_transaction as
        select * from real_login where current_query() not like '%set "state" = $1 where ("login_transaction"."person"%';
      grant select, insert, update, delete on login_transaction to keyman_runtime`)
    const login = done().catch(() => undefined)
    await redeeming.until(1)
    await revoke('bob@example.com')
    await redeeming.letGo()
    expect((await login)?.state).not.toBe('done')
    expect(await alive(world.alice)).toBe('done')
  })

  it('lets no two in by one link, though the database says to both that they were the first; one it does', async () => {
    const adminLink = async (): Promise<string> =>
      Object(await askServer(world.server.dataFolder, { ask: 'admin-link', isNew: true })).link
    const lists = async (identity: string, link: string) =>
      outcome(call((await logIn(world.server, await enrol(world.server, link, identity))).connection, api.persons.list))
    expect(await lists('first@example.com', await adminLink())).toBe('done')
    const link = await adminLink()
    const enrolling = await world.hold('webauthn_challenge', 'delete', `old.purpose = 'enrolment'`)
    await world.lie('enrolment_link', 'update', 'new.used_at := null; return new;')
    const two = ['second@example.com', 'third@example.com'].map(identity =>
      lists(identity, link).catch((error: unknown) => String(error)),
    )
    await enrolling.until(2)
    await enrolling.letGo()
    expect((await Promise.all(two)).filter(each => each === 'done').length).toBeLessThan(2)
    await world.tells(/record \d+ of the audit log .* uses link:\S+, which is not there, or was used/)
  })

  it('lets no second host in by one join token; the first it does', async () => {
    const { secret } = await addHost(world, 'web1.keyman.localhost')
    const bodies = await Promise.all([joinBody(world.stranger, secret), joinBody(world.stranger, secret, newKeys())])
    const joining = await world.hold('access_epoch', 'insert', `new.subject = 'host:web1.keyman.localhost'`)
    await world.lie('join_token', 'update', 'new.used_at := null; return new;')
    await world.lie('host', 'update', 'new.joined_at := null; return new;')
    const two = bodies.map(body => call(world.stranger, api.hostSelf.join, { body }).catch(() => undefined))
    await joining.until(2)
    await joining.letGo()
    await Promise.all(two)
    await world.tells(/record \d+ of the audit log .* uses join-token:\S+, which is not there, or was used/)
    await expect(call(world.alice.connection, api.hosts.list)).rejects.toThrow()
  })

  it('gives no version of the KRL to two revocations: whoever has the one would never hear of the other', async () => {
    const host = await joinHost(world, 'web1.keyman.localhost')
    await grant()
    const { certificate } = await call(mallory.connection, api.ssh.issueUserCertificate, {
      body: { publicKey: mallory.keys.ssh.line },
    })
    expect(await isRevokedAt(world, host, certificate)).toBe(false)
    const revoking = await world.hold('revocation', 'insert', `new.target = 'person mallory@example.com'`)
    await world.sql(`alter table krl_state rename to real_krl; create view krl_state as select * from real_krl;
      grant select, update on krl_state to keyman_runtime;
      create function same() returns trigger language plpgsql as
        $$ begin new.version := (select version + 1 from real_krl); return new; end $$;
      create trigger same instead of update on krl_state for each row execute function same()`)
    const done = outcome(revoke('mallory@example.com'))
    await revoking.until(1)
    await call(world.bob.connection, api.revocations.own)
    await isRevokedAt(world, host, certificate)
    await revoking.letGo()
    await done
    // Said to be in force, it has to be.
    await world.tells(/record \d+ of the audit log .* says krl-version:\S+ \d+ after krl-version:\d+/)
    expect(await outcome(revoke('bob@example.com'))).toBe('internal')
  })
})
