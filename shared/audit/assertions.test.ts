import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Authenticator, type Change } from '#test/support/people/authenticator.ts'
import {
  as,
  at,
  enrol,
  type IdentityWorld,
  login,
  ORIGIN,
  openIdentityWorld,
  stepUpOf,
} from '#test/support/worlds/identity-world.ts'
import { fromBase64Url, toBase64Url } from '../bytes.ts'
import { canonicalJson } from '../canonical-json.ts'
import { actionChallenge, loginChallenge } from '../login-challenge.ts'
import { AssertionAudit } from './index.ts'

type Json = { [key: string]: unknown }
const isJson = (value: unknown): value is Json => typeof value === 'object' && value !== null
function json(value: unknown): Json {
  if (isJson(value)) return value
  throw new TypeError('no object')
}

/** The records of a real server, about real logins, sign-ins and touches of authenticators in software. */
let world: IdentityWorld
let log: readonly string[]
let alice: Authenticator
let bob: Authenticator

beforeAll(async () => {
  world = await openIdentityWorld()
  alice = (await enrol(world, 'alice@example.com', { owner: true })).authenticator
  const eddsa = new Authenticator(ORIGIN, { algorithm: 'eddsa', counting: true })
  bob = (await enrol(world, 'bob@example.com', { authenticator: eddsa })).authenticator
  const { identity } = world
  const { caller } = await login(world, alice)
  await login(world, bob)
  const browser = (await identity.signIns.complete(alice.get(await identity.signIns.options()), at(), undefined)).caller
  const asked = {
    action: 'grant add',
    mandated: () => false,
    request: 'POST /v1/grants',
    shown: async () => [{ name: 'To', value: 'bob@example.com' }],
    from: '192.0.2.9',
  }
  const id = await stepUpOf(identity.touches.require(caller, asked, undefined))
  await identity.actions.confirm(id, alice.get(await identity.actions.options(id)), at(), undefined)
  // A second passkey, and the first one goes.
  const second = new Authenticator(ORIGIN)
  const registration = second.create(await identity.passkeys.addOptions(browser))
  await identity.passkeys.add(as(browser), { name: 'key', registration })
  const own = await identity.passkeys.list(caller.identity)
  const first = own.find(({ name }) => name === 'laptop')
  await identity.passkeys.remove(as(browser), first?.id ?? '')
  await login(world, second)
  // A record that says nothing more.
  await identity.signIns.end(as(browser))
  log = (await world.ledger.list({ limit: 1000 })).map(({ record }) => record)
})
afterAll(() => world.close())

function audit(records: readonly string[], publicUrl = ORIGIN) {
  const found = new AssertionAudit(publicUrl)
  for (const [n, record] of records.entries()) found.take(BigInt(n), record)
  return found.report()
}
const kindOf = (record: string) => JSON.parse(record).kind
const flowOf = (record: string) => JSON.parse(record).details?.flow
/** The first record that is like this. */
function indexOf(isMeant: (record: string) => boolean): number {
  const index = log.findIndex(isMeant)
  if (index < 0) throw new Error('there is no such record')
  return index
}
const loopback = () => indexOf(record => flowOf(record) === 'loopback')
const signIn = () => indexOf(record => flowOf(record) === 'browser')
const touch = () => indexOf(record => kindOf(record) === 'assertion')

/** The log with one record otherwise. */
function withRecord(index: number, change: (record: Json) => unknown): string[] {
  const record = JSON.parse(log[index] ?? '')
  change(record)
  return log.with(index, canonicalJson(record))
}
function memberAt(record: Json, path: readonly string[]): { readonly holder: Json; readonly name: string } {
  const holder = path.slice(0, -1).reduce((value, key) => json(value[key]), record)
  return { holder, name: path.at(-1) ?? '' }
}
/** All that a record says in `details`, by path. */
function pathsOf(value: unknown, path: readonly string[]): string[][] {
  return typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, member]) => pathsOf(member, [...path, key]))
    : [[...path]]
}
/** Another value of the same kind, with the first bit of its first character's 6 changed where it is base64. */
const otherThan = (value: unknown): unknown =>
  typeof value === 'number' ? value + 1 : `${String(value).startsWith('B') ? 'C' : 'B'}${String(value).slice(1)}`

/** What is only told, and was no part of what the passkey signed. */
const TOLD = ['startedFrom', 'assertedFrom', 'assertedAt', 'askedFrom']

