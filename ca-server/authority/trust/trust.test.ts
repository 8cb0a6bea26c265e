import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPins } from '#server/pins/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseTrustDocument, verifyTrustChain } from '#shared/trust/index.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'

let rooms: Rooms
let keys: string
let requests = 0
const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_by_${++requests}` })
/** As `keyman trust sign` and the operator's own `ssh-keygen` do. */
function signWith(keyFile: string, document: string): string {
  const file = join(keys, 'document')
  writeFileSync(file, document)
  rmSync(`${file}.sig`, { force: true })
  execFileSync('ssh-keygen', ['-q', '-Y', 'sign', '-n', 'keyman-trust', '-f', keyFile, file])
  return readFileSync(`${file}.sig`, 'utf8').trim()
}
function newKey(name: string): { file: string; line: string } {
  const file = join(keys, name)
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'a comment', '-f', file])
  return { file, line: readFileSync(`${file}.pub`, 'utf8').trim() }
}
const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'accepted',
    (error: unknown) => (error instanceof KeymanError ? `${error.code}: ${error.message}` : String(error)),
  )

beforeAll(async () => {
  rooms = await openRooms()
  keys = mkdtempSync(join(tmpdir(), 'keyman-roots-'))
})
afterAll(async () => {
  await rooms.close()
  rmSync(keys, { recursive: true })
})

test('the first start makes a root key that only its owner reads, and a bundle that it signed', async () => {
  expect(statSync(rooms.trust.rootKeyFile).mode & 0o777).toBe(0o600)
  const fingerprint = execFileSync('ssh-keygen', ['-lf', rooms.trust.rootKeyFile], { encoding: 'utf8' }).split(' ')[1]
  expect(rooms.trust.rootFingerprint()).toBe(fingerprint)
  const bundle = verifyTrustChain(await rooms.trust.bundles(), { fingerprint: rooms.trust.rootFingerprint() })
  expect(bundle).toMatchObject({ organisation: 'acme', version: 1, incarnation: rooms.store.incarnation })
  expect(bundle.x509[0]?.certificate).toBe(rooms.authority.machineRoots()[0])
  expect(await rooms.trust.pending()).toBe(undefined)
  expect(await rooms.trust.holdsRootKey()).toBe(true)
})

test('a document that the root has not signed is not published, nor one that is not what the server holds', async () => {
  const stranger = newKey('stranger')
  const document = await rooms.trust.next()
  const forged = { document, signatures: [signWith(stranger.file, document)] }
  expect(await refusal(rooms.trust.publish(forged, by()))).toMatch(/^denied: .*not signed/)
  const changed = document.replace('prod.example.com', 'evil.example.com')
  const other = { document: changed, signatures: [signWith(rooms.trust.rootKeyFile, changed)] }
  expect(await refusal(rooms.trust.publish(other, by()))).toMatch(/^conflict: .*not what this server holds/)
  const good = { document, signatures: [signWith(rooms.trust.rootKeyFile, document)] }
  expect(await refusal(rooms.trust.publish(good, by()))).toBe('accepted')
  expect(await refusal(rooms.trust.publish(good, by()))).toMatch(/^conflict: .*published already/)
})

test('a root that is added and has not signed is not published, whatever the threshold is', async () => {
  const [one, two] = [newKey('added-one'), newKey('added-two')]
  const root = execFileSync('ssh-keygen', ['-y', '-f', rooms.trust.rootKeyFile], { encoding: 'utf8' }).trim()
  const document = await rooms.trust.next({ threshold: 1, keys: [root, one.line, two.line] })
  const signatures = [rooms.trust.rootKeyFile, one.file].map(key => signWith(key, document))
  expect(await refusal(rooms.trust.publish({ document, signatures }, by()))).toMatch(/^denied: .*has not signed/)
})

test('the root moves to another key with the signatures of both, and machines that pinned the old one follow', async () => {
  const before = rooms.trust.rootFingerprint()
  const next = newKey('new-root')
  const document = await rooms.trust.next({ threshold: 1, keys: [next.line] })
  const old = signWith(rooms.trust.rootKeyFile, document)
  expect(await refusal(rooms.trust.publish({ document, signatures: [old] }, by()))).toMatch(/^denied: .*the new root/)
  await rooms.trust.publish({ document, signatures: [old, signWith(next.file, document)] }, by())
  expect(rooms.trust.rootFingerprint()).not.toBe(before)
  expect(await rooms.trust.holdsRootKey()).toBe(false)
  const bundles = await rooms.trust.bundles()
  expect(bundles.map(bundle => parseTrustDocument(bundle.document).version)).toEqual([1, 3])
  expect(verifyTrustChain(bundles, { fingerprint: before }).version).toBe(3)
  expect(await rooms.trust.bundles(3)).toHaveLength(1)
})

test('where the root key is elsewhere, what changed waits to be signed', async () => {
  const { folder } = rooms
  renameSync(rooms.trust.rootKeyFile, join(folder, 'kept-elsewhere'))
  const { createTrust } = await import('./create-trust.ts')
  const { openBundles } = await import('./verified.ts')
  const moved = await createTrust({
    store: rooms.store,
    ledger: rooms.ledger,
    act: rooms.identity.act,
    authority: rooms.authority,
    logKeys: { name: 'keyman.example.com/log', held: [new Uint8Array(32).fill(1)] },
    now: () => rooms.clock.now,
    random: size => new Uint8Array(size),
    bundles: await openBundles({ store: rooms.store, pins: openPins(folder), dataFolder: folder, alarm: () => {} }),
    rootKeyFile: rooms.trust.rootKeyFile,
    organisation: 'acme',
    publicUrl: 'https://keyman.example.com',
    machinesUrl: 'https://keyman.example.com:8443',
    hostSuffixes: ['prod.example.com'],
  })
  const waiting = (await moved.pending()) ?? ''
  expect(parseTrustDocument(waiting)).toMatchObject({ version: 4, machinesUrl: 'https://keyman.example.com:8443' })
  const signatures = [signWith(join(keys, 'new-root'), waiting)]
  expect(await moved.publish({ document: waiting, signatures }, by())).toEqual({ version: 4 })
  expect(await moved.pending()).toBe(undefined)

  // The other server hears of a root that this one published.
  await rooms.trust.start()
  const third = newKey('third-root')
  const document = await moved.next({ threshold: 1, keys: [third.line] })
  const both = [signWith(join(keys, 'new-root'), document), signWith(third.file, document)]
  await moved.publish({ document, signatures: both }, by())
  await expect.poll(() => rooms.trust.rootFingerprint(), { timeout: 10_000 }).toBe(moved.rootFingerprint())
  await rooms.trust.stop()
})

test('a root key that is damaged is named, with what to do', async () => {
  writeFileSync(rooms.trust.rootKeyFile, 'not a key', { mode: 0o600 })
  await expect(rooms.trust.holdsRootKey()).rejects.toMatchObject({
    message: expect.stringContaining(rooms.trust.rootKeyFile),
    hint: expect.stringContaining('backup'),
  })
  rmSync(rooms.trust.rootKeyFile)
})
