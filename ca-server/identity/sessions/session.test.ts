import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { toBase64Url } from '#shared/bytes.ts'
import { isKeyId } from '#shared/names.ts'
import { toPem } from '#shared/x509/index.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import {
  as,
  at,
  clientCertificate,
  enrol,
  type IdentityWorld,
  login,
  makeMachine,
  makeRoot,
  ORIGIN,
  openIdentityWorld,
  operator,
  person,
  random,
  stepUpOf,
} from '#test/support/worlds/identity-world.ts'
import type { Caller, HostCaller, MachineCaller } from '../index.ts'
import { sessionFact } from '../records/facts.ts'
import { insertSession } from '../records/session-records.ts'

describe('whoever is calling', () => {
  let world: IdentityWorld
  let admin: Awaited<ReturnType<typeof enrol>>
  let alice: Authenticator
  const hostSpki = makeMachine().client.spki
  const retired = makeRoot()
  const roots = { pem: [] as string[] }
  const code = (expected: string) => expect.objectContaining({ code: expected })
  const call = async (der: Uint8Array, authorized = true): Promise<Caller> =>
    world.identity.callerFromClientCertificate(der, authorized)
  const on = { name: 'test', deadlineMs: 5000 }

  beforeAll(async () => {
    world = await openIdentityWorld(undefined, {
      machineRoots: () => roots.pem,
      resolveHost: (name, spki) =>
        name === 'web1.example.com' && toBase64Url(spki) === toBase64Url(hostSpki)
          ? { epochs: [{ subject: `host:${name}`, epoch: 1n }] }
          : undefined,
    })
    roots.pem = [world.root.pem]
    admin = await enrol(world, 'admin@example.com', { owner: true })
    alice = (await enrol(world, 'alice@example.com')).authenticator
  })
  afterAll(() => world.close())

  describe('by a client certificate', () => {
    let caller: MachineCaller
    beforeEach(async () => {
      caller = (await login(world, alice)).caller
    })

    it('is the person of a living session with this very key', async () => {
      expect(await call(clientCertificate(world, caller))).toEqual(caller)
    })

    it('is known at once, without the database, from the second request on', async () => {
      const der = clientCertificate(world, caller)
      await call(der)
      expect(world.identity.callerFromClientCertificate(der, true)).not.toBeInstanceOf(Promise)
    })

    it('is known by a session ID that leaves room for the longest identity in a key ID', () => {
      expect(isKeyId(`${'a'.repeat(90)}/passkey/${caller.session}`.replace('a/', '@/'))).toBe(true)
    })

    it('is refused with a chain that the handshake did not accept, or by another authority', async () => {
      const der = clientCertificate(world, caller)
      await expect(call(der, false)).rejects.toEqual(code('not-signed-in'))
      await expect(call(clientCertificate(world, caller, { root: retired }))).rejects.toEqual(code('not-signed-in'))
      expect(await call(der)).toEqual(caller)
    })

    it('is refused from the moment on that its authority is not trusted any more, on an open connection too', async () => {
      roots.pem = [world.root.pem, retired.pem]
      const der = clientCertificate(world, caller, { root: retired })
      expect(await call(der)).toEqual(caller)
      roots.pem = [world.root.pem]
      await expect(call(der)).rejects.toEqual(code('not-signed-in'))
    })

    it('is refused before its not-before and after its not-after, on an open connection too', async () => {
      const now = world.clock.now.getTime()
      const der = clientCertificate(world, caller, {
        notBefore: new Date(now + 10_000),
        notAfter: new Date(now + 60_000),
      })
      await expect(call(der)).rejects.toEqual(code('not-signed-in'))
      world.pass(11)
      expect(await call(der)).toMatchObject({ session: caller.session })
      world.pass(50)
      await expect(call(der)).rejects.toEqual(code('not-signed-in'))
    })

    it('is refused for another key than the session has, or under another name', async () => {
      const other = await login(world, admin.authenticator)
      const uri = (path: string) => `keyman://${path}`
      for (const change of [
        { spki: makeMachine().client.spki },
        { uri: uri(`acme/person/admin@example.com/session/${caller.session}`) },
        { uri: uri(`acme/person/alice@example.com/session/${other.caller.session}`) },
        { uri: uri(`other/person/alice@example.com/session/${caller.session}`) },
        { uri: uri(`acme/host/web1.example.com`) },
      ])
        await expect(call(clientCertificate(world, caller, change))).rejects.toEqual(code('not-signed-in'))
    })

    it('is refused with what is no certificate, and with the root itself', async () => {
      for (const der of [new Uint8Array(), random(200)]) await expect(call(der)).rejects.toEqual(code('not-signed-in'))
      const pem = toPem(clientCertificate(world, caller), 'CERTIFICATE')
      expect(pem).toContain('BEGIN CERTIFICATE')
    })

    it('is refused once the session has been ended, at once here and within a second elsewhere', async () => {
      const elsewhere = await world.again()
      await elsewhere.start()
      const der = clientCertificate(world, caller)
      await call(der)
      await elsewhere.callerFromClientCertificate(der, true)
      await world.store.transaction(on, t => world.identity.endSessions(t, { session: caller.session }))
      await world.identity.refresh()
      await expect(call(der)).rejects.toEqual(code('not-signed-in'))
      // What each server does every second.
      await elsewhere.refresh()
      await expect(async () => elsewhere.callerFromClientCertificate(der, true)).rejects.toEqual(code('not-signed-in'))
      await elsewhere.stop()
    })

    it('is refused on the first request after a restart, where the session was ended before', async () => {
      await world.store.transaction(on, t => world.identity.endSessions(t, { session: caller.session }))
      const restarted = await world.again()
      const der = clientCertificate(world, caller)
      await expect(async () => restarted.callerFromClientCertificate(der, true)).rejects.toEqual(code('unavailable'))
      await restarted.start()
      await expect(async () => restarted.callerFromClientCertificate(der, true)).rejects.toEqual(code('not-signed-in'))
      await restarted.stop()
    })

    it('is refused where the server has not heard for five seconds what has ended', async () => {
      const der = clientCertificate(world, caller)
      await world.identity.refresh()
      world.clock.monotonic += 4_900
      expect(await call(der)).toMatchObject({ session: caller.session })
      world.clock.monotonic += 200
      await expect(call(der)).rejects.toEqual(code('unavailable'))
      await world.identity.refresh()
      expect(await call(der)).toMatchObject({ session: caller.session })
    })

    it('is an owner no longer than the database says', async () => {
      const der = clientCertificate(world, caller)
      expect(await call(der)).toMatchObject({ owner: false })
      await world.identity.persons.change(person('alice@example.com'), { owner: true }, operator())
      expect(await call(der)).toMatchObject({ owner: true })
    })

    it('is a host where the rooms above know it by this name and key', async () => {
      const uri = 'keyman://acme/host/web1.example.com'
      const host = await call(clientCertificate(world, caller, { uri, spki: hostSpki }))
      expect(host).toMatchObject({
        kind: 'host',
        name: 'web1.example.com',
        epochs: [{ subject: 'host:web1.example.com' }],
      })
      expect(await world.identity.reload(host as HostCaller)).toEqual(host)
      const other = 'keyman://acme/host/web2.example.com'
      await expect(call(clientCertificate(world, caller, { uri: other, spki: hostSpki }))).rejects.toEqual(
        code('not-signed-in'),
      )
    })

    it('is read anew on demand, with newer epochs', async () => {
      await world.store.transaction(on, t => world.ledger.bumpEpochs(t, [`session:${caller.session}`]))
      const reloaded = await world.identity.reload(caller)
      const epoch = (of: MachineCaller) => of.epochs.find(({ subject }) => subject.startsWith('session:'))?.epoch ?? 0n
      expect(epoch(reloaded)).toBe(epoch(caller) + 1n)
    })
  })

  describe('by a cookie', () => {
    const signIn = async (cookie?: string) =>
      world.identity.signIns.complete(alice.get(await world.identity.signIns.options()), at(), cookie)

    it('is the person who signed in, with a cookie that is new each time: a planted one is worth nothing', async () => {
      const first = await signIn()
      expect(await world.identity.callerFromCookie(first.cookie)).toMatchObject({
        identity: 'alice@example.com',
        via: 'browser',
      })
      const second = await signIn(first.cookie)
      expect(second.cookie).not.toBe(first.cookie)
      await expect(world.identity.callerFromCookie(first.cookie)).rejects.toEqual(code('not-signed-in'))
      await world.identity.callerFromCookie(second.cookie)
    })

    it('is nobody with a cookie that is none', async () => {
      for (const cookie of ['', 'x', toBase64Url(random(32)), "' or 1=1 --"])
        await expect(world.identity.callerFromCookie(cookie)).rejects.toEqual(code('not-signed-in'))
    })

    it('is nobody after an hour without use, and after twelve hours in any case', async () => {
      const idle = await signIn()
      world.pass(3601)
      await expect(world.identity.callerFromCookie(idle.cookie)).rejects.toEqual(code('not-signed-in'))
      const used = await signIn()
      for (let hour = 0; hour < 12; hour++) {
        world.pass(3590)
        await world.identity.callerFromCookie(used.cookie)
      }
      world.pass(200)
      await expect(world.identity.callerFromCookie(used.cookie)).rejects.toEqual(code('not-signed-in'))
    })

    it('is nobody after signing out, and only that browser', async () => {
      const [one, two] = [await signIn(), await signIn()]
      await world.identity.signIns.end(as(one.caller))
      await expect(world.identity.callerFromCookie(one.cookie)).rejects.toEqual(code('not-signed-in'))
      expect(await world.identity.describe(await world.identity.callerFromCookie(two.cookie))).toMatchObject({
        person: 'alice@example.com',
        organisation: 'acme',
      })
    })

    it('may not use a sign-in twice', async () => {
      const assertion = alice.get(await world.identity.signIns.options())
      await world.identity.signIns.complete(assertion, at(), undefined)
      await expect(world.identity.signIns.complete(assertion, at(), undefined)).rejects.toEqual(code('denied'))
    })
  })

  describe('who wants to do something sensitive', () => {
    const about = (request = 'POST /v1/x', shown = 'alice@example.com') => ({
      action: 'grant add',
      mandated: () => true,
      request,
      shown: async () => [{ name: 'To', value: shown }],
      from: '192.0.2.9',
    })
    const require = (caller: Caller, asked = about(), given?: string) =>
      world.identity.touches.require(caller, asked, given)
    const confirm = async (id: string, authenticator: Authenticator, cookie?: string) =>
      world.identity.actions.confirm(id, authenticator.get(await world.identity.actions.options(id)), at(), cookie)
    const signedIn = async () => (await login(world, admin.authenticator)).caller
    /** A change by that touch, as a room makes it. */
    const act = async (caller: MachineCaller, given: string, asked = about()) => {
      const consented = await require(caller, asked, given)
      if ('answer' in consented) return consented.answer
      const by = { ...as(caller, 'role', consented.consent) }
      await world.identity.act(by, { name: 'test' }, async t => {
        await world.ledger.appendIn(t, [{ ...by, kind: 'grant-added', target: 'test' }])
      })
      await world.identity.touches.keepAnswer(consented.consent.id, { done: by.requestId })
      return undefined
    }

    it('may not by the touch of the login, however short a while ago', async () => {
      await expect(require(await signedIn())).rejects.toMatchObject({
        code: 'assertion-required',
        transaction: { url: expect.stringMatching(/^https:\/\/keyman\.example\.com\/confirm\/action_/) },
      })
    })

    it('is shown action, every line, device and client key, and may once after confirming', async () => {
      const caller = await signedIn()
      const id = await stepUpOf(require(caller))
      expect(await world.identity.actions.show(id)).toMatchObject({
        person: 'admin@example.com',
        action: 'grant add',
        shown: [{ name: 'To', value: 'alice@example.com' }],
        device: 'laptop',
        from: '192.0.2.9',
        clientFingerprint: caller.clientFingerprint,
        state: 'waiting',
      })
      expect(await stepUpOf(require(caller, about(), id))).toBe(id)
      expect((await confirm(id, admin.authenticator)).transaction.state).toBe('confirmed')
      expect(await act(caller, id)).toBe(undefined)
      const [record] = await world.ledger.list({ limit: 1, kind: 'grant-added' })
      expect(JSON.parse(record?.record ?? '{}')).toMatchObject({ actor: { identity: admin.who, consent: id } })
      expect((await world.identity.actions.show(id)).state).toBe('used')
    })

    it('gets the first answer for the same request with the same touch, and nothing is done twice', async () => {
      const caller = await signedIn()
      const id = await stepUpOf(require(caller))
      await confirm(id, admin.authenticator)
      await act(caller, id)
      const before = (await world.ledger.list({ limit: 1 })).at(-1)?.index
      expect(await act(caller, id)).toEqual({ done: expect.stringMatching(/^req_/) })
      expect((await world.ledger.list({ limit: 1 })).at(-1)?.index).toBe(before)
      // And nobody else does, nor any other request.
      const other = await signedIn()
      await stepUpOf(require(other, about(), id))
      await stepUpOf(require(caller, about('POST /v1/y'), id))
    })

    it('is asked anew where what is shown has changed since, and is refused where it changes at this moment', async () => {
      const caller = await signedIn()
      const id = await stepUpOf(require(caller))
      await confirm(id, admin.authenticator)
      expect(await stepUpOf(require(caller, about(undefined, 'bob@example.com'), id))).not.toBe(id)
      let value = 'alice@example.com'
      const moving = { ...about(), shown: async () => [{ name: 'To', value }] }
      const consented = await require(caller, moving, id)
      if (!('consent' in consented)) throw new Error('no consent')
      value = 'bob@example.com'
      const by = as(caller, 'role', consented.consent)
      const acting = () => world.identity.act(by, { name: 'test' }, async () => 'done')
      await expect(acting()).rejects.toEqual(code('conflict'))
      value = 'alice@example.com'
      expect(await acting()).toBe('done')
      await expect(acting()).rejects.toEqual(code('conflict'))
    })

    it('changes nothing but its session by confirming, and says so to whoever follows persons', async () => {
      const caller = await signedIn()
      const told: string[] = []
      const deaf = await world.store.listen('identity', kind => told.push(kind))
      await confirm(await stepUpOf(require(caller)), admin.authenticator)
      await expect.poll(() => told).toEqual(['session'])
      await deaf()
    })

    it('confirms for one session and client key alone', async () => {
      const [one, two] = [await signedIn(), await signedIn()]
      const id = await stepUpOf(require(one))
      await confirm(id, admin.authenticator)
      expect(await stepUpOf(require(two, about(), id))).not.toBe(id)
      expect(await require(one, about(), id)).toHaveProperty('consent')
    })

    it('is asked by one transaction, however often it tries', async () => {
      const caller = await signedIn()
      expect(await stepUpOf(require(caller))).toBe(await stepUpOf(require(caller)))
      expect(await stepUpOf(require(caller))).not.toBe(await stepUpOf(require(caller, about('other'))))
    })

    it('is refused what is too long to be shown', async () => {
      const caller = await signedIn()
      await expect(require(caller, about('long', 'x'.repeat(16_000)))).rejects.toEqual(code('too-large'))
      await stepUpOf(require(caller, about('long', 'x'.repeat(15_900))))
    })

    it("cannot use another person's passkey, an assertion for another transaction, or the same twice", async () => {
      const caller = await signedIn()
      const [id, other] = [await stepUpOf(require(caller)), await stepUpOf(require(caller, about('other')))]
      await expect(confirm(id, alice)).rejects.toEqual(code('denied'))
      const { actions } = world.identity
      const assertion = admin.authenticator.get(await actions.options(id))
      await expect(actions.confirm(other, assertion, at(), undefined)).rejects.toEqual(code('denied'))
      await actions.confirm(id, assertion, at(), undefined)
      await expect(actions.confirm(id, assertion, at(), undefined)).rejects.toEqual(code('expired'))
      await expect(actions.confirm(other, assertion, at(), undefined)).rejects.toEqual(code('denied'))
    })

    it('signs exactly what is shown: an action, request or line that was swapped before or after the options is refused; what was not is confirmed', async () => {
      const caller = await signedIn()
      const { actions } = world.identity
      const changes = [
        `action = 'other'`,
        `shown = '[["To","eve@example.com"]]'`,
        `request = sha256('other')`,
        `asked_from = '192.0.2.99'`,
        `ends_at = ends_at + interval '1 hour'`,
      ]
      for (const change of changes) {
        const id = await stepUpOf(require(caller, about(change)))
        const assertion = admin.authenticator.get(await actions.options(id))
        await world.store.execute(`create temporary table kept_action as select * from action_transaction`, [])
        await world.store.execute(`update action_transaction set ${change} where id = $1`, [id])
        await expect(actions.confirm(id, assertion, at(), undefined), change).rejects.toEqual(code('not-found'))
        await expect(actions.options(id), change).rejects.toEqual(code('not-found'))
        await expect(actions.show(id), change).rejects.toEqual(code('not-found'))
        await world.store.execute(
          `update action_transaction a set (action, shown, request, asked_from, ends_at) =
             (k.action, k.shown, k.request, k.asked_from, k.ends_at) from kept_action k where a.id = k.id and a.id = $1`,
          [id],
        )
        await world.store.execute('drop table kept_action', [])
        await confirm(id, admin.authenticator)
      }
    })

    it('may say no, and then nothing is confirmed; and five minutes later it is too late', async () => {
      const caller = await signedIn()
      const refused = await stepUpOf(require(caller))
      expect(await world.identity.actions.refuse(refused)).toMatchObject({ state: 'refused' })
      await expect(confirm(refused, admin.authenticator)).rejects.toEqual(code('expired'))
      const late = await stepUpOf(require(caller))
      world.pass(301)
      await expect(world.identity.actions.show(late)).rejects.toEqual(code('expired'))
      await expect(confirm(late, admin.authenticator)).rejects.toEqual(code('expired'))
      const unused = await stepUpOf(require(caller))
      await confirm(unused, admin.authenticator)
      world.pass(301)
      await stepUpOf(require(caller, about(), unused))
    })

    it('in a browser confirms in that browser, whose cookie then changes', async () => {
      const { signIns } = world.identity
      const browser = await signIns.complete(admin.authenticator.get(await signIns.options()), at(), undefined)
      const id = await stepUpOf(require(browser.caller))
      await expect(confirm(id, admin.authenticator)).rejects.toEqual(code('denied'))
      await expect(confirm(id, admin.authenticator, toBase64Url(random(32)))).rejects.toEqual(code('denied'))
      const { cookie = '' } = await confirm(id, admin.authenticator, browser.cookie)
      await expect(world.identity.callerFromCookie(browser.cookie)).rejects.toEqual(code('not-signed-in'))
      expect(await require(await world.identity.callerFromCookie(cookie), about(), id)).toHaveProperty('consent')
    })

    it('leaves a record with the assertion and all that was shown', async () => {
      const caller = await signedIn()
      const id = await stepUpOf(require(caller))
      await confirm(id, admin.authenticator)
      const [stored] = await world.ledger.list({ limit: 1, kind: 'assertion' })
      expect(JSON.parse(stored?.record ?? '{}')).toMatchObject({
        actor: { identity: 'admin@example.com', session: caller.session },
        target: id,
        details: {
          action: 'grant add',
          assertion: { signature: expect.any(String) },
          challenge: { device: 'laptop', session: caller.session, shown: '[["To","alice@example.com"]]' },
        },
      })
    })

    it('gets nothing by a touch or a mandate that somebody wrote into the database; by those that were given it does', async () => {
      const caller = await signedIn()
      const id = await stepUpOf(require(caller))
      await world.store.execute(`update action_transaction set state = 'confirmed' where id = $1`, [id])
      await stepUpOf(require(caller, about(), id))
      // One that was confirmed, for another request than it was confirmed for.
      const other = await stepUpOf(require(caller, about('POST /v1/other')))
      await confirm(other, admin.authenticator)
      expect(await require(caller, about('POST /v1/other'), other)).toHaveProperty('consent')
      await world.store.execute(
        `update action_transaction set request = (select request from action_transaction where id = $1) where id = $2`,
        [id, other],
      )
      await stepUpOf(require(caller, about(), other))
      await world.store.execute(
        `insert into mandate (id, session, begun_at, ends_at) values ('mandate_byhand', $1, $2::timestamptz, $3::timestamptz)`,
        [caller.session, world.clock.now.toISOString(), new Date(world.clock.now.getTime() + 600_000).toISOString()],
      )
      await stepUpOf(require(caller))
      // Nor is one longer than it was given for, nor another session's.
      const given = await world.identity.touches.beginMandate(as(caller, 'role'), 600)
      await world.store.execute(`delete from mandate where id = 'mandate_byhand'`, []).catch(() => undefined)
      await world.store.execute(`update mandate set ended_at = ends_at where id = 'mandate_byhand'`, [])
      expect(await require(caller)).toMatchObject({ consent: { id: given.id } })
      await world.store.execute(`update mandate set ends_at = ends_at + interval '1 day' where id = $1`, [given.id])
      await stepUpOf(require(caller))
    })

    it('is used once, though somebody writes into the database that it was not used', async () => {
      const caller = await signedIn()
      const id = await stepUpOf(require(caller))
      await confirm(id, admin.authenticator)
      const use = async () => {
        const consented = await require(caller, about(), id)
        if (!('consent' in consented)) throw new Error('no consent')
        return world.identity.act(as(caller, 'role', consented.consent), { name: 'test' }, t =>
          world.ledger.appendIn(t, [{ ...as(caller, 'role', consented.consent), kind: 'grant-added' }]),
        )
      }
      await use()
      await world.store.execute(`update action_transaction set state = 'confirmed', used_by = null where id = $1`, [id])
      await stepUpOf(require(caller, about(), id))
    })

    it('was not used for what somebody writes into the database that it was used for: another is asked for', async () => {
      const caller = await signedIn()
      const id = await stepUpOf(require(caller))
      await confirm(id, admin.authenticator)
      await world.store.execute(`update action_transaction set state = 'used', used_by = 'req_1' where id = $1`, [id])
      await stepUpOf(require(caller, about(), id))
      await world.store.execute(`update action_transaction set state = 'confirmed', used_by = null where id = $1`, [id])
      expect(await require(caller, about(), id)).toHaveProperty('consent')
    })

    it('gets nothing by a touch whose passkey was removed, or whose person was disabled, before it was used', async () => {
      const { who, authenticator } = await enrol(world, 'second@example.com', { owner: true })
      const { caller } = await login(world, authenticator)
      const use = async (asked: ReturnType<typeof about>) => {
        const id = await stepUpOf(require(caller, asked))
        await confirm(id, authenticator)
        const consented = await require(caller, asked, id)
        if (!('consent' in consented)) throw new Error('no consent')
        const by = as(caller, 'role', consented.consent)
        return () => world.identity.act(by, { name: 'test' }, async () => 'done')
      }
      const [before, removed, after] = [await use(about('one')), await use(about('two')), await use(about('three'))]
      expect(await before()).toBe('done')
      // Removed in this very session, which goes on and does nothing more until another passkey is touched in it.
      const { passkeys, signIns } = world.identity
      const browser = await signIns.complete(authenticator.get(await signIns.options()), at(), undefined)
      const other = new Authenticator(ORIGIN)
      const registration = other.create(await passkeys.addOptions(browser.caller))
      await passkeys.add(as(browser.caller), { name: 'other', registration })
      const first = (await passkeys.list(who)).find(({ name }) => name === 'laptop')
      await passkeys.remove(as(caller), first?.id ?? '')
      await expect(removed()).rejects.toEqual(code('not-signed-in'))
      await confirm(await stepUpOf(require(caller, about('four'))), other)
      expect(await removed()).toBe('done')
      await world.identity.persons.disable(who, operator())
      await expect(after()).rejects.toEqual(code('not-signed-in'))
    })

    it('may without a touch under a mandate of this session, until it ends, is ended, or the session is; each is recorded under it', async () => {
      const { touches } = world.identity
      const begin = (caller: MachineCaller) => touches.beginMandate(as(caller, 'role'), 600)
      const caller = await signedIn()
      const mandate = await begin(caller)
      expect(await require(caller)).toMatchObject({ consent: { id: mandate.id } })
      const consented = await require(caller)
      if (!('consent' in consented)) throw new Error('no consent')
      const by = as(caller, 'role', consented.consent)
      const record = () =>
        world.identity.act(by, { name: 'test' }, t =>
          world.ledger.appendIn(t, [{ ...by, kind: 'grant-added', target: 'test' }]),
        )
      await record()
      // It was no more than that when it was asked for; by the time it is done it gives somebody a role.
      let gives = false
      const later = await require(caller, { ...about(), mandated: () => !gives })
      if (!('consent' in later)) throw new Error('no consent')
      const byLater = as(caller, 'role', later.consent)
      const doneLater = () => world.identity.act(byLater, { name: 'test' }, async () => 'done')
      expect(await doneLater()).toBe('done')
      gives = true
      await expect(doneLater()).rejects.toEqual(code('conflict'))
      const [kept] = await world.ledger.list({ limit: 1, kind: 'grant-added' })
      expect(JSON.parse(kept?.record ?? '{}')).toMatchObject({ actor: { consent: mandate.id } })
      // Not what always wants a touch of its own, and not from another session of the same person.
      await stepUpOf(require(caller, { ...about(), mandated: () => false }))
      await stepUpOf(require(await signedIn()))

      await touches.endMandate(as(caller))
      await stepUpOf(require(caller))
      await expect(record()).rejects.toEqual(code('conflict'))
      await begin(caller)
      world.pass(601)
      await stepUpOf(require(caller))
      const kinds = (await world.ledger.list({ limit: 100, actor: admin.who })).map(({ kind }) => kind)
      expect(kinds).toEqual(expect.arrayContaining(['mandate-begun', 'mandate-ended']))
    })
  })

  describe('as the owner of passkeys', () => {
    it('lists, adds, renames and removes them, and the last one stays', async () => {
      const { passkeys } = world.identity
      const { caller, who } = await enrol(world, 'owner@example.com')
      const second = new Authenticator(ORIGIN)
      world.pass(1)
      const options = await passkeys.addOptions(caller)
      expect(options).toMatchObject({ excludeCredentials: [{ type: 'public-key' }] })
      const added = await passkeys.add(as(caller), { name: 'phone', registration: second.create(options) })
      expect(added).toMatchObject({ name: 'phone', synced: true, transports: ['internal'] })
      expect((await passkeys.rename(as(caller), added.id, 'red phone')).name).toBe('red phone')
      const [first] = await passkeys.list(who)
      await passkeys.remove(as(caller), first?.id ?? '')
      // That session was signed in by what is gone: it goes on, but nothing more is done in it.
      await expect(passkeys.rename(as(caller), added.id, 'mine')).rejects.toEqual(code('not-signed-in'))
      const again = (await login(world, second)).caller
      expect(again.identity).toBe(who)
      await expect(passkeys.remove(as(again), added.id)).rejects.toEqual(code('conflict'))
      const kinds = (await world.ledger.list({ limit: 100, actor: who })).map(({ kind }) => kind)
      expect(kinds).toEqual(expect.arrayContaining(['passkey-added', 'passkey-renamed', 'passkey-removed']))
    })

    it('does nothing more in a session whose passkey was removed, though its row is kept; in one of another passkey it does', async () => {
      const { passkeys } = world.identity
      const { caller, who } = await enrol(world, 'keeper@example.com')
      world.pass(1)
      const second = new Authenticator(ORIGIN)
      const added = await passkeys.add(as(caller), {
        name: 'phone',
        registration: second.create(await passkeys.addOptions(caller)),
      })
      const [first] = await passkeys.list(who)
      await world.store.execute('create temporary table kept_passkey as select * from passkey where id = $1', [
        first?.id ?? '',
      ])
      await passkeys.remove(as(caller), first?.id ?? '')
      await world.store.execute('insert into passkey select * from kept_passkey', [])
      await world.store.execute('drop table kept_passkey', [])
      await expect(passkeys.rename(as(caller), added.id, 'mine')).rejects.toEqual(code('not-signed-in'))
      // Who was read since, as for a request that comes now.
      const now = await world.identity.reload(caller)
      await world.store.execute('update person_session set passkey = $2 where id = $1', [caller.session, added.id])
      await expect(passkeys.rename(as(now), added.id, 'mine')).rejects.toEqual(code('not-signed-in'))
      expect((await passkeys.rename(as((await login(world, second)).caller), added.id, 'mine')).name).toBe('mine')
    })

    it('is nobody in a session that was begun by a passkey which the log had removed; in one by another it is', async () => {
      const { passkeys } = world.identity
      const { caller, who } = await enrol(world, 'leaver@example.com')
      world.pass(1)
      const registration = new Authenticator(ORIGIN).create(await passkeys.addOptions(caller))
      const added = await passkeys.add(as(caller), { name: 'phone', registration })
      const removed = (await passkeys.list(who)).find(({ id }) => id !== added.id)?.id ?? ''
      await passkeys.remove(as(caller), removed)
      // As a server would write it whose transaction the database held back, past the locks, until the passkey was gone.
      const begin = async (id: string, passkey: string) => {
        const now = world.clock.now
        const times = { startedAt: now, assertedAt: now, endsAt: new Date(now.getTime() + 3_600_000) }
        const session = {
          id,
          person: who,
          device: 'browser',
          passkey,
          cookieHash: randomBytes(32),
          from: '::1',
          ...times,
        }
        await world.store.transaction({ name: 'late', deadlineMs: 10_000 }, async t => {
          await insertSession(t, session)
          const entry = { requestId: id, kind: 'login' as const, actor: { kind: 'operator' as const } }
          await world.ledger.appendIn(t, [{ ...entry, facts: [sessionFact(session)] }])
        })
        await world.ledger.follow()
        return world.identity.reload({ ...caller, session: id })
      }
      await expect(begin('session_late', removed)).rejects.toEqual(code('not-signed-in'))
      expect(await begin('session_good', added.id)).toMatchObject({ identity: who })
    })

    it('signs in no more with one that was removed', async () => {
      const { passkeys } = world.identity
      const { caller, who, authenticator } = await enrol(world, 'loser@example.com')
      world.pass(1)
      const registration = new Authenticator(ORIGIN).create(await passkeys.addOptions(caller))
      await passkeys.add(as(caller), { name: 'new', registration })
      const [lost] = await passkeys.list(who)
      await passkeys.remove(as(caller), lost?.id ?? '')
      await expect(login(world, authenticator)).rejects.toEqual(code('denied'))
    })

    it("touches nobody else's, and nothing by a challenge of another session", async () => {
      const { passkeys } = world.identity
      const [one, two] = [await enrol(world, 'one@example.com'), await enrol(world, 'two@example.com')]
      const [passkey] = await passkeys.list(one.who)
      const id = passkey?.id ?? ''
      await expect(passkeys.rename(as(two.caller), id, 'mine')).rejects.toEqual(code('not-found'))
      await expect(passkeys.remove(as(two.caller), id)).rejects.toEqual(code('not-found'))
      const registration = new Authenticator(ORIGIN).create(await passkeys.addOptions(one.caller))
      await expect(passkeys.add(as(two.caller), { name: 'x', registration })).rejects.toEqual(code('denied'))
      await passkeys.add(as(one.caller), { name: 'x', registration })
    })
  })

  describe('that was disabled', () => {
    it('is nobody any more, in every session, until enabled; and signs in anew then', async () => {
      const { who, authenticator, cookie } = await enrol(world, 'gone@example.com')
      const { caller } = await login(world, authenticator)
      const der = clientCertificate(world, caller)
      await call(der)
      const disabled = await world.identity.persons.disable(who, operator())
      expect(disabled.state).toBe('disabled')
      await expect(call(der)).rejects.toEqual(code('not-signed-in'))
      await expect(world.identity.callerFromCookie(cookie)).rejects.toEqual(code('not-signed-in'))
      await expect(login(world, authenticator)).rejects.toEqual(code('denied'))
      await world.identity.persons.enable(who, operator())
      await expect(call(der)).rejects.toEqual(code('not-signed-in'))
      await login(world, authenticator)
    })

    it('is disabled, and no owner, though somebody made one of her in the database', async () => {
      const { who } = await enrol(world, 'changed@example.com')
      await world.store.execute('update person set administrator = true where identity = $1', [who])
      expect(await world.identity.persons.disable(who, operator())).toMatchObject({ state: 'disabled' })
      await expect(world.identity.persons.enable(who, operator())).rejects.toEqual(code('conflict'))
      await world.store.execute('update person set administrator = false where identity = $1', [who])
      expect(await world.identity.persons.show(who)).toMatchObject({ state: 'disabled', owner: false })
    })

    it('cannot be the last owner', async () => {
      const { persons } = world.identity
      const others = (await persons.list()).filter(({ owner, identity }) => owner && identity !== admin.who)
      for (const { identity } of others) await persons.disable(identity, operator())
      await expect(persons.disable(admin.who, operator())).rejects.toEqual(code('conflict'))
      for (const { identity } of others) await persons.enable(identity, operator())
      await persons.disable(admin.who, operator())
      await persons.enable(admin.who, operator())
    })

    it('was somebody: an unknown name is said to be unknown', async () => {
      const nobody = person('nobody@example.com')
      for (const work of ['show', 'disable', 'enable'] as const)
        await expect(world.identity.persons[work](nobody, operator())).rejects.toEqual(code('not-found'))
    })

    it('has what else ends with it in the same transaction, or nothing at all', async () => {
      const { who } = await enrol(world, 'atomic@example.com')
      const failing = world.identity.persons.disable(who, operator(), async () => {
        throw new Error('cannot revoke')
      })
      await expect(failing).rejects.toThrow('cannot revoke')
      expect((await world.identity.persons.show(who)).state).toBe('active')
    })
  })
})