describe('the audit of what passkeys said', () => {
  it('finds every login, sign-in and touch of a real log good, by passkeys of both kinds, and after one was exchanged', () => {
    expect(audit(log)).toEqual({ good: 5, failed: [], notCheckable: [] })
  })

  it.each([
    ['a login', loopback, 'login'],
    ['a sign-in', signIn, 'login'],
    ['a touch', touch, 'assertion'],
  ] as const)('names %s that was changed in any one field, and says what it does not hold', (_, find, kind) => {
    const index = find()
    const paths = pathsOf(JSON.parse(log[index] ?? '').details, ['details']).filter(
      path => !TOLD.includes(path.at(-1) ?? ''),
    )
    expect(paths.length).toBeGreaterThan(6)
    for (const path of [...paths, ['actor', 'identity']]) {
      const changed = withRecord(index, record => {
        const { holder, name } = memberAt(record, path)
        holder[name] = otherThan(holder[name])
      })
      const others = { good: 4, notCheckable: [] }
      expect(audit(changed), path.join('.')).toMatchObject({ ...others, failed: [{ index: BigInt(index), kind }] })
      const without = withRecord(index, record => {
        const { holder, name } = memberAt(record, path)
        delete holder[name]
      })
      const message = expect.stringContaining('does not hold')
      const notHeld = { good: 4, failed: [], notCheckable: [{ index: BigInt(index), kind, message }] }
      expect(audit(without), path.join('.')).toMatchObject(notHeld)
    }
  })

  it('says of a login without evidence that it is not checkable, and never that it is good', () => {
    const bare = withRecord(loopback(), record => delete record.details)
    expect(audit(bare)).toMatchObject({
      good: 4,
      failed: [],
      notCheckable: [{ message: 'it does not hold any details' }],
    })
    expect(audit([...log, 'no record'])).toMatchObject({ good: 5, notCheckable: [{ kind: 'unknown' }] })
  })

  it.each<[string, Change, RegExp | undefined]>([
    ['as it should be', {}, undefined],
    ['without a look at whose hand it is', { userVerified: false }, /did not verify/],
    ['on another page', { origin: 'https://keyman.example.org' }, /another page/],
    ['on a page of the same name without TLS', { origin: 'http://keyman.example.com' }, /another page/],
    ['on a page within another', { crossOrigin: true }, /another page/],
    ['for another name', { rpId: 'example.com' }, /another name/],
    ['for something else', { type: 'payment.get' }, /something else/],
    ['for another challenge', { challenge: toBase64Url(new Uint8Array(32)) }, /not what the passkey was touched for/],
    ['with a signature that does not fit', { badSignature: true }, /signature does not fit/],
  ])('judges a login whose passkey answered %s', (_, change, expected) => {
    const index = indexOf(
      record => flowOf(record) === 'loopback' && JSON.parse(record).actor.identity === 'bob@example.com',
    )
    const answered = withRecord(index, record => {
      const details = json(record.details)
      const said = json(details.challenge)
      const challenge = loginChallenge({
        nonce: fromBase64Url(String(said.nonce)),
        sshPublicKey: Uint8Array.fromBase64(String(said.sshPublicKey)),
        clientSpki: Uint8Array.fromBase64(String(said.clientSpki)),
        lifetime: Number(said.lifetime),
        device: String(said.device),
        origin: String(said.origin),
      })
      Object.assign(json(details.assertion), json(bob.get({ challenge: toBase64Url(challenge) }, change).response))
    })
    const { good, failed } = audit(answered)
    expect({ good, failed: failed.length }).toEqual(expected ? { good: 4, failed: 1 } : { good: 5, failed: 0 })
    if (expected) expect(failed[0]?.message).toMatch(expected)
  })

  it('takes the word of no authenticator that nobody touched', () => {
    const untouched = withRecord(signIn(), record => {
      const assertion = json(json(record.details).assertion)
      const data = fromBase64Url(String(assertion.authenticatorData))
      data[32] = (data[32] ?? 0) & ~1
      assertion.authenticatorData = toBase64Url(data)
    })
    expect(audit(untouched).failed).toMatchObject([{ message: 'nobody touched the passkey' }])
  })

  it('names what was touched for another organisation; the port of its page may have changed', () => {
    expect(audit(log, 'https://keyman.example.org')).toMatchObject({ good: 0, failed: { length: 5 } })
    expect(audit(log, `${ORIGIN}:8443`)).toMatchObject({ good: 5, failed: [] })
  })

  it("names a login by a passkey that was not added yet, was removed before, or is another person's", () => {
    const message = 'by the records before it alice@example.com has no such passkey'
    const added = indexOf(record => kindOf(record) === 'passkey-added')
    const one = log[loopback()] ?? ''
    expect(audit([...log.toSpliced(loopback(), 1).toSpliced(added, 0, one)]).failed).toMatchObject([{ message }])
    // After the removal; in its own place it is good, as the first test says.
    expect(audit([...log.toSpliced(loopback(), 1), one]).failed).toMatchObject([{ message }])
    const foreign = withRecord(loopback(), record => {
      json(record.actor).identity = 'bob@example.com'
      record.facts = {}
    })
    expect(audit(foreign).failed).toMatchObject([{ message: message.replace('alice', 'bob') }])
  })

  it('names a passkey that is added otherwise than it is shown, and every login by it', () => {
    const index = indexOf(record => kindOf(record) === 'passkey-added')
    const other = withRecord(index, record => {
      const details = json(record.details)
      details.publicKey = otherThan(details.publicKey)
    })
    const failed = audit(other).failed
    expect(failed[0]).toMatchObject({ index: BigInt(index), message: expect.stringContaining('another passkey') })
    expect(failed.length).toBe(4)
    // No other record gives anybody a passkey, whatever it says.
    const disguised = withRecord(index, record => {
      record.kind = 'passkey-renamed'
    })
    expect(audit(disguised).failed.length).toBe(3)
  })

  it('reads what an earlier release wrote, whose records say nothing of rows, and what was taken over from it', () => {
    const without = log.map(record => {
      const { facts, ...rest } = JSON.parse(record)
      return canonicalJson(rest)
    })
    expect(audit(without)).toEqual({ good: 5, failed: [], notCheckable: [] })
    // After the removal, which such a record says by its kind alone.
    const one = without[loopback()] ?? ''
    expect(audit([...without.toSpliced(loopback(), 1), one]).failed).toHaveLength(1)
    const adopted = withRecord(
      indexOf(record => kindOf(record) === 'passkey-added'),
      record => {
        record.kind = 'log-adopted'
      },
    )
    expect(audit(adopted)).toEqual({ good: 5, failed: [], notCheckable: [] })
  })

  it('lets an answer count once', () => {
    const again = log.toSpliced(loopback() + 1, 0, log[loopback()] ?? '')
    expect(audit(again).failed).toMatchObject([
      { index: BigInt(loopback() + 1), message: `this answer of the passkey counted before, in record ${loopback()}` },
    ])
  })

  it('names a login that lets another key be certified, and a touch that allows something else', () => {
    const certifying = withRecord(loopback(), record => {
      const facts = json(record.facts)
      facts['session-key:alice@example.com SHA256:other 1772400000'] = 'x'
    })
    expect(audit(certifying).failed).toMatchObject([{ message: expect.stringContaining('another SSH key') }])
    const allowing = withRecord(touch(), record => {
      const facts = json(record.facts)
      const id = `touch:${record.target}`
      expect(facts[id]).toBeDefined()
      facts[id] = 'x'
    })
    expect(audit(allowing).failed).toMatchObject([{ message: 'it allows something else than was shown' }])
  })

  /** The touch, answered once more by Alice's first passkey. */
  const touchAnswered = (said: Json, change: Change = {}) =>
    withRecord(touch(), record => {
      const details = json(record.details)
      const all: Json = { ...json(details.challenge), ...said }
      const challenge = actionChallenge({
        nonce: fromBase64Url(String(all.nonce)),
        action: String(all.action),
        request: Uint8Array.fromBase64(String(all.request)),
        shown: String(all.shown),
        session: String(all.session),
        device: String(all.device),
        clientSpki: Uint8Array.fromBase64(String(all.clientSpki)),
      })
      const answer = alice.get({ challenge: toBase64Url(challenge) }, change, alice.credentials[0])
      Object.assign(json(details.assertion), answer.response)
    })

  it('is not deceived by what was consented to in the name of another action', () => {
    expect(audit(touchAnswered({})).failed).toEqual([])
    const message = 'what it says is not what the passkey was touched for'
    expect(audit(touchAnswered({ action: 'grant remove' })).failed).toMatchObject([{ message }])
  })

  it('names a touch on another page, of which the record says nothing itself', () => {
    for (const origin of ['https://other.example.com', 'http://keyman.example.com', `${ORIGIN}/`, 'null'])
      expect(audit(touchAnswered({}, { origin })).failed, origin).toMatchObject([
        { message: "the passkey was touched on another page than this organisation's" },
      ])
  })

  it('names what is recorded of another session, or with the fingerprints of other keys, though all else fits', () => {
    const ofAnother = withRecord(touch(), record => {
      json(record.actor).session = 'session_other'
    })
    expect(audit(ofAnother).failed).toMatchObject([{ message: expect.stringContaining('its session is not') }])
    const withKey = withRecord(loopback(), record => {
      json(record.details).sshKey = 'SHA256:other'
      record.facts = { 'session-key:alice@example.com SHA256:other 1772400000': 'x' }
    })
    expect(audit(withKey).failed).toMatchObject([{ message: expect.stringContaining('its SSH key is not') }])
  })
})
