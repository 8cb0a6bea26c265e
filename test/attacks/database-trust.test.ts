import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { type RootKey, readRootKey } from '#server/authority/trust/root-key.ts'
import { openStore, type Store } from '#server/store/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { decodeKrl } from '#shared/ssh/index.ts'
import { encodeTrustDocument, parseTrustDocument, type SignedBundle, type TrustBundle } from '#shared/trust/index.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { newKey, newWorld, sshsig, type TestKey } from '#test/support/trust-world.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'

/**
 * Whoever administers the database says which keys are to be trusted: what is believed is what the root of trust signed, as
 * this server remembers it outside of the database, and what its keystore holds.
 */
const parent = mkdtempSync(join(tmpdir(), 'keyman-database-trust-'))
const base = join(parent, 'base')
let folder = ''
let copies = 0
let opened: Rooms | undefined
let root: RootKey | undefined

beforeAll(async () => {
  const rooms = await openRooms({ folder: base })
  root = await readRootKey(rooms.trust.rootKeyFile)
  await rooms.close()
})
async function stop(): Promise<void> {
  const running = opened
  opened = undefined
  await running?.close()
}
afterEach(stop)
afterAll(() => rmSync(parent, { recursive: true }))

function fresh(): void {
  folder = join(parent, `copy${copies++}`)
  cpSync(base, folder, { recursive: true })
}
async function start(other: Parameters<typeof openRooms>[0] = {}): Promise<Rooms> {
  opened = await openRooms({ ...other, folder })
  return opened
}
/** Into the database of a stopped server. */
async function tamper(work: (store: Store) => Promise<unknown>): Promise<void> {
  fresh()
  const store = await openStore(await newPGlite(join(folder, 'db')))
  await work(store).finally(() => store.close())
}
const newest = async (rooms: Rooms): Promise<TrustBundle> =>
  parseTrustDocument((await rooms.trust.bundles()).at(-1)?.document ?? '')

const insertKey = (store: Store, label: string, purpose: string, spki: Uint8Array, certificate: string | null) =>
  store.execute(
    `insert into authority_key (label, purpose, state, spki, certificate, incarnation, created_at)
     values ($1, $2, 'retired', $3, $4, 'x', now())`,
    [label, purpose, spki, certificate],
  )
const listRevoked = async (store: Store, label: string) => {
  await store.execute('insert into revoked_certificate (authority, serial, key_id) values ($1, 1, $2)', [label, 'x'])
  await store.execute('update krl_state set version = version + 1', [])
}
/** The next bundle by these roots or keys, signed by whom it says. */
function bundleAfter(before: TrustBundle, change: Partial<TrustBundle>, sign: (document: string) => string) {
  const document = encodeTrustDocument({ ...before, version: before.version + 1, ...change })
  return { document, signatures: [sign(document)] }
}
const insertBundle = (store: Store, version: number, { document, signatures }: SignedBundle, changesRoots = false) =>
  store.execute(
    `insert into trust_bundle (version, document, signatures, changes_roots, published_at)
     values ($1::int, $2, $3::jsonb, $4::boolean, now())`,
    [version, document, JSON.stringify(signatures), changesRoots],
  )
const stranger = newKey()
const byStranger = (document: string) => sshsig(stranger, 'keyman-trust', utf8(document))
const byRoot = (document: string) => root?.sign(document) ?? ''
const der = (key: KeyObject) => new Uint8Array(key.export({ format: 'der', type: 'spki' }))
const spkiOf = (key: TestKey) => der(createPublicKey(key.privateKey))

