import { afterAll, beforeAll, describe, expect, it, test } from 'vitest'
import { encodeRecord } from '#server/ledger/entry.ts'
import { LONGEST_LINK } from '#shared/api/fields.ts'
import { Facts } from '#shared/audit/index.ts'
import { fromBase64Url } from '#shared/bytes.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import {
  at,
  enrol,
  type IdentityWorld,
  ORIGIN,
  openIdentityWorld,
  operator,
  person,
} from '#test/support/worlds/identity-world.ts'
import type { IdentityDeps } from '../index.ts'
import { newestLinkFacts } from '../records/facts.ts'
import { addSeconds } from '../room.ts'

test('which link is the newest is remembered for as long as an older one may be good, and no longer', () => {
  const createdAt = new Date('2026-01-01T00:00:00Z')
  const of = { kind: 'invitation', identity: 'a@b.c', identityFixed: true, isFirst: false, owner: false }
  const made = { createdBy: 'x@b.c', createdAt, endsAt: addSeconds(createdAt, 60) }
  const said = newestLinkFacts({ id: 'link_2', secretHash: new Uint8Array(32), ...of, ...made })
  const entry = { requestId: 'r', kind: 'invitation-created', actor: { kind: 'server' }, facts: said } as const
  const facts = Facts.none()
  facts.take(0n, encodeRecord(entry, createdAt.toISOString(), { after: 0n }))
  facts.forgetEnded(addSeconds(createdAt, LONGEST_LINK))
  expect(facts.knows('invited:a@b.c')).toBe(true)
  facts.forgetEnded(addSeconds(createdAt, LONGEST_LINK + 8 * 86_400))
  expect(facts.knows('invited:a@b.c')).toBe(false)
})

const nameOf = (what: string) => what.toLowerCase().replace(/[^a-z]/g, '')

