import { request } from 'node:https'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api, schemas } from '#shared/api/index.ts'
import {
  type ApiSession,
  beginLogin,
  confirm,
  consent,
  enrol,
  inviteAndEnrol,
  logIn,
  page,
  pageCall,
  touchedPage,
  untouched,
} from '#test/support/people/api-person.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import {
  type AttackWorld,
  addHost,
  bodyOf,
  joinBody,
  openAttackWorld,
  outcome,
  refusal,
  tlsOf,
} from '#test/support/worlds/attack-world.ts'

/** What somebody prepared while they had access, and what it is worth once the access is taken away. */

let world: AttackWorld
beforeAll(async () => {
  world = await openAttackWorld()
})
afterAll(() => world?.close())

const invitation = (identity: string) => ({
  body: bodyOf(api.persons.invite, { identity, owner: true }),
})

/** Sends everything but the body, and the body once the server has looked who is asking and `meanwhile` is over. */
async function parked(session: ApiSession, body: unknown, meanwhile: () => Promise<unknown>): Promise<number> {
  const asked = await refusal(
    call(untouched(session.connection), api.persons.invite, { body: bodyOf(api.persons.invite, body) }),
  )
  const touch = asked.transaction?.id ?? ''
  await confirm(world.server, session.person, touch)
  return sentLate(session, api.persons.invite.path, body, touch, meanwhile)
}

function sentLate(
  session: ApiSession,
  path: string,
  body: unknown,
  touch: string,
  meanwhile: () => Promise<unknown>,
): Promise<number> {
  const payload = JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const sent = request(new URL(path, session.connection.url), {
      method: 'POST',
      agent: false,
      ...tlsOf(session.connection),
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(payload),
        expect: '100-continue',
        'keyman-touch': touch,
      },
    })
    sent.on('error', reject)
    sent.on('continue', () => {
      meanwhile().then(() => sent.end(payload), reject)
    })
    sent.on('response', response => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0))
    })
    sent.flushHeaders()
  })
}

describe('a request that was begun', () => {
  it('before a revocation and sent to its end after it: refused; without the revocation it is served', async () => {
    const eve = await logIn(
      world.server,
      await inviteAndEnrol(world.server, world.alice, 'eve@example.com', { owner: true }),
    )
    expect(await parked(eve, invitation('friend1@example.com').body, async () => {})).toBe(201)
    const revoke = () =>
      call(world.alice.connection, api.revocations.create, {
        body: bodyOf(api.revocations.create, { target: { person: 'eve@example.com' }, wait: 0 }),
      })
    expect(await parked(eve, invitation('friend2@example.com').body, revoke)).toBe(401)
    const again = await logIn(world.server, eve.person)
    const disable = () => call(world.alice.connection, api.persons.disable, { params: { identity: 'eve@example.com' } })
    expect(await parked(again, invitation('friend3@example.com').body, disable)).toBe(401)
  })
})

describe('an invitation', () => {
  it('by an administrator who is disabled before it is used: good no more; another one stays good', async () => {
    const mal = await logIn(
      world.server,
      await inviteAndEnrol(world.server, world.alice, 'mal@example.com', { owner: true }),
    )
    const sleeper = await call(mal.connection, api.persons.invite, invitation('sleeper@example.com'))
    const friend = await call(world.alice.connection, api.persons.invite, invitation('friend@example.com'))
    const identities = async () =>
      (await call(world.alice.connection, api.persons.invitations)).invitations.map(({ identity }) => identity)
    expect(await identities()).toEqual(expect.arrayContaining(['sleeper@example.com', 'friend@example.com']))
    await call(world.alice.connection, api.persons.disable, { params: { identity: 'mal@example.com' } })
    expect(await identities()).not.toContain('sleeper@example.com')
    await expect(enrol(world.server, sleeper.link, 'sleeper@example.com')).rejects.toThrow('expired')
    expect(await enrol(world.server, friend.link, 'friend@example.com')).toMatchObject({
      identity: 'friend@example.com',
    })
  })

  it('that is taken back before it is used: good no more', async () => {
    const { link } = await call(world.alice.connection, api.persons.invite, invitation('late@example.com'))
    const { invitations } = await call(world.alice.connection, api.persons.invitations)
    const id = invitations.find(({ identity }) => identity === 'late@example.com')?.id ?? ''
    await call(world.alice.connection, api.persons.uninvite, { params: { id } })
    await expect(enrol(world.server, link, 'late@example.com')).rejects.toThrow('expired')
    expect(await outcome(call(world.alice.connection, api.persons.uninvite, { params: { id } }))).toBe('not-found')
  })
})

