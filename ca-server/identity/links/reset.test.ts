import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { PersonIdentity } from '#shared/names.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import {
  as,
  at,
  clientCertificate,
  consented,
  enrol,
  type IdentityWorld,
  login,
  ORIGIN,
  openIdentityWorld,
  operator,
  person,
} from '#test/support/worlds/identity-world.ts'

const code = (expected: string) => expect.objectContaining({ code: expected })
type Someone = { readonly who: PersonIdentity; readonly authenticator: Authenticator }

describe('a person who is reset', () => {
  let world: IdentityWorld
  /** Who administer all the time; alice and dora are others in each test. */
  let bea: Someone
  let carl: Someone
  let alice: Someone
  let dora: Someone
  let tests = 0

  beforeAll(async () => {
    world = await openIdentityWorld()
    bea = await enrol(world, 'bea@example.com', { owner: true })
    carl = await enrol(world, 'carl@example.com', { owner: true })
  })
  beforeEach(async () => {
    tests++
    dora = await enrol(world, `dora${tests}@example.com`)
  })
  afterAll(() => world.close())

  const signIn = async ({ authenticator }: Pick<Someone, 'authenticator'>) =>
    (await world.identity.signIns.complete(authenticator.get(await world.identity.signIns.options()), at(), undefined))
      .caller
  const by = async (who: Someone) => as(await signIn(who), 'role')
  const reset = async ({ who }: Someone, owner: Someone, removePasskeys = false) =>
    world.identity.enrolment.reset(who, { removePasskeys, lifetime: 3600 }, await by(owner))
  const secretOf = (link: string) => link.slice(link.indexOf('#') + 1)
  const open = (link: string) => world.identity.enrolment.open(secretOf(link))
  /** Makes the passkey that a link is for. */
  async function use(link: string, { who }: Someone) {
    const authenticator = new Authenticator(ORIGIN)
    const registration = authenticator.create(await world.identity.enrolment.options(secretOf(link), who))
    const request = { secret: secretOf(link), identity: who, passkeyName: 'new', registration }
    return { who, authenticator, made: await world.identity.enrolment.complete(request, at()) }
  }
  const change = async ({ who }: Someone, owner: boolean, changer: Someone) =>
    world.identity.persons.change(who, { owner }, await by(changer))
  const enable = async ({ who }: Someone, enabler: Someone) => world.identity.persons.enable(who, await by(enabler))
  const disable = async ({ who }: Someone, disabler: Someone) => world.identity.persons.disable(who, await by(disabler))
  const records = async (kind: 'person-reset' | 'enrolled' | 'person-changed') =>
    (await world.ledger.list({ limit: 1000, kind })).map(({ record }) => JSON.parse(record))

  it('loses all that was signed in, and makes a new passkey for the same identity and rights by a link that works once', async () => {
    const before = await login(world, dora.authenticator)
    const { token } = await consented(world, dora.authenticator)
    const { link, login: line, waits } = await reset(dora, bea)
    await expect(
      (async () => world.identity.callerFromClientCertificate(clientCertificate(world, before.caller), true))(),
    ).rejects.toEqual(code('not-signed-in'))
    await expect(world.identity.logins.redeem(token, at())).resolves.toMatchObject({ state: 'refused' })
    expect([waits, line]).toEqual([false, expect.stringContaining('--fingerprint SHA256:')])
    expect(await open(link)).toMatchObject({
      ...{ kind: 'reset', identity: dora.who, identityFixed: true, isHere: true },
      ...{ owner: false, waits: false, first: false },
    })
    const again = await use(link, dora)
    expect(again.made).toMatchObject({ caller: { identity: dora.who, owner: false } })
    expect((await signIn(again)).identity).toBe(dora.who)
    // Nobody asked for the other to be removed.
    expect((await signIn(dora)).identity).toBe(dora.who)
    await expect(open(link)).rejects.toEqual(code('expired'))
    expect((await records('person-reset')).at(-1)).toMatchObject({
      actor: { identity: bea.who },
      target: dora.who,
      details: { owner: false, sessions: 2, passkeysRemoved: [], waits: false },
    })
    expect((await records('enrolled')).at(-1)).toMatchObject({ details: { invitedBy: bea.who, recovery: true } })
  })

  it('signs in by no passkey of before where these are removed too, nor by one that the database keeps', async () => {
    // An owner of the database has each deletion swallowed.
    const sql = (text: string) =>
      world.store.transaction({ name: 'trigger', deadlineMs: 5000 }, t => t.execute(text, []))
    await sql(`create function keep() returns trigger language plpgsql as $$ begin return null; end $$`)
    await sql('create trigger keep before delete on passkey for each row execute function keep()')
    await reset(dora, bea)
    expect((await signIn(dora)).identity).toBe(dora.who)
    const { link } = await reset(dora, bea, true)
    await sql('drop trigger keep on passkey')
    await expect(signIn(dora)).rejects.toEqual(code('denied'))
    expect(await world.identity.passkeys.list(dora.who)).toEqual([])
    const again = await use(link, dora)
    expect((await signIn(again)).identity).toBe(dora.who)
  })

  it('is not oneself, nobody, nor whoever was disabled, and nobody but an owner does it', async () => {
    await expect(reset(bea, bea)).rejects.toEqual(code('conflict'))
    await expect(reset({ ...dora, who: person('nobody@example.com') }, bea)).rejects.toEqual(code('not-found'))
    await expect(reset(bea, dora)).rejects.toEqual(code('denied'))
    await disable(dora, bea)
    await expect(reset(dora, bea)).rejects.toEqual(code('conflict'))
    await enable(dora, bea)
    await reset(dora, bea)
  })

  it('has the rights that the log says, whatever somebody writes into the row before or after the link is made', async () => {
    const write = (owner: boolean) =>
      world.store.transaction({ name: 'write', deadlineMs: 5000 }, t =>
        t.execute('update person set administrator = $2 where identity = $1', [dora.who, owner]),
      )
    await write(true)
    await expect(reset(dora, bea)).rejects.toEqual(code('conflict'))
    await write(false)
    const { link } = await reset(dora, bea)
    await write(true)
    await expect(use(link, dora)).rejects.toEqual(code('expired'))
    await write(false)
    expect((await use(link, dora)).made).toMatchObject({ caller: { owner: false } })
  })

  it('makes a link that is over once the person was disabled, changed or reset again, or whoever made it was disabled', async () => {
    const isOver = async (of: { link: string }) => expect(use(of.link, dora)).rejects.toEqual(code('expired'))
    const first = await reset(dora, bea)
    const second = await reset(dora, bea)
    await isOver(first)
    await use(second.link, dora)
    const third = await reset(dora, bea)
    await change(dora, true, carl)
    await isOver(third)
    await change(dora, false, carl)
    const fourth = await reset(dora, bea)
    await disable(dora, carl)
    await enable(dora, carl)
    await isOver(fourth)
    const fifth = await reset(dora, bea)
    await disable(bea, carl)
    await enable(bea, carl)
    await isOver(fifth)
    await use((await reset(dora, bea)).link, dora)
  })

  it('two owners who reset each other at once do not lock everybody out', async () => {
    const both = [bea, carl] as const
    const callers = await Promise.all(both.map(by))
    const outcomes = await Promise.all(
      both.map(({ who }, n) => {
        const other = callers[1 - n]
        if (!other) throw new Error('two')
        const how = { removePasskeys: true, lifetime: 3600 }
        return world.identity.enrolment.reset(who, how, other).then(
          made => ({ who, made }),
          (error: unknown) => error,
        )
      }),
    )
    expect(outcomes).toContainEqual(code('not-signed-in'))
    const done = outcomes.flatMap(each => (each && typeof each === 'object' && 'made' in each ? [each] : []))
    expect(done).toHaveLength(1)
    for (const { who, made } of done as { who: PersonIdentity; made: { link: string } }[]) {
      const again = await use(made.link, { who, authenticator: new Authenticator(ORIGIN) })
      expect(await signIn(again)).toMatchObject({ owner: true })
      if (who === bea.who) bea = again
      else carl = again
    }
  })

  describe('and administers', () => {
    beforeEach(async () => {
      alice = await enrol(world, `alice${tests}@example.com`, { owner: true })
    })
    afterEach(() => disable(alice, carl))

    it('waits for the yes of an owner who is neither of the two, to a passkey that is there', async () => {
      const { link, waits } = await reset(alice, bea, true)
      expect([waits, (await open(link)).waits]).toEqual([true, true])
      await expect(enable(alice, carl)).rejects.toMatchObject({
        message: expect.stringContaining('has not made the new passkey'),
      })
      const again = await use(link, alice)
      expect(again.made).toBe('waits')
      expect(await world.identity.persons.show(alice.who)).toMatchObject({ state: 'disabled', resetBy: bea.who })
      await expect(signIn(again)).rejects.toEqual(code('denied'))
      await expect(enable(alice, bea)).rejects.toMatchObject({ message: expect.stringContaining('you have reset') })
      // What the page of the yes says.
      expect(await world.identity.words.person(world.store, alice.who)).toMatchObject([
        { value: 'owner, disabled, with 1 passkey' },
        { name: 'Was reset by', value: bea.who },
        { value: expect.stringMatching(/^"new", made 2026-03-01T/) },
      ])
      const enabled = await enable(alice, carl)
      expect(enabled).toMatchObject({ state: 'active', owner: true, resetBy: undefined })
      expect(await signIn(again)).toMatchObject({ identity: alice.who, owner: true })
    })

    it('shows whoever says it the passkeys as the log knows them, not as somebody names, dates or hides them', async () => {
      const { link } = await reset(alice, bea, true)
      await use(link, alice)
      const shown = async () =>
        (await world.identity.words.person(world.store, alice.who)).find(({ name }) => name.startsWith('Passkeys'))
          ?.value
      const write = (text: string) =>
        world.store.transaction({ name: 'lie', deadlineMs: 5000 }, t => t.execute(text, [alice.who]))
      expect(await shown()).toMatch(/^"new", made 2026-03-01T[^;]*$/)
      await write(`update passkey set name = 'old', created_at = '2020-01-01' where person = $1`)
      expect(await shown()).toBe('"unknown: not as it was named", made at a time that the audit log does not say')
      await write(`update passkey set public_key = '\\x00' where person = $1`)
      expect(await shown()).toMatch(/^passkey_\S+, which the database does not show$/)
      await expect(enable(alice, carl)).rejects.toMatchObject({ message: expect.stringContaining('does not show') })
      await use((await reset(alice, bea, true)).link, alice)
      await enable(alice, carl)
    })

    it('is not waited for where there is nobody else to say yes, or nobody any more', async () => {
      const waiting = await reset(alice, bea, true)
      await use(waiting.link, alice)
      await disable(carl, bea)
      expect(await enable(alice, bea)).toMatchObject({ state: 'active' })
      expect(await reset(alice, bea)).toMatchObject({ waits: false })
      await enable(carl, bea)
    })

    it('waits too where somebody hides the other owners in the database', async () => {
      const write = (state: string) =>
        world.store.transaction({ name: 'hide', deadlineMs: 5000 }, t =>
          t.execute(`update person set state = '${state}' where identity = 'carl@example.com'`, []),
        )
      await write('disabled')
      expect(await reset(alice, bea)).toMatchObject({ waits: true })
      await write('active')
    })

    it('keeps no passkey that nobody has said yes to when reset once more', async () => {
      const stolen = await use((await reset(alice, bea)).link, alice)
      const { link } = await reset(alice, carl)
      const again = await use(link, alice)
      expect(await enable(alice, bea)).toMatchObject({ state: 'active', passkeys: 1 })
      await expect(signIn(stolen)).rejects.toEqual(code('denied'))
      expect((await signIn(again)).identity).toBe(alice.who)
    })

    it('makes no further passkey by the link once the yes was said', async () => {
      const { link } = await reset(alice, bea)
      // Of before the reset: the lost one was found.
      await enable(alice, carl)
      await expect(use(link, alice)).rejects.toEqual(code('expired'))
      expect((await signIn(alice)).identity).toBe(alice.who)
    })

    it('makes none by it either where somebody keeps its row from its end in the database', async () => {
      const { link } = await reset(alice, bea)
      const sql = (text: string) =>
        world.store.transaction({ name: 'trigger', deadlineMs: 5000 }, t => t.execute(text, []))
      await sql(`create function stay() returns trigger language plpgsql as $$ begin return null; end $$`)
      await sql('create trigger stay before update on enrolment_link for each row execute function stay()')
      await enable(alice, carl)
      await sql('drop trigger stay on enrolment_link')
      await expect(use(link, alice)).rejects.toEqual(code('expired'))
    })

    it('is not had by making them no owner meanwhile: the rights come back by another yes', async () => {
      await change(alice, false, bea)
      const again = await use((await reset(alice, bea, true)).link, alice)
      expect(again.made).toMatchObject({ caller: { owner: false } })
      await expect(change(alice, true, bea)).rejects.toEqual(code('denied'))
      expect(await change(alice, true, carl)).toMatchObject({ owner: true })
    })

    it("is made whole by the operator's link at once, which keeps no passkey that nobody has said yes to", async () => {
      const stolen = await use((await reset(alice, bea)).link, alice)
      const made = await world.identity.enrolment.createAdminLink(alice.who, { isNew: false }, operator())
      expect(made.was).toMatchObject({ owner: true, state: 'disabled' })
      expect(await open(made.link)).toMatchObject({
        kind: 'administrator',
        isHere: true,
        owner: true,
        waits: false,
      })
      const again = await use(made.link, alice)
      expect(await signIn(again)).toMatchObject({ identity: alice.who, owner: true })
      await expect(signIn(stolen)).rejects.toEqual(code('denied'))
    })
  })
})

