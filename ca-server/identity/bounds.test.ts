import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { toHex, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import {
  as,
  at,
  enrol,
  type IdentityWorld,
  login,
  loginRequest,
  ORIGIN,
  openIdentityWorld,
  operator,
} from '#test/support/worlds/identity-world.ts'
import { recorded } from '#test/support/worlds/insert-rows.ts'
import type { Identity } from './port.ts'
import { sessionFact } from './records/facts.ts'
import { sha256 } from './records/secrets.ts'

/** What strangers, and somebody who was disabled, could cause without end. */

let world: IdentityWorld
let alice: Authenticator
const code = (expected: string) => expect.objectContaining({ code: expected })
beforeAll(async () => {
  world = await openIdentityWorld()
  await enrol(world, 'admin@example.com', { owner: true })
  alice = (await enrol(world, 'alice@example.com')).authenticator
})
afterAll(() => world.close())

it('sessions of one person, however many, keep nobody from disabling her', async () => {
  const { who } = await enrol(world, 'busy@example.com')
  const [startedAt, endsAt] = [new Date(), new Date(Date.now() + 3_600_000)]
  const sessions = Array.from({ length: 3000 }, (_, n) => ({
    id: `session_${String(n).padStart(16, '0')}`,
    cookieHash: sha256(utf8(String(n))),
  }))
  const facts = sessions.map(session => sessionFact({ ...session, person: who, device: 'browser', startedAt, endsAt }))
  await recorded(world, facts, t =>
    t.execute(
      `insert into person_session (id, kind, person, device, cookie_hash, started_at, ends_at, asserted_at, used_at)
       select id, 'browser', $1, 'browser', decode(hash, 'hex'), $3::timestamptz, $4::timestamptz, $3::timestamptz, $3::timestamptz
       from jsonb_to_recordset($2::jsonb) as s(id text, hash text)`,
      [
        who,
        JSON.stringify(sessions.map(({ id, cookieHash }) => ({ id, hash: toHex(cookieHash) }))),
        startedAt.toISOString(),
        endsAt.toISOString(),
      ],
    ),
  )
  await world.ledger.follow()
  const disabled = await world.identity.persons.disable(who, operator())
  expect(disabled.state).toBe('disabled')
  const records = await world.ledger.list({ limit: 100, kind: 'person-disabled' })
  expect(records.length).toBeGreaterThan(1)
  expect(JSON.parse(records[0]?.record ?? '').details).toEqual({ sessions: 3001 })
})

it('sign-ins of a disabled person, again and again, leave a few records; each is refused', async () => {
  const { authenticator, who } = await enrol(world, 'persistent@example.com')
  await world.identity.persons.disable(who, operator())
  const { signIns } = world.identity
  for (let n = 0; n < 12; n++) {
    const assertion = authenticator.get(await signIns.options())
    await expect(signIns.complete(assertion, at(`192.0.2.${n}`), undefined)).rejects.toEqual(code('denied'))
  }
  const denied = await world.ledger.list({ limit: 100, kind: 'login-denied', actor: 'persistent@example.com' })
  expect(denied).toHaveLength(5)
})

describe('rows that strangers cause', () => {
  const rows = (sql: string) => world.store.query(sql, [], z.object({ n: z.bigint() })).then(([row]) => Number(row?.n))
  const startFrom = async (identity: Identity, from: string) => {
    const { transaction } = await identity.logins.start(loginRequest(world).body, from)
    return transaction
  }
  const isThere = (id: string) =>
    world.identity.logins.show(id).then(
      () => true,
      () => false,
    )
  const insertMany = (many: number, by: string) =>
    world.store.execute(
      `insert into login_transaction (id, kind, state, ssh_key, client_spki, lifetime, device, started_from, proof,
         poll_interval, created_at, ends_at, begun_by)
       select 'login_' || $2::text || n, 'loopback', case n % 2 when 0 then 'waiting' else 'refused' end, '\\x00', '\\x00', 1, 'x',
         'x', 'proof' || $2::text || n, 2, $3::timestamptz, $3::timestamptz + interval '5 minutes', replace($2, '*', (n / 90)::text)
       from generate_series(1, $1::int) as n`,
      [many, by, world.clock.now.toISOString()],
    )

  it('are a hundred logins of one address, or /64, of which the oldest gives way; those of another stay', async () => {
    const identity = await world.again()
    const other = await startFrom(identity, '192.0.2.77')
    const first = await startFrom(identity, '2001:db8:0:9::1')
    await insertMany(99, '20010db800000009/64')
    expect(await isThere(first)).toBe(true)
    await startFrom(identity, '2001:db8:0:9::2')
    expect(await rows(`select count(*) as n from login_transaction where begun_by = '20010db800000009/64'`)).toBe(100)
    expect(await isThere(other)).toBe(true)
  })

  it('are ten thousand logins of all, of which those of whoever has most give way', async () => {
    const modest = await startFrom(world.identity, '192.0.2.78')
    await insertMany(12_000, 'flood*')
    const identity = await world.again()
    const next = await startFrom(identity, '192.0.2.79')
    expect(await rows(`select count(*) as n from login_transaction where state in ('waiting', 'refused')`)).toBe(10_000)
    expect(await Promise.all([modest, next].map(isThere))).toEqual([true, true])
    await world.store.execute(`delete from login_transaction where begun_by like 'flood%'`, [])
  })

  it('are twenty thousand ceremonies of signing in, of which the oldest give way', async () => {
    await world.store.execute(
      `insert into webauthn_challenge (challenge, purpose, subject, nonce, ends_at)
       select sha256(n::text::bytea), 'sign-in', 'pages', sha256(n::text::bytea), $1::timestamptz
       from generate_series(1, 21000) as n`,
      [world.clock.now.toISOString()],
    )
    const identity = await world.again()
    const options = await identity.signIns.options()
    expect(await rows(`select count(*) as n from webauthn_challenge where purpose = 'sign-in'`)).toBe(20_000)
    await identity.signIns.complete(alice.get(options), at(), undefined)
    await world.store.execute(`delete from webauthn_challenge where purpose = 'sign-in'`, [])
  })
})

it('are twenty actions of one session that wait for a touch, of which the oldest gives way', async () => {
  const admin = await enrol(world, 'asking@example.com', { owner: true })
  const { caller } = await login(world, admin.authenticator)
  world.pass(601)
  const asked: string[] = []
  for (let n = 0; n < 22; n++) {
    world.pass(1)
    const request = {
      action: 'person disable',
      mandated: () => false,
      request: `number ${n}`,
      shown: async () => [],
      from: 'x',
    }
    const refused = await world.identity.touches.require(caller, request, undefined).then(
      () => undefined,
      (error: unknown) => error,
    )
    asked.push(refused instanceof KeymanError ? (refused.transaction?.id ?? '') : '')
  }
  const shown = await Promise.all(
    asked.map(id =>
      world.identity.actions.show(id).then(
        () => true,
        () => false,
      ),
    ),
  )
  expect(shown).toEqual(asked.map((_, n) => n >= 2))
})

it('are twenty passkeys of one person', async () => {
  const { authenticator, who } = await enrol(world, 'collector@example.com')
  const { caller } = await world.identity.signIns.complete(
    authenticator.get(await world.identity.signIns.options()),
    at(),
    undefined,
  )
  const { passkeys } = world.identity
  const add = async (name: string) => {
    const registration = new Authenticator(ORIGIN).create(await passkeys.addOptions(caller))
    await passkeys.add(as(caller), { name, registration })
  }
  for (let n = 2; n <= 20; n++) await add(`number ${n}`)
  await expect(add('number 21')).rejects.toMatchObject({ message: expect.stringContaining('20') })
  expect(await passkeys.list(who)).toHaveLength(20)
})