it('a row of a foreign authority key, with its canary revoked: never signed by our root, never in the revocation list, told as an alarm', async () => {
  const world = newWorld()
  const machines = world.machines.root
  await tamper(async store => {
    await insertKey(store, 'ssh-user-9', 'ssh-user', spkiOf(world.userAuthority), world.canary)
    await insertKey(store, 'ssh-host-9', 'ssh-host', spkiOf(world.hostAuthority), null)
    await insertKey(store, 'machines-9', 'machines', der(new X509Certificate(machines).publicKey), machines)
    await listRevoked(store, 'ssh-user-9')
  })
  const rooms = await start()
  const { version, ssh, x509 } = await newest(rooms)
  expect([version, ssh.userAuthorities.length, ssh.hostAuthorities.length, x509.length]).toEqual([1, 1, 1, 1])
  expect(rooms.authority.machineRoots()).toHaveLength(1)
  const krl = decodeKrl((await rooms.authority.currentKrl()).bytes)
  expect(krl.certificates).toHaveLength(1)
  for (const label of ['ssh-user-9', 'ssh-host-9', 'machines-9'])
    expect(rooms.said).toContainEqual(expect.stringMatching(new RegExp(`ALARM.*${label}`)))
})

it('a row of a key that the keystore holds under that label is published', async () => {
  fresh()
  const before = await start()
  const { spki } = await before.keystore.generateKey('ssh-host-9', 'ed25519')
  await insertKey(before.store, 'ssh-host-9', 'ssh-host', spki, null)
  await stop()
  const rooms = await start()
  const { version, ssh } = await newest(rooms)
  expect([version, ssh.hostAuthorities.map(({ state }) => state)]).toEqual([2, ['active', 'retired']])
  expect(rooms.said).toEqual([])
})

it('a foreign row that comes while the server runs is refused at the next look; one of our keystore is taken in', async () => {
  fresh()
  const rooms = await start()
  await insertKey(rooms.store, 'ssh-host-9', 'ssh-host', spkiOf(stranger), null)
  await rooms.authority.reload()
  expect(rooms.authority.trusted().hostAuthorities).toHaveLength(1)
  expect(rooms.said).toContainEqual(expect.stringMatching(/ALARM.*ssh-host-9/))
  expect(parseTrustDocument(await rooms.trust.next()).ssh.hostAuthorities).toHaveLength(1)
  const { spki } = await rooms.keystore.generateKey('ssh-host-8', 'ed25519')
  await insertKey(rooms.store, 'ssh-host-8', 'ssh-host', spki, null)
  await rooms.authority.reload()
  expect(parseTrustDocument(await rooms.trust.next()).ssh.hostAuthorities).toHaveLength(2)
  await rooms.store.execute(`delete from authority_key where label = 'ssh-host-1'`, [])
  await expect(rooms.authority.reload()).rejects.toThrow(/lacks 1 of the authority keys/)
  expect(rooms.authority.trusted().hostAuthorities).toHaveLength(2)
})

it('a second row of a trusted key, by another label, is none: its serials and revocations are those of the first', async () => {
  fresh()
  const rooms = await start()
  await rooms.store.execute('drop index authority_key_active', [])
  await rooms.store.execute(
    `insert into authority_key (label, purpose, state, spki, certificate, incarnation, created_at)
     select 'ssh-user-9', purpose, state, spki, certificate, incarnation, created_at from authority_key where label = 'ssh-user-1'`,
    [],
  )
  await rooms.authority.reload()
  expect(rooms.authority.trusted().userAuthorities).toHaveLength(1)
  expect(rooms.said).toEqual([expect.stringMatching(/ALARM.*ssh-user-9/)])
})

it("a row that makes another authority of our own host authority's or log key", async () => {
  fresh()
  const before = await start()
  const keys = await before.keystore.listKeys()
  const held = (label: string) => keys.find(key => key.label === label)?.spki ?? new Uint8Array()
  await insertKey(before.store, 'ssh-user-9', 'ssh-user', held('ssh-host-1'), newWorld().canary)
  await insertKey(before.store, 'log-1', 'ssh-host', held('log-1'), null)
  await stop()
  const rooms = await start()
  expect((await newest(rooms)).version).toBe(1)
  expect(rooms.said).toHaveLength(2)
})

