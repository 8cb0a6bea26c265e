import { createHash } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { MachineCaller } from '#server/identity/index.ts'
import type { Keystore } from '#server/keystore/index.ts'
import { schemas } from '#shared/api/index.ts'
import { toHex } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'

/** Real rooms over a real keystore; between authority and keystore stands what counts, spoils or holds up. */
let rooms: Rooms
const signed: { label: string; hash: string }[] = []
let fault: 'none' | 'throws' | 'another key' | 'ill' | 'held up' = 'none'
let release: () => void = () => {}
const between = (keystore: Keystore): Keystore => ({
  ...keystore,
  kind: keystore.kind,
  capabilities: keystore.capabilities,
  generateKey: (label, algorithm) => keystore.generateKey(label, algorithm),
  listKeys: () => keystore.listKeys(),
  wrapDataKey: (...a) => keystore.wrapDataKey(...a),
  unwrapDataKey: (...a) => keystore.unwrapDataKey(...a),
  close: () => keystore.close(),
  async health() {
    if (fault === 'ill') throw new KeymanError('unavailable', 'the token is gone')
    await keystore.health()
  },
  async sign(label, data, spki) {
    if (fault === 'throws') throw new KeymanError('unavailable', 'the token is gone')
    if (fault === 'held up')
      await new Promise<void>(resolve => {
        const others = release
        release = () => {
          others()
          resolve()
        }
      })
    const signature = await keystore.sign(fault === 'another key' ? 'impostor' : label, data, spki)
    signed.push({ label, hash: toHex(createHash('sha256').update(data).digest()) })
    return signature
  },
})

let requests = 0
const request = () => ({ requestId: `req_test_${++requests}` })
let alice: MachineCaller
beforeAll(async () => {
  rooms = await openRooms({ wrapKeystore: between })
  await rooms.addPerson('alice@example.com')
  await rooms.access.addGrant(
    schemas.newGrant.parse({ who: 'alice@example.com', login: 'deploy', hosts: { labels: { env: 'prod' } } }),
    { actor: { kind: 'operator' }, ...request() },
  )
  alice = await rooms.addSession('alice@example.com')
})
afterEach(() => {
  fault = 'none'
})
afterAll(() => rooms.close())
const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'accepted',
    (error: unknown) => (error instanceof KeymanError ? `${error.code}: ${error.message}` : String(error)),
  )
const recordsOf = async (kind?: 'ssh-user-certificate' | 'sign-failed') =>
  (await rooms.ledger.list({ limit: 1000, ...(kind ? { kind } : {}) })).map(({ record }) => JSON.parse(record))

test('every signature by an authority key, from the first start on, has a durable record of what was signed', async () => {
  await rooms.authority.issueUserCertificate(alice, request())
  await rooms.authority.issueSessionClientCertificate(alice, request())
  await rooms.authority.serverCertificate(['localhost'], () => {})
  const recorded = new Set((await recordsOf()).map(record => record.certificate?.bodyHash))
  expect(signed.map(({ label }) => label)).toEqual([
    'ssh-user-1',
    'machines-1',
    'ssh-user-1',
    'machines-1',
    'machines-1',
  ])
  for (const { hash } of signed) expect(recorded).toContain(hash)
})

test('a keystore that fails between record and signature: nothing is released, and the log says that it failed', async () => {
  fault = 'throws'
  const asked = request()
  const both = [
    rooms.authority.issueUserCertificate(alice, asked),
    rooms.authority.issueSessionClientCertificate(alice, asked),
  ]
  for (const each of await Promise.all(both.map(refusal))) expect(each).toMatch(/^unavailable/)
  // Two of one request, as a login asks for: each has its own line.
  const failed = await recordsOf('sign-failed')
  expect(failed.map(({ target }) => target.split(' ')[0]).sort()).toEqual(['machines-1', 'ssh-user-1'])
  for (const { details } of failed) expect(details.requestId).toBe(asked.requestId)
  fault = 'none'
  expect(await refusal(rooms.authority.issueUserCertificate(alice, request()))).toBe('accepted')
})

test("a key that was put in the place of the authority's, under its label, signs nothing", async () => {
  const { algorithm } = (await rooms.keystore.listKeys()).find(({ label }) => label === 'ssh-user-1') ?? {}
  await rooms.keystore.generateKey('impostor', algorithm ?? 'ed25519')
  fault = 'another key'
  const told = 'the key impostor in the keystore is not the one that this server works with'
  expect(await refusal(rooms.authority.issueUserCertificate(alice, request()))).toBe(`unavailable: ${told}`)
  expect((await recordsOf('sign-failed')).at(-1)).toMatchObject({ reason: told })
})

test('while the keystore is known to be ill nothing is recorded at all', async () => {
  fault = 'throws'
  await refusal(rooms.authority.issueUserCertificate(alice, request()))
  fault = 'ill'
  const before = (await recordsOf()).length
  expect(await refusal(rooms.authority.issueUserCertificate(alice, request()))).toMatch(/^unavailable/)
  expect(await recordsOf()).toHaveLength(before)
})

test('with too much under way the next is turned away at once, before anything is recorded of it', async () => {
  fault = 'held up'
  const earlier = (await recordsOf('ssh-user-certificate')).length
  const all = Array.from({ length: 520 }, () => refusal(rooms.authority.issueUserCertificate(alice, request())))
  const first = await Promise.race(all)
  expect(first).toMatch(/^unavailable: more certificates are asked for/)
  fault = 'none'
  // Those that came to the keystore while it was held up, and those that come there later.
  const pump = setInterval(() => release(), 5)
  const outcomes = await Promise.all(all)
  clearInterval(pump)
  expect(outcomes.filter(outcome => outcome === 'accepted')).toHaveLength(512)
  expect((await recordsOf('ssh-user-certificate')).length - earlier).toBe(512)
})