describe('enrolment', () => {
  let world: IdentityWorld
  let firstLink: string
  const enrolled: Parameters<NonNullable<IdentityDeps['onEnrolled']>>[0][] = []
  const code = (expected: string) => expect.objectContaining({ code: expected })
  const secretOf = (link: string) => link.slice(link.indexOf('#') + 1)
  const records = async (kind: 'enrolled' | 'passkey-added' | 'invitation-created' | 'admin-link-created') =>
    (await world.ledger.list({ limit: 1000, kind })).map(({ record }) => JSON.parse(record))

  beforeAll(async () => {
    world = await openIdentityWorld(undefined, {
      onEnrolled: async who => {
        enrolled.push(who)
      },
    })
  })
  afterAll(() => world.close())

  describe('of the first owner', () => {
    it('begins with a link whose secret stands after # and that lasts 15 minutes', async () => {
      firstLink = (await world.identity.enrolment.firstOwnerLink('root@localhost')) ?? ''
      expect(firstLink).toMatch(/^https:\/\/keyman\.example\.com\/enrol#[A-Za-z0-9_-]{43}$/)
      expect(await world.identity.enrolment.open(secretOf(firstLink))).toMatchObject({
        kind: 'administrator',
        identity: 'root@localhost',
        identityFixed: false,
        endsAt: new Date(world.clock.now.getTime() + 900_000),
      })
    })

    it('works no more by an earlier link once there is a newer one', async () => {
      const newer = (await world.identity.enrolment.firstOwnerLink('root@localhost')) ?? ''
      await expect(world.identity.enrolment.open(secretOf(firstLink))).rejects.toEqual(code('expired'))
      firstLink = newer
      await world.identity.enrolment.open(secretOf(firstLink))
    })

    it('works no more after 15 minutes', async () => {
      world.pass(901)
      await expect(world.identity.enrolment.open(secretOf(firstLink))).rejects.toEqual(code('expired'))
      firstLink = (await world.identity.enrolment.firstOwnerLink('not an identity')) ?? ''
      expect(await world.identity.enrolment.open(secretOf(firstLink))).toMatchObject({ identity: '' })
    })

    it('makes an owner who is signed in, once, and says so to whoever waits for it', async () => {
      const { who, caller, secret } = await enrol(world, 'root@localhost', { link: firstLink })
      expect(caller).toMatchObject({ identity: who, owner: true, via: 'browser' })
      expect(enrolled).toEqual([{ identity: who, owner: true, first: true }])
      await expect(world.identity.enrolment.open(secret)).rejects.toEqual(code('expired'))
      await expect(enrol(world, 'eve@localhost', { link: firstLink })).rejects.toEqual(code('expired'))
      expect(await world.identity.enrolment.firstOwnerLink('eve@localhost')).toBeUndefined()
    })

    it('fixes the RP ID: a server with another host in its public_url refuses to start, and says why', async () => {
      await expect(world.again({ publicUrl: 'https://other.example.com' })).rejects.toMatchObject({
        code: 'conflict',
        message: expect.stringContaining('keyman.example.com'),
      })
      await world.again({ publicUrl: `${ORIGIN}:8443` })
    })

    it('leaves records that hold the public key and no secret', async () => {
      expect(await records('enrolled')).toMatchObject([
        { actor: { identity: 'root@localhost' }, details: { first: true, owner: true, invitedBy: 'server' } },
      ])
      const [added] = await records('passkey-added')
      expect(added.details.publicKey).toEqual(expect.any(String))
      const all = (await world.ledger.list({ limit: 1000 })).map(({ record }) => record).join()
      expect(all).not.toContain(secretOf(firstLink))
    })
  })

  describe('by an invitation', () => {
    it('is for one identity, ends, and works once', async () => {
      const invite = () =>
        world.identity.enrolment.invite(
          { identity: person('alice@example.com'), owner: false, lifetime: 3600 },
          operator(),
        )
      const old = await invite()
      const { link, login } = await invite()
      expect(login).toBe(
        'keyman login https://keyman.example.com:4443 --fingerprint SHA256:uNiVztksCsDhcc0u9e8BrjdEQnDxTcWQ0mKNyoXvpSg',
      )
      await expect(enrol(world, 'alice@example.com', { link: old.link })).rejects.toEqual(code('expired'))
      await expect(enrol(world, 'mallory@example.com', { link })).rejects.toEqual(code('invalid-input'))
      const { caller } = await enrol(world, 'alice@example.com', { link })
      expect(caller).toMatchObject({ identity: 'alice@example.com', owner: false })
      await expect(enrol(world, 'alice@example.com', { link })).rejects.toEqual(code('expired'))
      await expect(invite()).rejects.toEqual(code('conflict'))
    })

    it('that has ended is refused', async () => {
      const identity = person('late@example.com')
      const { link } = await world.identity.enrolment.invite({ identity, owner: false, lifetime: 60 }, operator())
      world.pass(61)
      await expect(enrol(world, 'late@example.com', { link })).rejects.toEqual(code('expired'))
    })

    it('of an identity too long for a key ID is refused', async () => {
      const invite = (length: number) =>
        world.identity.enrolment.invite(
          { identity: person(`${'a'.repeat(length - 12)}@example.com`), owner: false, lifetime: 60 },
          operator(),
        )
      await expect(invite(91)).rejects.toEqual(code('invalid-input'))
      await invite(90)
    })
  })

  describe('with a passkey', () => {
    const begin = async (name: string) => {
      const identity = person(name)
      const { link } = await world.identity.enrolment.invite({ identity, owner: false, lifetime: 60 }, operator())
      const secret = secretOf(link)
      const options = await world.identity.enrolment.options(secret, identity)
      const complete = (registration: Record<string, unknown>) =>
        world.identity.enrolment.complete({ secret, identity, passkeyName: 'key', registration }, at())
      return { options, complete }
    }

    it('asks for a discoverable credential, user verification and our three algorithms alone', async () => {
      const { options } = await begin('ask@example.com')
      expect(options).toMatchObject({
        rp: { id: 'keyman.example.com' },
        attestation: 'none',
        authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
        pubKeyCredParams: [{ alg: -8 }, { alg: -7 }, { alg: -257 }],
      })
    })

    it('takes Ed25519 and P-256, synced or counting', async () => {
      for (const [name, options] of [
        ['ed@example.com', { algorithm: 'eddsa' }],
        ['es@example.com', { counting: true }],
      ] as const) {
        const authenticator = new Authenticator(ORIGIN, options)
        await enrol(world, name, { authenticator })
        const signIn = authenticator.get(await world.identity.signIns.options())
        expect((await world.identity.signIns.complete(signIn, at(), undefined)).caller.identity).toBe(name)
      }
    })

    for (const [what, change] of [
      ['without user verification', { userVerified: false }],
      ['from another origin', { origin: 'https://keyman.example.com.evil.test' }],
      ['for another RP ID', { rpId: 'evil.test' }],
      ['of a page in a frame', { crossOrigin: true }],
      ['of the wrong type', { type: 'webauthn.get' }],
      ['for a challenge that we never gave', { challenge: 'A'.repeat(43) }],
    ] as const)
      it(`is refused ${what}; the same without that is not`, async () => {
        const { options, complete } = await begin(`p${nameOf(what)}@example.com`)
        const authenticator = new Authenticator(ORIGIN)
        await expect(complete(authenticator.create(options, change))).rejects.toEqual(code('denied'))
        const again = await begin(`q${nameOf(what)}@example.com`)
        await again.complete(authenticator.create(again.options))
      })

    it('refuses the same registration twice, and a passkey that somebody has already', async () => {
      const { options, complete } = await begin('twice@example.com')
      const registration = new Authenticator(ORIGIN).create(options)
      await complete(registration)
      await expect(complete(registration)).rejects.toEqual(code('expired'))
      const authenticator = new Authenticator(ORIGIN)
      const third = await begin('third@example.com')
      const credentialId = fromBase64Url(String(registration.id))
      await expect(third.complete(authenticator.create(third.options, { credentialId }))).rejects.toEqual(
        code('conflict'),
      )
    })

    it('refuses what is no registration at all, and says which field', async () => {
      const { complete } = await begin('junk@example.com')
      for (const junk of [{}, { id: 'x' }, { response: { clientDataJSON: 'e30', attestationObject: 'AA' } }])
        await expect(complete(junk)).rejects.toMatchObject({
          code: 'invalid-input',
          fields: [{ field: 'registration' }],
        })
    })
  })

  describe("by the operator's recovery link", () => {
    it('makes a further owner', async () => {
      const { link } = await world.identity.enrolment.createAdminLink(undefined, { isNew: true }, operator())
      const { caller } = await enrol(world, 'second@localhost', { link })
      expect(caller.owner).toBe(true)
      expect((await records('admin-link-created')).at(-1)).toMatchObject({ actor: { kind: 'operator' } })
    })

    it('makes no passkey that was begun under another name', async () => {
      const { enrolment } = world.identity
      const { link } = await enrolment.createAdminLink(undefined, { isNew: true }, operator())
      const secret = secretOf(link)
      const complete = async (begun: string, identity: string) => {
        const registration = new Authenticator(ORIGIN).create(await enrolment.options(secret, person(begun)))
        return enrolment.complete({ secret, identity: person(identity), passkeyName: 'key', registration }, at())
      }
      await expect(complete('begun@localhost', 'ended@localhost')).rejects.toEqual(code('denied'))
      await complete('begun@localhost', 'begun@localhost')
    })

    it('never gives an identity to a second person unless the operator names it', async () => {
      const { link } = await world.identity.enrolment.createAdminLink(undefined, { isNew: true }, operator())
      await expect(enrol(world, 'alice@example.com', { link })).rejects.toEqual(code('conflict'))
      const named = await world.identity.enrolment.createAdminLink(
        person('alice@example.com'),
        { isNew: false },
        operator(),
      )
      const { caller } = await enrol(world, 'alice@example.com', { link: named.link })
      expect(caller).toMatchObject({ identity: 'alice@example.com', owner: true })
      expect(await world.identity.passkeys.list(person('alice@example.com'))).toHaveLength(2)
      expect((await records('enrolled')).at(-1)).toMatchObject({ details: { recovery: true, invitedBy: 'operator' } })
    })
  })
})