it.each([
  ['taken out', `delete from authority_key where purpose = 'ssh-host'`],
  [
    'made another key',
    `update authority_key set spki = (select spki from authority_key where purpose = 'ssh-user') where purpose = 'ssh-host'`,
  ],
  ['retired', `update authority_key set state = 'retired' where purpose = 'ssh-host'`],
  [
    'given a canary where it has none',
    `do $$ begin alter table authority_key drop constraint authority_key_check;
      update authority_key set certificate = 'ssh-ed25519 AAAA' where purpose = 'ssh-host'; end $$`,
  ],
  [
    'given the canary of nobody',
    `update authority_key set certificate = 'ssh-ed25519 AAAA' where purpose = 'ssh-user'`,
  ],
])('the row of a trusted key is %s: the server does not start on it, and makes no new key', async (_, sql) => {
  await tamper(store => store.execute(sql, []))
  await expect(start()).rejects.toThrow(/authority keys that the root of trust signed/)
  const store = await openStore(await newPGlite(join(folder, 'db')))
  const count = await store.query('select label from authority_key', [], { parse: row => row })
  await store.close()
  expect(count.length).toBeLessThanOrEqual(3)
})

it('a trust bundle that nobody signed, or a stranger: the root stays, the verified one is served, an alarm is raised', async () => {
  fresh()
  const rooms = await start()
  const pinned = rooms.trust.rootFingerprint()
  const roots = { threshold: 1, keys: [stranger.line] }
  for (const forged of [
    { ...bundleAfter(await newest(rooms), { roots }, byStranger), signatures: [] },
    bundleAfter(await newest(rooms), { roots }, byStranger),
  ]) {
    await insertBundle(rooms.store, 2, forged, true)
    await rooms.trust.reload()
    expect(rooms.trust.rootFingerprint()).toBe(pinned)
    expect((await newest(rooms)).version).toBe(1)
    expect(rooms.said).toContainEqual(expect.stringContaining('not what the root of trust signed'))
    await expect(rooms.trust.next()).rejects.toMatchObject({ code: 'unavailable' })
    await rooms.store.execute('delete from trust_bundle where version = 2', [])
  }
  const good = bundleAfter(await newest(rooms), { hostSuffixes: ['good.example.com'] }, byRoot)
  await insertBundle(rooms.store, 2, good)
  await rooms.trust.reload()
  expect((await newest(rooms)).hostSuffixes).toEqual(['good.example.com'])
})

it.each([
  ['without a signature', () => [], 2],
  ['by a stranger', (document: string) => [byStranger(document)], 2],
  ['under another version than its own', (document: string) => [byRoot(document)], 7],
] as const)(
  'a server does not start on a trust bundle %s; on one that the root signed it does',
  async (_, sign, version) => {
    let next: SignedBundle | undefined
    const put = async (store: Store, signatures: (document: string) => readonly string[], as: number) => {
      const [row] = await store.query('select document from trust_bundle', [], { parse: row => row })
      const before = parseTrustDocument(String(Reflect.get(Object(row), 'document')))
      const { document } = bundleAfter(before, { publicUrl: 'https://keyman.example.com' }, byRoot)
      next = { document, signatures: [...signatures(document)] }
      await insertBundle(store, as, next)
    }
    await tamper(store => put(store, sign, version))
    await expect(start()).rejects.toMatchObject({ code: 'denied' })
    await tamper(store => put(store, document => [byRoot(document)], 2))
    expect((await newest(await start())).version).toBe(2)
  },
)

it('trust bundles that went back, or are gone: the server does not start, and one that runs says so and keeps what it has', async () => {
  fresh()
  const before = await start()
  const document = await before.trust.next()
  const by = { actor: { kind: 'operator' as const }, requestId: 'req_next' }
  await before.trust.publish({ document, signatures: [byRoot(document)] }, by)
  await before.store.execute('delete from trust_bundle where version = 2', [])
  await before.trust.reload()
  expect(before.said).toContainEqual(expect.stringContaining('older than version 2, which is held'))
  expect((await newest(before)).version).toBe(2)
  await stop()
  await expect(start()).rejects.toThrow(/older than version 2/)
  const store = await openStore(await newPGlite(join(folder, 'db')))
  await store.execute('delete from trust_bundle', [])
  await store.close()
  await expect(start()).rejects.toThrow(/no trust bundle, but pinned here is version 2/)
})