describe('a join token', () => {
  it('by somebody who is revoked, or disabled, before it is used: good no more; one that they make after it is, as is one of another', async () => {
    const session = await logIn(
      world.server,
      await inviteAndEnrol(world.server, world.alice, 'una@example.com', { owner: true }),
    )
    const join = async (secret: string) =>
      outcome(call(world.stranger, api.hostSelf.join, { body: await joinBody(world.stranger, secret) }))
    const add = async (alice: ApiSession, name: string) => (await addHost({ alice }, `${name}.keyman.localhost`)).secret
    const [revoked, others] = [await add(session, 'una1'), await add(world.alice, 'una2')]
    await call(world.alice.connection, api.revocations.create, {
      body: bodyOf(api.revocations.create, { target: { person: 'una@example.com' }, wait: 0 }),
    })
    expect([await join(revoked), await join(others)]).toEqual(['denied', 'done'])
    const again = await logIn(world.server, session.person)
    const [after, disabled] = [await add(again, 'una3'), await add(again, 'una4')]
    expect(await join(after)).toBe('done')
    await call(world.alice.connection, api.persons.disable, { params: { identity: 'una@example.com' } })
    expect(await join(disabled)).toBe('denied')
  })
})

describe('a passkey that was lost and is removed', () => {
  it('keeps nothing: not its sessions, their certificates, nor a login that it confirmed; the remover goes on', async () => {
    const { server } = world
    const dan = await inviteAndEnrol(server, world.alice, 'dan@example.com')
    await call(world.alice.connection, api.grants.add, {
      body: schemas.newGrant.parse({ who: 'dan@example.com', login: 'deploy', hosts: { labels: { env: 'x' } } }),
    })
    const thief = await logIn(server, dan)
    expect(thief.login.ssh).toBeDefined()
    const confirmed = await beginLogin(world.stranger)
    const code = await consent(server, dan, confirmed.started.transaction)

    // Dan makes a second passkey, signs in by it, and removes the first.
    const options = await page(server, api.signIn.options, {})
    const signedIn = await pageCall(server, api.signIn.complete, {
      body: { assertion: dan.authenticator.get(options.options) },
    })
    const creation = await page(server, api.passkeys.addOptions, { cookie: signedIn.cookie })
    const second = new Authenticator(server.pagesUrl)
    const body = { name: 'second', registration: second.create(creation.options) }
    const { cookie, answer } = await touchedPage(server, dan, api.passkeys.add, { cookie: signedIn.cookie, body })
    expect(answer.status).toBe(201)
    const own = await logIn(server, { ...dan, authenticator: second })
    const { passkeys } = await call(own.connection, api.passkeys.list)
    const lost = passkeys.find(({ name }) => name !== 'second')
    await call(own.connection, api.passkeys.remove, { params: { id: lost?.id ?? '' } })

    expect(await outcome(call(thief.connection, api.session.show))).toBe('not-signed-in')
    expect((await pageCall(server, api.session.show, { cookie })).status).toBe(401)
    const redeem = call(world.stranger, api.login.token, {
      body: {
        grant: 'code',
        transaction: confirmed.started.transaction,
        code,
        codeVerifier: confirmed.codeVerifier,
      },
    })
    expect(await redeem).toEqual({ state: 'refused' })
    const query = { kind: 'revoked' as const, limit: 1 }
    const { records } = await call(world.alice.connection, api.auditTrail.list, { query })
    expect(JSON.parse(records[0]?.record ?? '{}')).toMatchObject({
      actor: { identity: 'dan@example.com' },
      details: { certificates: 1 },
    })
    expect(
      await call(own.connection, api.ssh.issueUserCertificate, { body: { publicKey: own.keys.ssh.line } }),
    ).toMatchObject({
      keyId: expect.stringContaining('dan@example.com/passkey/'),
    })
  })
})
