import { createHash, createPublicKey, verify } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fromBase64, fromBase64Url, fromUtf8, toBase64, toBase64Url, utf8 } from '#shared/bytes.ts'
import { loginChallenge } from '#shared/login-challenge.ts'
import { formatPublicKey } from '#shared/ssh/index.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import {
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
  REDIRECT,
  random,
} from '#test/support/worlds/identity-world.ts'

describe('the login of a machine', () => {
  let world: IdentityWorld
  let alice: Authenticator
  const code = (expected: string) => expect.objectContaining({ code: expected })
  const start = (request: ReturnType<typeof loginRequest>) => world.identity.logins.start(request.body, '192.0.2.9')

  beforeAll(async () => {
    world = await openIdentityWorld()
    await enrol(world, 'admin@example.com', { owner: true })
    alice = (await enrol(world, 'alice@example.com')).authenticator
  })
  afterAll(() => world.close())

  describe('by loopback', () => {
    it('gives a session of exactly these two keys to the person of the passkey, for the time asked for', async () => {
      const { caller, machine } = await login(world, alice)
      expect(caller).toMatchObject({ kind: 'person', via: 'machine', identity: 'alice@example.com', device: 'laptop' })
      expect(caller.ssh.blob).toEqual(machine.ssh.publicKey.blob)
      expect(caller.clientSpki).toEqual(machine.client.spki)
      expect(caller.endsAt.getTime() - caller.startedAt.getTime()).toBe(8 * 3_600_000)
      expect(caller.session).toMatch(/^session_[a-z2-7]{16}$/)
      expect(caller.epochs.map(({ subject }) => subject).sort()).toEqual([
        'person:alice@example.com',
        `session:${caller.session}`,
      ])
    })

    it('shows from where, for which keys and for how long, and never longer than the configuration allows', async () => {
      const request = loginRequest(world)
      const { transaction, page } = await start({ ...request, body: { ...request.body, lifetime: 30 * 86_400 } })
      expect(page).toBe(`${ORIGIN}/login/${transaction}`)
      expect(await world.identity.logins.show(transaction)).toMatchObject({
        from: '192.0.2.9',
        device: 'laptop',
        lifetime: 12 * 3600,
        sshFingerprint: expect.stringMatching(/^SHA256:/),
      })
    })

    it("goes back to the machine's own address alone, with its state", async () => {
      const { redirectTo, state } = await consented(world, alice)
      const url = new URL(redirectTo)
      expect(url.origin + url.pathname).toBe(REDIRECT)
      expect(url.searchParams.get('state')).toBe(state)
    })

    it('gives nothing for a code that was used, is a minute old, or belongs to another login', async () => {
      const first = await consented(world, alice)
      const second = await consented(world, alice)
      const { logins } = world.identity
      await expect(logins.redeem({ ...first.token, code: second.token.code }, at())).rejects.toEqual(code('denied'))
      await expect(logins.redeem({ ...first.token, transaction: second.transaction }, at())).rejects.toEqual(
        code('denied'),
      )
      expect((await logins.redeem(first.token, at())).state).toBe('done')
      await expect(logins.redeem(first.token, at())).rejects.toEqual(code('expired'))
      world.pass(61)
      await expect(logins.redeem(second.token, at())).rejects.toEqual(code('expired'))
    })

    it('wants the verifier whose SHA-256 was sent: none, the challenge itself (plain) and another one end the login', async () => {
      const { logins } = world.identity
      for (const wrong of ['challenge', 'other'] as const) {
        const { token, body } = await consented(world, alice)
        const plain = 'codeChallenge' in body.flow ? body.flow.codeChallenge : ''
        const codeVerifier = wrong === 'challenge' ? plain : toBase64Url(random(32))
        await expect(logins.redeem({ ...token, codeVerifier }, at())).rejects.toEqual(code('denied'))
        // The code is burnt: whoever has it and not the verifier tries once.
        expect(await logins.redeem(token, at())).toEqual({ state: 'refused' })
      }
      const { token } = await consented(world, alice)
      const { transaction } = token
      await expect(logins.redeem({ grant: 'device', transaction, deviceCode: token.code }, at())).rejects.toEqual(
        code('denied'),
      )
      expect((await logins.redeem(token, at())).state).toBe('done')
    })

    it('that is refused on the page tells the machine so, and cannot be consented to any more', async () => {
      const { logins } = world.identity
      const request = loginRequest(world)
      const { transaction } = await start(request)
      const options = await logins.options(transaction)
      const { redirectTo = '' } = await logins.refuse(transaction)
      expect(new URL(redirectTo).searchParams.get('error')).toBe('access_denied')
      await expect(logins.consent(transaction, alice.get(options), at())).rejects.toEqual(code('expired'))
      await expect(logins.refuse(transaction)).rejects.toEqual(code('expired'))
    })

    it('is consented to once, within five minutes, and tried ten times at most', async () => {
      const { logins } = world.identity
      const once = await start(loginRequest(world))
      const [one, two] = [await logins.options(once.transaction), await logins.options(once.transaction)]
      await logins.consent(once.transaction, alice.get(one), at())
      await expect(logins.consent(once.transaction, alice.get(two), at())).rejects.toEqual(code('expired'))

      const late = await start(loginRequest(world))
      const options = await logins.options(late.transaction)
      world.pass(301)
      await expect(logins.consent(late.transaction, alice.get(options), at())).rejects.toEqual(code('expired'))

      const often = await start(loginRequest(world))
      for (let i = 0; i < 10; i++) await logins.options(often.transaction)
      await expect(logins.options(often.transaction)).rejects.toEqual(code('too-many-requests'))
    })
  })

  describe('by device', () => {
    it('waits for the code to be typed, and gives the session to whoever polls with the device code', async () => {
      const { logins } = world.identity
      const { transaction, userCode = '', deviceCode = '', page, interval } = await start(loginRequest(world, 'device'))
      expect(page).toBe(`${ORIGIN}/device`)
      expect(userCode).toMatch(/^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/)
      const token = { grant: 'device', transaction, deviceCode } as const
      expect(await logins.redeem(token, at())).toEqual({ state: 'pending', interval })
      const found = await logins.find(userCode.toLowerCase().replace('-', ' '))
      expect(found).toMatchObject({ transaction, kind: 'device', from: '192.0.2.9' })
      const consent = await logins.consent(transaction, alice.get(await logins.options(transaction)), at())
      expect(consent).toEqual({ person: 'alice@example.com' })
      expect(await logins.redeem(token, at())).toMatchObject({ state: 'done', caller: { via: 'machine' } })
      await expect(logins.redeem(token, at())).rejects.toEqual(code('expired'))
      await expect(logins.find(userCode)).rejects.toEqual(code('not-found'))
    })

    it('is never shown by a link, so that nobody can be sent one', async () => {
      const { transaction } = await start(loginRequest(world, 'device'))
      await expect(world.identity.logins.show(transaction)).rejects.toEqual(code('denied'))
    })

    it('slows down who polls too fast, and ends after five minutes', async () => {
      const { logins } = world.identity
      const { transaction, deviceCode = '', interval } = await start(loginRequest(world, 'device'))
      const token = { grant: 'device', transaction, deviceCode } as const
      await logins.redeem(token, at())
      expect(await logins.redeem(token, at())).toEqual({ state: 'pending', interval: interval + 5 })
      world.pass(interval + 5)
      expect(await logins.redeem(token, at())).toEqual({ state: 'pending', interval: interval + 5 })
      world.pass(301)
      await expect(logins.redeem(token, at())).rejects.toEqual(code('expired'))
    })

    it('that is refused says so, and a wrong device code or user code gives nothing', async () => {
      const { logins } = world.identity
      const { transaction, deviceCode = '' } = await start(loginRequest(world, 'device'))
      await expect(
        logins.redeem({ grant: 'device', transaction, deviceCode: toBase64Url(random(32)) }, at()),
      ).rejects.toEqual(code('denied'))
      for (const wrong of ['', 'BBBB-BBBB', 'AEIO-UAEI', "'; drop table person; --", 'BBBBBBBBB'])
        await expect(logins.find(wrong)).rejects.toEqual(code('not-found'))
      await logins.refuse(transaction)
      expect(await logins.redeem({ grant: 'device', transaction, deviceCode }, at())).toEqual({ state: 'refused' })
    })
  })

  describe('wants a proof of both keys', () => {
    it('that is used once', async () => {
      const request = loginRequest(world)
      await start(request)
      await expect(start(request)).rejects.toEqual(code('expired'))
    })

    it('and refuses other keys than the proven ones', async () => {
      const request = loginRequest(world)
      const other = makeMachine()
      for (const swapped of [
        { sshPublicKey: formatPublicKey(other.ssh.publicKey, 'x') },
        { clientPublicKey: toBase64(other.client.spki) },
      ])
        await expect(start({ ...request, body: { ...request.body, ...swapped } })).rejects.toEqual(code('denied'))
      await start(request)
    })

    it('and keys of the kinds that are allowed, each refusal naming the field', async () => {
      const request = loginRequest(world)
      const machine = makeMachine()
      const ed25519 = new Uint8Array(createPublicKey(machine.ssh.key).export({ format: 'der', type: 'spki' }))
      for (const [field, value] of [
        ['clientPublicKey', toBase64(ed25519)],
        ['clientPublicKey', 'AAAA'],
        ['sshPublicKey', 'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQE= short'],
        ['sshPublicKey', '-----BEGIN OPENSSH PRIVATE KEY-----'],
      ] as const)
        await expect(start({ ...request, body: { ...request.body, [field]: value } })).rejects.toMatchObject({
          code: 'invalid-input',
          fields: [{ field }],
        })
    })
  })

  describe('consent', () => {
    const begin = async () => {
      const { transaction } = await start(loginRequest(world))
      return {
        transaction,
        options: await world.identity.logins.options(transaction),
        consent: (assertion: Record<string, unknown>) => world.identity.logins.consent(transaction, assertion, at()),
      }
    }

    for (const [what, change] of [
      ['without user verification', { userVerified: false }],
      ['from another origin', { origin: 'http://keyman.example.com' }],
      ['for another RP ID', { rpId: 'example.com' }],
      ['made in a frame of another page', { crossOrigin: true }],
      ['of the wrong type', { type: 'webauthn.create' }],
      ['with a bad signature', { badSignature: true }],
      ["with another person's user handle", { userHandle: toBase64Url(new Uint8Array(64)) }],
      ['that names no person', { userHandle: undefined }],
    ] as const)
      it(`refuses an assertion ${what}; the same without that is taken`, async () => {
        const { options, consent } = await begin()
        await expect(consent(alice.get(options, change))).rejects.toEqual(code('denied'))
        const twin = await begin()
        await twin.consent(alice.get(twin.options))
      })

    it('refuses an assertion that was used, and one for another login', async () => {
      const [one, two] = [await begin(), await begin()]
      const assertion = alice.get(one.options)
      await expect(two.consent(assertion)).rejects.toEqual(code('denied'))
      await one.consent(assertion)
      await expect(two.consent(assertion)).rejects.toEqual(code('denied'))
      const signIn = alice.get(await world.identity.signIns.options())
      await expect(two.consent(signIn)).rejects.toEqual(code('denied'))
      await two.consent(alice.get(two.options))
    })

    it('uses a challenge up even where the assertion fails', async () => {
      const { options, consent } = await begin()
      await expect(consent(alice.get(options, { badSignature: true }))).rejects.toEqual(code('denied'))
      await expect(consent(alice.get(options))).rejects.toEqual(code('denied'))
    })

    it('refuses a passkey that nobody here has', async () => {
      const { options, consent } = await begin()
      const stranger = new Authenticator(ORIGIN)
      stranger.create({ rp: { id: 'keyman.example.com' }, user: { id: 'AAAA' }, challenge: 'AAAA' })
      await expect(consent(stranger.get(options))).rejects.toEqual(code('denied'))
    })

    it("refuses a cloned authenticator's counter, and a counting one that goes forward is taken", async () => {
      const counting = new Authenticator(ORIGIN, { counting: true })
      await enrol(world, 'counting@example.com', { authenticator: counting })
      const first = await begin()
      await first.consent(counting.get(first.options))
      const clone = await begin()
      await expect(clone.consent(counting.get(clone.options, { counter: 2 }))).rejects.toEqual(code('denied'))
      const zero = await begin()
      await expect(zero.consent(counting.get(zero.options, { counter: 0 }))).rejects.toEqual(code('denied'))
      const forward = await begin()
      await forward.consent(counting.get(forward.options))
    })

    it('binds keys, lifetime and device: swapped before the touch, it is no login any more', async () => {
      const other = makeMachine()
      for (const [column, value] of [
        ['ssh_key', other.ssh.publicKey.blob],
        ['client_spki', other.client.spki],
        ['device', 'somewhere else'],
      ] as const) {
        const { transaction, options, consent } = await begin()
        await world.store.execute(`update login_transaction set ${column} = $2 where id = $1`, [transaction, value])
        await expect(consent(alice.get(options))).rejects.toEqual(code('not-found'))
      }
    })

    it('binds them after the touch too: what is redeemed is what was signed', async () => {
      const swapped = await consented(world, alice)
      await world.store.execute('update login_transaction set ssh_key = $2 where id = $1', [
        swapped.transaction,
        makeMachine().ssh.publicKey.blob,
      ])
      await expect(world.identity.logins.redeem(swapped.token, at())).rejects.toEqual(code('denied'))
      const longer = await consented(world, alice)
      await world.store.execute('update login_transaction set lifetime = 86400 where id = $1', [longer.transaction])
      await expect(world.identity.logins.redeem(longer.token, at())).rejects.toEqual(code('denied'))
    })

    it('of a disabled person is refused and recorded; of the same person enabled again it is taken', async () => {
      const { authenticator, who } = await enrol(world, 'leaver@example.com')
      const pending = await consented(world, authenticator)
      await world.identity.persons.disable(who, operator())
      expect(await world.identity.logins.redeem(pending.token, at())).toEqual({ state: 'refused' })
      const { options, consent } = await begin()
      await expect(consent(authenticator.get(options))).rejects.toEqual(code('denied'))
      const [denied] = await world.ledger.list({ limit: 1, kind: 'login-denied' })
      expect(denied).toMatchObject({ actor: 'leaver@example.com' })
      await world.identity.persons.enable(who, operator())
      await login(world, authenticator)
    })

    it('is slowed down for one address and account together, so that no stranger locks an account', async () => {
      const taken: string[] = []
      const limited = await world.again({ assertionLimiter: { take: key => void taken.push(key) } })
      const signIn = async (from: string) =>
        limited.signIns.complete(alice.get(await limited.signIns.options()), at(from), undefined)
      await signIn('192.0.2.1')
      await signIn('192.0.2.2')
      expect(taken).toEqual(['192.0.2.1 alice@example.com', '192.0.2.2 alice@example.com'])
      // A subscriber of IPv6 has a whole /64.
      await signIn('2001:db8:0:7::1')
      await signIn('2001:db8:0:7:ffff::2')
      expect(new Set(taken.slice(2)).size).toBe(1)
    })
  })

  it('leaves a record from which anybody can check that this passkey was touched for these keys', async () => {
    const { caller, machine } = await login(world, alice)
    const stored = (await world.ledger.list({ limit: 5, kind: 'login' })).at(-1)
    const record = JSON.parse(stored?.record ?? '{}')
    expect(record).toMatchObject({
      kind: 'login',
      actor: { identity: 'alice@example.com', session: caller.session },
      details: { sshKey: caller.ssh.fingerprint, clientKey: caller.clientFingerprint },
    })
    const { challenge: parts, assertion } = record.details
    expect(fromBase64(parts.sshPublicKey)).toEqual(machine.ssh.publicKey.blob)
    const challenge = loginChallenge({
      nonce: fromBase64Url(parts.nonce),
      sshPublicKey: fromBase64(parts.sshPublicKey),
      clientSpki: fromBase64(parts.clientSpki),
      lifetime: parts.lifetime,
      device: parts.device,
      origin: parts.origin,
    })
    const clientData = fromBase64Url(assertion.clientDataJSON)
    expect(JSON.parse(fromUtf8(clientData)).challenge).toBe(toBase64Url(challenge))
    // COSE_Key of P-256: the coordinates are its last two members, 32 bytes each, with a head of three bytes between them.
    const cose = fromBase64Url(assertion.publicKey)
    const [x = '', y = ''] = [cose.slice(-67, -35), cose.slice(-32)].map(toBase64Url)
    const key = createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', x, y } })
    const hash = createHash('sha256').update(clientData).digest()
    const signed = Buffer.concat([fromBase64Url(assertion.authenticatorData), hash])
    expect(verify('sha256', signed, key, fromBase64Url(assertion.signature))).toBe(true)
    const passkeys = await world.ledger.list({ limit: 100, kind: 'passkey-added', actor: 'alice@example.com' })
    expect(passkeys.map(({ record: text }) => JSON.parse(text).details.publicKey)).toContain(assertion.publicKey)
  })

  it('leaves no secret in the database or the log', async () => {
    const { token, codeVerifier } = await consented(world, alice)
    await world.identity.logins.redeem(token, at())
    const rows = await world.store.query('select to_jsonb(l)::text as text from login_transaction l', [], {
      parse: row => String(Reflect.get(Object(row), 'text')),
    })
    const log = (await world.ledger.list({ limit: 1000 })).map(({ record }) => record)
    const hex = (text: string) => Buffer.from(utf8(text)).toString('hex')
    for (const secret of [token.code, codeVerifier])
      for (const text of [...rows, ...log]) {
        expect(text).not.toContain(secret)
        expect(text).not.toContain(hex(secret))
      }
  })
})