it('without a memory a server starts only where the root of trust is named, and is the right one', async () => {
  fresh()
  const first = await start()
  const rootFingerprint = first.trust.rootFingerprint()
  await stop()
  const forget = () => {
    fresh()
    rmSync(join(folder, 'pins'), { recursive: true })
    rmSync(join(folder, 'root'), { recursive: true })
  }
  forget()
  await expect(start()).rejects.toMatchObject({ hint: expect.stringContaining('KEYMAN_TRUST_ROOT_FINGERPRINT') })
  const another = `SHA256:${'A'.repeat(43)}`
  await expect(start({ rootFingerprint: another })).rejects.toThrow(/no trust bundle has the root of trust/)
  expect((await newest(await start({ rootFingerprint }))).version).toBe(1)
  await stop()
  // Pinned from now on.
  expect((await newest(await start())).version).toBe(1)
  await stop()
  await expect(start({ rootFingerprint: another })).rejects.toThrow(/no trust bundle has the root of trust/)
})

it('a data folder of the version before takes its pin from what names the root there, and from nothing else', async () => {
  fresh()
  rmSync(join(folder, 'pins'), { recursive: true })
  const upgraded = await start()
  const rootFingerprint = upgraded.trust.rootFingerprint()
  await stop()
  const withLocal = (print: string) => {
    fresh()
    rmSync(join(folder, 'pins'), { recursive: true })
    rmSync(join(folder, 'root'), { recursive: true })
    writeFileSync(join(folder, 'local.json'), JSON.stringify({ rootFingerprint: print }))
  }
  withLocal(rootFingerprint)
  expect((await newest(await start())).version).toBe(1)
  await stop()
  withLocal(`SHA256:${'A'.repeat(43)}`)
  await expect(start()).rejects.toThrow(/no trust bundle has the root of trust/)
})

it('a pin that is damaged never counts as none', async () => {
  fresh()
  writeFileSync(join(folder, 'pins', 'trust-bundle.json'), '{}')
  await expect(start()).rejects.toThrow(/trust-bundle.json is damaged/)
})

it('a row in the table of incarnations: the root signs no new history by itself', async () => {
  await tamper(store =>
    store.execute(`insert into incarnation (number, id) select max(number) + 1, 'forged' from incarnation`, []),
  )
  await expect(start()).rejects.toThrow(/incarnation forged, which the root of trust has not signed/)
  const store = await openStore(await newPGlite(join(folder, 'db')))
  const bundles = await store.query('select version from trust_bundle', [], { parse: row => row })
  await store.close()
  expect(bundles).toHaveLength(1)
})

it('a second server with other addresses on the same database is refused at its start; with the same it starts', async () => {
  fresh()
  const first = await start()
  const rootFingerprint = first.trust.rootFingerprint()
  await stop()
  const second = () => {
    rmSync(join(folder, 'pins'), { recursive: true })
    return start({ rootFingerprint, machinesUrl: 'https://other.example.com:4443' })
  }
  await expect(second()).rejects.toThrow(/other addresses than the organisation's/)
  // It holds the root key, and still nothing of it was published.
  rmSync(join(folder, 'pins'), { recursive: true })
  expect((await newest(await start({ rootFingerprint }))).version).toBe(1)
  await stop()
  // The same server, which has run with the addresses of the bundle: its configuration was changed.
  const moved = await start({ machinesUrl: 'https://other.example.com:4443' })
  expect(await newest(moved)).toMatchObject({ version: 2, machinesUrl: 'https://other.example.com:4443' })
})
