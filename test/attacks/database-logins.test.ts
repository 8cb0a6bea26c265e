import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { toBase64Url } from '#shared/bytes.ts'
import {
  type ApiPerson,
  type ApiSession,
  beginLogin,
  confirm,
  inviteAndEnrol,
  logIn,
  page,
  pageCall,
  touchedPage,
  untouched,
} from '#test/support/people/api-person.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import { requires } from '#test/support/requires.ts'
import { bodyOf, outcome, refusal } from '#test/support/worlds/attack-world.ts'
import { type DatabaseWorld, hashOf, openDatabaseWorld } from '#test/support/worlds/database-world.ts'

/** Whoever may write any row of the database signs in as nobody else by it, and nobody comes back who has gone. */

describe.skipIf(!requires('postgresql'))('rows of the database that somebody wrote', () => {
  let world: DatabaseWorld
  let alice: ApiPerson
  let mallory: ApiPerson
  beforeAll(async () => {
    world = await openDatabaseWorld()
    alice = world.alice.person
    mallory = await inviteAndEnrol(world.server, world.alice, 'mallory@example.com')
  })
  afterAll(() => world?.close())

  /** The outcome of signing in, and of a login, by this authenticator. */
  const gets = async (person: ApiPerson, options: { userHandle?: string } = {}) => [
    await outcome(world.signIn(person, asked => person.authenticator.get(asked, options))).catch(String),
    await loginOutcome(person, options),
  ]
  async function loginOutcome(person: ApiPerson, options: { userHandle?: string }) {
    const { started } = await beginLogin(world.stranger)
    const params = { transaction: started.transaction }
    const asked = await page(world.server, api.login.consentOptions, { params })
    const body = { assertion: person.authenticator.get(asked.options, options) }
    const { problem } = await pageCall(world.server, api.login.consent, { params, body })
    return problem?.code ?? 'done'
  }
  const handleOf = ({ authenticator }: ApiPerson) => authenticator.credentials[0]?.userHandle ?? ''
  const REFUSED = ['Error: no cookie: denied', 'denied']
  const LET_IN = ['done', 'done']
  const credentialOf = ({ authenticator }: ApiPerson) => Buffer.from(authenticator.credentials[0]?.id ?? [])

  describe('a passkey', () => {
    it("of the attacker's own authenticator, written for Alice, signs nobody in as her; her own does", async () => {
      await world.sql(
        `insert into passkey select 'passkey_evil', 'alice@example.com', 'mine', $1, public_key, 0, transports, synced,
           backed_up, now(), null from passkey where person = 'mallory@example.com'`,
        [Buffer.from('another credential')],
      )
      // The same key under another credential ID, which the attacker's authenticator gives as it likes.
      const forged = { ...mallory, authenticator: mallory.authenticator }
      const [credential] = mallory.authenticator.credentials
      if (!credential) throw new Error('no credential')
      const evil = { ...credential, id: new Uint8Array(Buffer.from('another credential')) }
      const touch = (asked: Record<string, unknown>) =>
        forged.authenticator.get(asked, { userHandle: handleOf(alice) }, evil)
      expect(await outcome(world.signIn(mallory, touch)).catch(String)).toBe(REFUSED[0])
      await world.tells(/passkey:passkey_evil in the database is not what the audit log says/)
      await world.sql(`delete from passkey where id = 'passkey_evil'`)
      expect(await gets(alice)).toEqual(LET_IN)
    })

    it('that was moved to another person signs in as neither; moved back it does', async () => {
      const asAlice = { userHandle: handleOf(alice) }
      await world.sql(`update passkey set person = 'alice@example.com' where person = 'mallory@example.com'`)
      expect(await gets(mallory, asAlice)).toEqual(REFUSED)
      expect(await gets(mallory)).toEqual(REFUSED)
      await world.sql(`update passkey set person = 'mallory@example.com' where credential_id = $1`, [
        credentialOf(mallory),
      ])
      expect(await gets(mallory)).toEqual(LET_IN)
    })

    it('whose public key was exchanged signs nobody in; with its own key it does', async () => {
      const [own] = await world.sql(`select public_key from passkey where credential_id = $1`, [credentialOf(alice)])
      await world.sql(
        `update passkey set public_key = (select public_key from passkey where credential_id = $2) where credential_id = $1`,
        [credentialOf(alice), credentialOf(mallory)],
      )
      const [credential] = mallory.authenticator.credentials
      const [hers] = alice.authenticator.credentials
      if (!credential || !hers) throw new Error('no credential')
      const evil = { ...credential, id: hers.id }
      const touch = (asked: Record<string, unknown>) =>
        mallory.authenticator.get(asked, { userHandle: hers.userHandle }, evil)
      expect(await outcome(world.signIn(alice, touch)).catch(String)).toBe(REFUSED[0])
      expect(await gets(alice)).toEqual(REFUSED)
      await world.sql(`update passkey set public_key = $2 where credential_id = $1`, [
        credentialOf(alice),
        own?.public_key,
      ])
      expect(await gets(alice)).toEqual(LET_IN)
    })

    it('that was removed signs nobody in when its row is put back; one that was not removed does', async () => {
      const dan = await inviteAndEnrol(world.server, world.alice, 'dan@example.com')
      const cookie = await world.signIn(dan)
      const creation = await page(world.server, api.passkeys.addOptions, { cookie })
      const second = new Authenticator(world.server.pagesUrl)
      const body = { name: 'second', registration: second.create(creation.options) }
      expect((await touchedPage(world.server, dan, api.passkeys.add, { cookie, body })).answer.status).toBe(201)
      const own = await logIn(world.server, { ...dan, authenticator: second })
      await world.sql(`create table kept as select * from passkey where credential_id = $1`, [credentialOf(dan)])
      const { passkeys } = await call(own.connection, api.passkeys.list)
      const lost = passkeys.find(({ name }) => name !== 'second')?.id ?? ''
      await call(own.connection, api.passkeys.remove, { params: { id: lost } })
      await world.sql(`insert into passkey select * from kept`)
      expect(await gets(dan)).toEqual(REFUSED)
      expect(await gets({ ...dan, authenticator: second })).toEqual(LET_IN)
    })
  })

  it('the name of a passkey is the one that its owner gave, shown and recorded: two that were exchanged are neither', async () => {
    const eli = await inviteAndEnrol(world.server, world.alice, 'eli@example.com')
    let cookie: string | undefined = await world.signIn(eli)
    const { options } = await page(world.server, api.passkeys.addOptions, { cookie })
    const body = { name: 'lost', registration: new Authenticator(world.server.pagesUrl).create(options) }
    ;({ cookie } = await touchedPage(world.server, eli, api.passkeys.add, { cookie, body }))
    const names = async () => (await page(world.server, api.passkeys.list, { cookie })).passkeys.map(({ name }) => name)
    expect(await names()).toEqual(['test', 'lost'])
    const exchange = (one: string, other: string) =>
      world.sql(`update passkey set name = case name when '${one}' then '${other}' else '${one}' end
        where person = 'eli@example.com'`)
    await exchange('test', 'lost')
    expect(await names()).toEqual(['unknown: not as it was named', 'unknown: not as it was named'])
    const { passkeys } = await page(world.server, api.passkeys.list, { cookie })
    const params = { id: passkeys[0]?.id ?? '' }
    const { problem } = await pageCall(world.server, api.passkeys.remove, { cookie, params })
    const asked = { params: { transaction: problem?.transaction?.id ?? '' } }
    expect(JSON.stringify((await page(world.server, api.actions.show, asked)).shown)).toContain('unknown: not as')
    await exchange('test', 'lost')
    const renamed = { cookie, params, body: { name: 'mine' } }
    ;({ cookie } = await touchedPage(world.server, eli, api.passkeys.rename, renamed))
    expect(await names()).toEqual(['mine', 'lost'])
  })

  describe('a session', () => {
    it('is not made one of another person, nor a longer one, while its own person touches the passkey for it', async () => {
      const mona = await inviteAndEnrol(world.server, world.alice, 'mona@example.com')
      const touched = async () => {
        const cookie = await world.signIn(mona)
        const { options } = await page(world.server, api.passkeys.addOptions, { cookie })
        const registration = new Authenticator(world.server.pagesUrl).create(options)
        return (
          await touchedPage(world.server, mona, api.passkeys.add, { cookie, body: { name: 'more', registration } })
        ).cookie
      }
      expect(await world.seenAs(await touched())).toBe('mona@example.com')
      for (const change of [`new.person := 'alice@example.com'`, `new.ends_at := new.ends_at + interval '10 years'`]) {
        await world.sql(`create or replace function other() returns trigger language plpgsql as
            $$ begin ${change}; return new; end $$;
          create or replace trigger other before update on person_session for each row
            when (old.person = 'mona@example.com' and new.asserted_at > old.asserted_at) execute function other()`)
        expect(await world.seenAs(await touched())).toBe('not-signed-in')
      }
      await world.sql('drop trigger other on person_session')
      expect(await world.seenAs(await touched())).toBe('mona@example.com')
    })

    it('of a browser that somebody wrote, or whose cookie or person was changed, is nobody; its own cookie is', async () => {
      const cookie = await world.signIn(alice)
      expect(await world.seenAs(cookie)).toBe('alice@example.com')
      const mine = toBase64Url(new Uint8Array(32).fill(7))
      const columns = `kind, person, device, $1::bytea, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at, ended_at, passkey`
      await world.sql(
        `insert into person_session (id, kind, person, device, cookie_hash, ssh_key, client_spki, started_at, ends_at,
           asserted_at, used_at, ended_at, passkey)
         select 'session_evil', ${columns} from person_session where cookie_hash = $2`,
        [hashOf(mine), hashOf(cookie)],
      )
      expect(await world.seenAs(mine)).toBe('not-signed-in')
      await world.tells(/session:session_evil in the database is not what the audit log says/)
      await world.sql(`delete from person_session where id = 'session_evil'`)
      await world.sql(`update person_session set cookie_hash = $1 where cookie_hash = $2`, [
        hashOf(mine),
        hashOf(cookie),
      ])
      expect(await world.seenAs(mine)).toBe('not-signed-in')
      await world.sql(`update person_session set cookie_hash = $2 where cookie_hash = $1`, [
        hashOf(mine),
        hashOf(cookie),
      ])
      expect(await world.seenAs(cookie)).toBe('alice@example.com')
      const hers = await world.signIn(mallory)
      await world.sql(`update person_session set person = 'alice@example.com' where cookie_hash = $1`, [hashOf(hers)])
      expect(await world.seenAs(hers)).toBe('not-signed-in')
      await world.sql(`update person_session set person = 'mallory@example.com' where cookie_hash = $1`, [hashOf(hers)])
      expect(await world.seenAs(hers)).toBe('mallory@example.com')
    })

    it("under Alice's ID beside her own, with another cookie, is nobody; hers is Alice", async () => {
      const cookie = await world.signIn(alice)
      const mine = toBase64Url(new Uint8Array(32).fill(8))
      await world.sql(`alter table action_transaction drop constraint action_transaction_session_fkey;
        alter table mandate drop constraint mandate_session_fkey;
        alter table person_session drop constraint person_session_pkey`)
      await world.sql(
        `insert into person_session (id, kind, person, device, cookie_hash, ssh_key, client_spki, started_at, ends_at,
           asserted_at, used_at, ended_at, passkey)
         select id, kind, person, device, $1, ssh_key, client_spki, started_at, ends_at, asserted_at, used_at, ended_at, passkey
         from person_session where cookie_hash = $2`,
        [hashOf(mine), hashOf(cookie)],
      )
      expect(await world.seenAs(mine)).toBe('not-signed-in')
      await world.sql(`delete from person_session where cookie_hash = $1`, [hashOf(mine)])
      await world.sql(`alter table person_session add primary key (id)`)
      expect(await world.seenAs(cookie)).toBe('alice@example.com')
    })

    it('that was logged out is nobody when its row says that it goes on; one that was not is somebody', async () => {
      const cookie = await world.signIn(alice)
      const [out, on] = [await logIn(world.server, alice), await logIn(world.server, alice)]
      await call(out.connection, api.session.end)
      await pageCall(world.server, api.session.end, { cookie })
      await world.sql(`update person_session set ended_at = null`)
      expect(await world.seenAs(cookie)).toBe('not-signed-in')
      expect(await outcome(call(out.connection, api.session.show))).toBe('not-signed-in')
      await world.server.kill()
      await world.server.restart()
      expect(await world.seenAs(cookie)).toBe('not-signed-in')
      expect(await outcome(call(out.connection, api.session.show))).toBe('not-signed-in')
      expect(await outcome(call(on.connection, api.session.show))).toBe('done')
    })
  })

  it("is not renamed or removed by whom the database says that it belongs to, but by the log's", async () => {
    const [hers] = await world.sql(`select id from passkey where person = 'alice@example.com'`)
    const params = { id: String(hers?.id) }
    const session = await logIn(world.server, mallory)
    const rename = ({ connection }: ApiSession, name: string) =>
      outcome(call(connection, api.passkeys.rename, { params, body: { name } }))
    // To whoever asks for somebody's passkeys it is Mallory's, as is another.
    await world.sql(`alter table passkey rename to real_passkey;
      create view passkey as select id, case when current_query() ~ '"passkey"."person" = [$]1|set "name"|delete' then 'mallory@example.com' else person end as person,
        name, credential_id, public_key, counter, transports, synced, backed_up, created_at, last_used_at from real_passkey;
      create function done() returns trigger language plpgsql as $$ begin return old; end $$;
      create trigger done instead of update or delete on passkey for each row execute function done();
      grant select, insert, update, delete on passkey to keyman_runtime`)
    // Each connection of before is told once that the table is another.
    await expect.poll(() => rename(session, 'lost'), { timeout: 10_000 }).not.toBe('unavailable')
    expect(await rename(session, 'lost')).toBe('not-found')
    expect(await outcome(call(session.connection, api.passkeys.remove, { params }))).toBe('not-found')
    await world.sql('drop view passkey; alter table real_passkey rename to passkey')
    const own = await logIn(world.server, alice)
    await expect.poll(() => rename(own, 'mine'), { timeout: 10_000 }).toBe('done')
  })

  describe('an end', () => {
    it('of a mandate is the end, though the database says that it goes on; before it the mandate counts', async () => {
      const session = await logIn(world.server, alice)
      await call(session.connection, api.mandates.begin, { body: bodyOf(api.mandates.begin, { lifetime: 600 }) })
      const { confirm: _, ...untouched } = session.connection
      let n = 0
      const add = () =>
        outcome(
          call(untouched, api.teams.addMembers, {
            params: { name: `mandated${n++}` },
            body: bodyOf(api.teams.addMembers, { persons: ['mallory@example.com'] }),
          }),
        )
      // Always later than whatever it is compared with; the connections of before are told once that the table has changed.
      await world.sql(`create domain later as timestamptz;
        create function is_later(later, timestamptz) returns boolean language sql as 'select true';
        create operator > (leftarg = later, rightarg = timestamptz, function = is_later);
        alter table mandate alter column ends_at type later;
        select pg_terminate_backend(pid) from pg_stat_activity where usename = 'keyman_runtime'`)
      try {
        await expect.poll(add, { timeout: 10_000 }).toBe('done')
        world.setClock(601)
        expect(await add()).toBe('assertion-required')
      } finally {
        world.setClock(0)
        await world.sql('alter table mandate alter column ends_at type timestamptz')
      }
      await expect.poll(add, { timeout: 10_000 }).toBe('done')
    })

    it('of a session is the end, though a trigger keeps its row from it or ends another; those of others go on', async () => {
      const victim = await logIn(world.server, alice)
      const [row] = await world.sql(`select * from person_session where id = $1`, [victim.login.session.session])
      for (const swallow of [`return null`, `new.id := '${row?.id}'; return new`]) {
        const [out, cookie] = [await logIn(world.server, alice), await world.signIn(alice)]
        const hers = await logIn(world.server, mallory)
        const old = await world.signIn(alice)
        await world.sql(`alter table action_transaction drop constraint if exists action_transaction_session_fkey;
          alter table mandate drop constraint if exists mandate_session_fkey;
          alter table person_session drop constraint person_session_pkey;
          create table kept_session as select * from person_session;
          create function swallow() returns trigger language plpgsql as $$ begin ${swallow}; end $$;
          create trigger swallow before update on person_session for each row
            when (old.ended_at is null and new.ended_at is not null) execute function swallow()`)
        await call(out.connection, api.session.end)
        await call(hers.connection, api.revocations.own)
        await page(world.server, api.session.end, { cookie })
        const { options } = await page(world.server, api.signIn.options)
        const body = { assertion: alice.authenticator.get(options) }
        expect((await pageCall(world.server, api.signIn.complete, { body, cookie: old })).status).toBe(200)
        await world.sql(`drop trigger swallow on person_session; drop function swallow;
          delete from person_session where id in (select id from kept_session);
          insert into person_session select * from kept_session; drop table kept_session;
          alter table person_session add primary key (id)`)
        for (const { connection } of [out, hers])
          expect(await outcome(call(connection, api.session.show)), swallow).toBe('not-signed-in')
        expect([await world.seenAs(cookie), await world.seenAs(old)], swallow).toEqual([
          'not-signed-in',
          'not-signed-in',
        ])
        expect(await outcome(call(victim.connection, api.session.show)), swallow).toBe('done')
      }
    })
  })

  describe('a login', () => {
    const begun = async (person = alice) => {
      const { started, codeVerifier } = await beginLogin(world.stranger)
      const params = { transaction: started.transaction }
      const { options } = await page(world.server, api.login.consentOptions, { params })
      const assertion = person.authenticator.get(options)
      return { params, codeVerifier, assertion, options }
    }
    const consent = async ({ params, assertion }: Awaited<ReturnType<typeof begun>>) => {
      const { redirectTo } = await page(world.server, api.login.consent, { params, body: { assertion } })
      return new URL(redirectTo ?? '').searchParams.get('code') ?? ''
    }
    const redeem = (transaction: string, code: string, codeVerifier: string) =>
      outcome(call(world.stranger, api.login.token, { body: { grant: 'code', transaction, code, codeVerifier } }))

    it('that was redeemed or refused gives no session when its row is confirmed again; a new one does', async () => {
      const one = await begun()
      const code = await consent(one)
      const transaction = one.params.transaction
      expect(await redeem(transaction, code, one.codeVerifier)).toBe('done')
      const back = () => world.sql(`update login_transaction set state = 'confirmed' where id = $1`, [transaction])
      await back()
      expect(await redeem(transaction, code, one.codeVerifier)).toBe('expired')
      const fay = await inviteAndEnrol(world.server, world.alice, 'fay@example.com')
      const two = await begun(fay)
      const second = await consent(two)
      const own = await logIn(world.server, fay)
      await call(own.connection, api.revocations.own)
      await world.sql(`update login_transaction set state = 'confirmed' where id = $1`, [two.params.transaction])
      expect(await redeem(two.params.transaction, second, two.codeVerifier)).toBe('expired')
      const three = await begun()
      expect(await redeem(three.params.transaction, await consent(three), three.codeVerifier)).toBe('done')
    })

    it('that was consented to ends with all that its person had, though its row was hidden from that end; one of afterwards does not', async () => {
      const gus = await inviteAndEnrol(world.server, world.alice, 'gus@example.com')
      const own = await logIn(world.server, gus)
      const one = await begun(gus)
      const code = await consent(one)
      const { transaction } = one.params
      await world.sql(`update login_transaction set state = 'redeemed' where id = $1`, [transaction])
      await call(own.connection, api.revocations.own)
      await world.sql(`update login_transaction set state = 'confirmed' where id = $1`, [transaction])
      expect(await redeem(transaction, code, one.codeVerifier)).toBe('expired')
      const two = await begun(gus)
      expect(await redeem(two.params.transaction, await consent(two), two.codeVerifier)).toBe('done')
    })

    it('is recorded as it was consented to, or not at all: where, when or whose its row says otherwise is refused', async () => {
      for (const change of [
        `asserted_from = '192.0.2.66'`,
        `asserted_at = asserted_at - interval '10 seconds'`,
        `code_ends_at = code_ends_at + interval '10 seconds'`,
        `assertion = jsonb_set(assertion, '{ended}', '"0"')`,
      ]) {
        const one = await begun()
        const code = await consent(one)
        await world.sql(`update login_transaction set ${change} where id = $1`, [one.params.transaction])
        expect(await redeem(one.params.transaction, code, one.codeVerifier), change).toBe('denied')
      }
      const one = await begun()
      expect(await redeem(one.params.transaction, await consent(one), one.codeVerifier)).toBe('done')
    })

    it('is not allowed by an answer from the audit log whose challenge was put back; by a new one it is', async () => {
      const one = await begun()
      const copy = `create table if not exists kept_challenge as select * from webauthn_challenge`
      await world.sql(copy)
      await consent(one)
      await world.sql(`insert into webauthn_challenge select * from kept_challenge on conflict do nothing;
        update login_transaction set state = 'waiting'; drop table kept_challenge`)
      const body = { assertion: one.assertion }
      const again = await pageCall(world.server, api.login.consent, { params: one.params, body })
      // Not used until it is redeemed: then it stands in the log.
      const code = new URL(again.body.redirectTo ?? 'x:').searchParams.get('code') ?? ''
      expect(await redeem(one.params.transaction, code, one.codeVerifier)).toBe('done')
      expect(await redeem(one.params.transaction, code, one.codeVerifier)).toBe('expired')
    })

    it('signs no browser in by an answer from the audit log whose challenge was put back; a new answer does', async () => {
      const { options } = await page(world.server, api.signIn.options)
      const assertion = alice.authenticator.get(options)
      await world.sql(`create table kept_challenge as select * from webauthn_challenge`)
      const complete = () => pageCall(world.server, api.signIn.complete, { body: { assertion } })
      expect((await complete()).status).toBe(200)
      await world.sql(`insert into webauthn_challenge select * from kept_challenge on conflict do nothing;
        update webauthn_challenge set ends_at = now() + interval '1 day'; drop table kept_challenge`)
      expect((await complete()).problem?.code).toBe('denied')
      await world.signIn(alice)
    })

    it('is of the keys that it was begun with: keys, device or codes that were exchanged are refused; its own are not', async () => {
      const thief = await beginLogin(world.stranger)
      for (const change of [
        `ssh_key = t.ssh_key, client_spki = t.client_spki`,
        `code_challenge = t.code_challenge`,
        `lifetime = 5`,
        `device = 'another'`,
        `redirect_uri = 'http://127.0.0.1:6666/callback'`,
      ]) {
        const { started } = await beginLogin(world.stranger)
        const params = { transaction: started.transaction }
        expect((await pageCall(world.server, api.login.show, { params })).status).toBe(200)
        await world.sql(
          `update login_transaction l set ${change} from login_transaction t where l.id = $1 and t.id = $2`,
          [started.transaction, thief.started.transaction],
        )
        expect((await pageCall(world.server, api.login.show, { params })).problem?.code, change).toBe('not-found')
        expect((await pageCall(world.server, api.login.consentOptions, { params })).problem?.code).toBe('not-found')
      }
    })
  })

  it('a touch is for what its page has shown, though the row says another thing afterwards; so it gives that, and nothing else', async () => {
    const thief = untouched(world.alice.connection)
    const invitation = (identity: string, owner: boolean) => ({
      body: bodyOf(api.persons.invite, { identity, owner }),
    })
    const asked = async (input: ReturnType<typeof invitation>) =>
      (await refusal(call(thief, api.persons.invite, input))).transaction?.id ?? ''
    const evil = invitation('evil@example.com', true)
    const harmless = invitation('gina@example.com', false)
    const [wanted, transaction] = [await asked(evil), await asked(harmless)]
    const { shown } = await page(world.server, api.actions.show, { params: { transaction } })
    expect(JSON.stringify(shown)).toContain('gina@example.com')
    await world.sql('create table kept_action as select * from action_transaction')
    const swap = (from: string) =>
      world.sql(
        `update action_transaction a set (action, shown, request) = (b.action, b.shown, b.request)
           from kept_action b where a.id = $1 and b.id = $2`,
        [transaction, from],
      )
    await swap(wanted)
    await expect(confirm(world.server, alice, transaction)).rejects.toThrow('not-found')
    expect(await outcome(call(thief, api.persons.invite, { ...evil, touch: transaction }))).toBe('assertion-required')
    await swap(transaction)
    await confirm(world.server, alice, transaction)
    expect(await outcome(call(thief, api.persons.invite, { ...harmless, touch: transaction }))).toBe('done')
    await world.sql('drop table kept_action')
  })

  it('a touch is good for as long as its page has said, whatever the row says afterwards; in time it is', async () => {
    const thief = untouched(world.alice.connection)
    const invite = (identity: string, touch?: string) =>
      call(thief, api.persons.invite, { body: bodyOf(api.persons.invite, { identity }), ...(touch ? { touch } : {}) })
    const touched = async (identity: string) => {
      const transaction = (await refusal(invite(identity))).transaction?.id ?? ''
      await confirm(world.server, alice, transaction)
      return transaction
    }
    const [late, again] = [await touched('late@example.com'), await touched('soon@example.com')]
    await world.sql(`update action_transaction set ends_at = ends_at + interval '1 hour' where id = $1`, [late])
    expect(await outcome(invite('soon@example.com', again))).toBe('done')
    world.setClock(301)
    expect(await outcome(invite('late@example.com', late))).toBe('assertion-required')
    world.setClock(0)
  })

  it('an invitation or administrator link that somebody wrote, or changed, makes nobody; a real one does', async () => {
    const invite = (identity: string) =>
      call(world.alice.connection, api.persons.invite, { body: bodyOf(api.persons.invite, { identity }) })
    const open = async (secret: string) =>
      (await pageCall(world.server, api.enrolment.open, { body: { secret } })).problem?.code ?? 'done'
    const { link } = await invite('ed@example.com')
    const secret = new URL(link).hash.slice(1)
    const mine = toBase64Url(new Uint8Array(32).fill(9))
    await world.sql(
      `insert into enrolment_link select 'link_evil', $1, 'administrator', false, 'evil@example.com', true, true, 'operator',
         now(), now() + interval '1 day', null, null`,
      [hashOf(mine)],
    )
    expect(await open(mine)).toBe('expired')
    await world.tells(/link:link_evil in the database is not what the audit log says/)
    await world.sql(`update enrolment_link set administrator = true where secret_hash = $1`, [hashOf(secret)])
    expect(await open(secret)).toBe('expired')
    await world.sql(`update enrolment_link set administrator = false where secret_hash = $1`, [hashOf(secret)])
    expect(await open(secret)).toBe('done')
  })
})
