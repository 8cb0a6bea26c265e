import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Authenticator } from '#test/support/people/authenticator.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { requires } from '#test/support/requires.ts'
import {
  as,
  at,
  consented,
  enrol,
  type IdentityWorld,
  login,
  loginRequest,
  makeMachine,
  ORIGIN,
  openIdentityWorld,
  operator,
  person,
  prove,
} from '#test/support/worlds/identity-world.ts'

/** What PGlite cannot show, because it does one thing after another. */
describe.skipIf(!requires('postgresql'))('identity on PostgreSQL, all at once', () => {
  let cluster: TestPostgres
  let world: IdentityWorld
  let firstLink: string
  const on = { name: 'test', deadlineMs: 10_000 }

  beforeAll(async () => {
    cluster = await startPostgres({ fsync: false })
    world = await openIdentityWorld({ engine: 'postgresql', url: cluster.url, migrationUrl: cluster.migrationUrl })
    firstLink = (await world.identity.enrolment.firstOwnerLink('admin@example.com')) ?? ''
  })
  afterAll(async () => {
    await world.close()
    await cluster.close()
  })

  const outcomes = async (works: readonly Promise<unknown>[]) => {
    const settled = await Promise.allSettled(works)
    const codes = settled.flatMap(each =>
      each.status === 'rejected' ? [String(Reflect.get(Object(each.reason), 'code'))] : [],
    )
    return { done: settled.filter(({ status }) => status === 'fulfilled').length, codes }
  }
  const count = async (sql: string, ...parameters: string[]) =>
    (
      await world.store.query(`select count(*) as n ${sql}`, parameters, {
        parse: row => Number(Reflect.get(Object(row), 'n')),
      })
    )[0]

  it('one link makes one person, whoever comes with it', async () => {
    const { link } = await world.identity.enrolment.createAdminLink(undefined, { isNew: true }, operator())
    const names = ['admin@example.com', 'b@example.com', 'c@example.com', 'd@example.com']
    const { done, codes } = await outcomes(names.map(name => enrol(world, name, { link })))
    expect(done).toBe(1)
    expect(new Set(codes)).toEqual(new Set(['expired']))
    expect(await count('from person')).toBe(1)
  })

  it("the first owner's link is good no more once there is one who came another way", async () => {
    await expect(enrol(world, 'eve@example.com', { link: firstLink })).rejects.toMatchObject({ code: 'expired' })
    expect(await count('from person')).toBe(1)
  })

  it('one code gives one session, and one assertion counts once', async () => {
    const { authenticator } = await enrol(world, 'alice@example.com')
    const { token } = await consented(world, authenticator)
    const redeemed = await outcomes(Array.from({ length: 8 }, () => world.identity.logins.redeem(token, at())))
    expect(redeemed).toEqual({ done: 1, codes: Array.from({ length: 7 }, () => 'expired') })

    const { transaction } = await world.identity.logins.start(loginRequest(world).body, '192.0.2.9')
    const assertion = authenticator.get(await world.identity.logins.options(transaction))
    const consents = await outcomes(
      Array.from({ length: 8 }, () => world.identity.logins.consent(transaction, assertion, at())),
    )
    expect(consents.done).toBe(1)
  })

  it('an authenticator and its copy that count the same get in once', async () => {
    const counting = new Authenticator(ORIGIN, { counting: true })
    await enrol(world, 'counting@example.com', { authenticator: counting })
    for (let counter = 10; counter < 20; counter++) {
      const touch = async () => {
        const { transaction } = await world.identity.logins.start(loginRequest(world).body, '192.0.2.9')
        const options = await world.identity.logins.options(transaction)
        return () => world.identity.logins.consent(transaction, counting.get(options, { counter }), at())
      }
      const touches = [await touch(), await touch(), await touch()]
      expect(await outcomes(touches.map(consent => consent()))).toEqual({ done: 1, codes: ['denied', 'denied'] })
    }
  })

  it('revoking a person leaves no session of a login that was being redeemed', async () => {
    const { authenticator, who } = await enrol(world, 'bob@example.com')
    for (let round = 0; round < 40; round++) {
      const { token } = await consented(world, authenticator)
      const revoke = async () => {
        for (let i = round % 4; i > 0; i--) await world.store.ping()
        await world.store.transaction(on, async t => {
          await world.ledger.bumpEpochs(t, [`person:${who}`])
          await world.identity.endSessions(t, { person: who })
        })
      }
      await Promise.allSettled([world.identity.logins.redeem(token, at()), revoke()])
      expect(await count(`from person_session where person = $1 and ended_at is null`, who)).toBe(0)
    }
    await login(world, authenticator)
  })

  it('disabling a person leaves no session either, and no deadlock', async () => {
    const { authenticator, who } = await enrol(world, 'carol@example.com')
    for (let round = 0; round < 15; round++) {
      const { token } = await consented(world, authenticator)
      const [, disabled] = await Promise.allSettled([
        world.identity.logins.redeem(token, at()),
        world.identity.persons.disable(who, operator()),
      ])
      expect(disabled.status).toBe('fulfilled')
      expect(await count(`from person_session where person = $1 and ended_at is null`, who)).toBe(0)
      await world.identity.persons.enable(who, operator())
    }
  })

  it('two owners who disable each other leave one', async () => {
    const [first] = (await world.identity.persons.list()).filter(({ owner }) => owner)
    const second = await enrol(world, 'second@example.com', { owner: true })
    const both = [first?.identity ?? second.who, second.who]
    for (let round = 0; round < 10; round++) {
      expect(await outcomes(both.map(who => world.identity.persons.disable(who, operator())))).toEqual({
        done: 1,
        codes: ['conflict'],
      })
      for (const who of both) await world.identity.persons.enable(who, operator())
    }
  })

  it('of two passkeys that are removed at once one stays', async () => {
    const { passkeys } = world.identity
    const { caller, who } = await enrol(world, 'dave@example.com')
    const registration = new Authenticator(ORIGIN).create(await passkeys.addOptions(caller))
    await passkeys.add(as(caller), { name: 'second', registration })
    const own = await passkeys.list(who)
    const { done, codes } = await outcomes(own.map(({ id }) => passkeys.remove(as(caller), id)))
    // Where the one that this session was signed in by went first, the session does nothing more.
    expect([done, codes]).toEqual([1, [expect.stringMatching(/^(conflict|not-signed-in)$/)]])
    expect(await passkeys.list(who)).toHaveLength(1)
  })

  it('servers know the challenges of each other, and forget what another one ended without being told', async () => {
    const other = await world.again()
    await other.start()
    const machine = makeMachine()
    const parts = { purpose: 'login', sshPublicKey: machine.ssh.publicKey, clientSpki: machine.client.spki } as const
    expect(other.proofs.checkBoth({ ...parts, proof: prove(machine, world.identity.proofs.challenge()) })).toBeTruthy()
    await other.stop()
  })

  it("the server's own role deletes no person and rewrites no RP ID", async () => {
    for (const statement of [
      'delete from person',
      `update relying_party set rp_id = 'evil.test'`,
      'delete from enrolment_link',
    ])
      await expect(world.store.execute(statement, [])).rejects.toMatchObject({ code: '42501' })
    expect((await world.identity.persons.show(person('alice@example.com'))).state).toBe('active')
  })

  // A clock is ahead, or a transaction is long: what is over for whoever ends it is in use for another.
  it.each(['enrolment_link', 'mandate'] as const)(
    'whoever ends %s waits for who uses it at this moment, though by the clock it is over',
    async table => {
      await enrol(world, `other-${table.replace('_', '-')}@example.com`, { owner: true })
      const { authenticator } = await enrol(world, `ends-${table.replace('_', '-')}@example.com`, {
        owner: true,
      })
      const { caller } = await login(world, authenticator)
      const by = as(caller, 'role')
      if (table === 'mandate') await world.identity.touches.beginMandate(by, 600)
      else
        await world.identity.enrolment.invite(
          { identity: person('guest@example.com'), owner: false, lifetime: 600 },
          by,
        )
      const own = table === 'mandate' ? `session = '${caller.session}'` : `created_by = '${caller.identity}'`
      await world.store.execute(`update ${table} set ends_at = now() - interval '1 second' where ${own}`, [])
      const [taken, using] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
      const used = world.store.transaction(on, async t => {
        const uses =
          table === 'mandate'
            ? `select from mandate where ${own} for share`
            : `update ${table} set used_at = now() where ${own}`
        await t.execute(uses, [])
        taken.resolve()
        await using.promise
      })
      await taken.promise
      const ended =
        table === 'mandate'
          ? world.identity.touches.endMandate(by)
          : world.identity.persons.disable(caller.identity, operator())
      const waiting = () => count(`from pg_stat_activity where wait_event_type = 'Lock' and query like '%${table}%'`)
      await expect
        .poll(waiting, { timeout: 5_000 })
        .toBeGreaterThan(0)
        .finally(() => using.resolve())
      await Promise.all([used, ended])
    },
  )
})