describe('who administers', () => {
  let world: IdentityWorld
  let alice: Someone
  beforeAll(async () => {
    world = await openIdentityWorld()
    alice = await enrol(world, 'alice@example.com', { owner: true })
  })
  afterAll(() => world.close())
  const by = async ({ authenticator }: Someone) => {
    const assertion = authenticator.get(await world.identity.signIns.options())
    return as((await world.identity.signIns.complete(assertion, at(), undefined)).caller, 'role')
  }
  const change = async (who: PersonIdentity, owner: boolean, changer: Someone) =>
    world.identity.persons.change(who, { owner }, await by(changer))

  it('is changed by an owner, but for the last', async () => {
    const bea = await enrol(world, 'bea@example.com')
    await expect(change(bea.who, true, bea)).rejects.toEqual(code('denied'))
    await expect(change(alice.who, false, alice)).rejects.toEqual(code('conflict'))
    expect(await change(bea.who, true, alice)).toMatchObject({ owner: true })
    expect(await change(alice.who, false, alice)).toMatchObject({ owner: false })
    await expect(change(alice.who, true, alice)).rejects.toEqual(code('denied'))
    await expect(change(bea.who, false, bea)).rejects.toEqual(code('conflict'))
    await change(alice.who, true, bea)
  })

  it('takes along the links that nobody has used yet, once no owner any more', async () => {
    const carl = await enrol(world, 'carl@example.com', { owner: true })
    const invite = async (inviter: Someone) => {
      const invitation = { identity: person('dan@example.com'), owner: true, lifetime: 3600 }
      return (await world.identity.enrolment.invite(invitation, await by(inviter))).link
    }
    const link = await invite(carl)
    await change(carl.who, false, alice)
    await expect(enrol(world, 'dan@example.com', { link })).rejects.toEqual(code('expired'))
    await enrol(world, 'dan@example.com', { link: await invite(alice) })
  })

  it("gets the operator's link by a name that is known, and one that is not has to be meant", async () => {
    const link = (name: string | undefined, isNew: boolean) =>
      world.identity.enrolment.createAdminLink(name === undefined ? undefined : person(name), { isNew }, operator())
    await expect(link('alcie@example.com', false)).rejects.toEqual(code('not-found'))
    await expect(link(undefined, false)).rejects.toEqual(code('not-found'))
    await expect(link(alice.who, true)).rejects.toEqual(code('conflict'))
    const { link: made } = await link('zoe@example.com', true)
    expect(await world.identity.enrolment.open(made.slice(made.indexOf('#') + 1))).toMatchObject({ isHere: false })
    await link(undefined, true)
  })

  it("has nothing any more once the operator's link was made", async () => {
    const { caller } = await login(world, alice.authenticator)
    const known = async () => world.identity.callerFromClientCertificate(clientCertificate(world, caller), true)
    expect(await known()).toMatchObject({ session: caller.session })
    await world.identity.enrolment.createAdminLink(alice.who, { isNew: false }, operator())
    await expect(known()).rejects.toEqual(code('not-signed-in'))
  })
})
