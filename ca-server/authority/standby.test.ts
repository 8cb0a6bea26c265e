import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { type KeystoreConfig, openKeystore } from '#server/keystore/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { schemas } from '#shared/api/index.ts'
import { revokedFact, versionFact } from '#shared/audit/index.ts'
import { decodeKrl, isRevoked, parseCertificate, parsePublicKey, verifyCertificate } from '#shared/ssh/index.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { recorded } from '#test/support/worlds/insert-rows.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'

const folder = await mkdtemp(join(tmpdir(), 'keyman-standby-'))
afterAll(() => rm(folder, { recursive: true }))
const standbyKeystore: KeystoreConfig = {
  kind: 'software',
  folder: join(folder, 'standby'),
  unlock: { keyFile: join(folder, 'standby.key') },
}
const insertStandby = (t: Queryable, spki: Uint8Array) =>
  t.execute(
    `insert into authority_key (label, purpose, state, spki, certificate, incarnation, created_at)
     values ('ssh-host-9', 'ssh-host', 'standby', $1, null, 'x', now())`,
    [spki],
  )

test('the KRL holds what another server revoked of a key that this one had not heard of', async () => {
  const other = join(folder, 'other')
  await mkdir(other)
  const rooms = await openRooms({ folder: other })
  const { spki } = await rooms.keystore.generateKey('ssh-host-9', 'ed25519')
  await recorded(rooms, [versionFact(9n, 1n), revokedFact({ authority: 'ssh-host-9', from: 7n, to: 7n })], t =>
    insertStandby(t, spki),
  )
  const { certificates } = decodeKrl((await rooms.authority.currentKrl()).bytes)
  expect(certificates.map(({ serials }) => serials)).toContainEqual([{ from: 7n, to: 7n }])
  await rooms.close()
})

test('a key that another server made comes in once, whoever reads it at the same time', async () => {
  const other = join(folder, 'twice')
  await mkdir(other)
  /** So much else happens before the keystore has answered. */
  let meanwhile = async () => {}
  const rooms = await openRooms({
    folder: other,
    wrapKeystore: keystore => ({ ...keystore, listKeys: () => meanwhile().then(() => keystore.listKeys()) }),
  })
  const { spki } = await rooms.keystore.generateKey('ssh-host-9', 'ed25519')
  await recorded(rooms, [versionFact(9n, 1n), revokedFact({ authority: 'ssh-host-9', from: 7n, to: 7n })], t =>
    insertStandby(t, spki),
  )
  meanwhile = async () => {
    for (let n = 0; n < 30; n++) await rooms.store.ping()
  }
  await Promise.all([rooms.authority.currentKrl(), rooms.authority.reload()])
  expect(states(rooms)[1]).toEqual(['active', 'standby'])
  await rooms.close()
})

const by = (requestId: string) => ({ actor: { kind: 'operator' as const }, requestId })
const states = (rooms: Rooms) => {
  const { userAuthorities, hostAuthorities, machines } = rooms.authority.trusted()
  return [userAuthorities, hostAuthorities, machines].map(keys => keys.map(({ state }) => state))
}
const bundle = async (rooms: Rooms) => parseTrustDocument((await rooms.trust.bundles()).at(-1)?.document ?? '')

test('a second keystore brings a standby key of each authority, which everybody trusts and nothing is signed with', async () => {
  const alone = await openRooms({ folder })
  expect(states(alone)).toEqual([['active'], ['active'], ['active']])
  expect(await bundle(alone)).toMatchObject({ version: 1 })
  await alone.close()

  const rooms = await openRooms({ folder, standbyKeystore })
  const both = ['active', 'standby']
  expect(states(rooms)).toEqual([both, both, both])
  const { version, ssh, x509 } = await bundle(rooms)
  expect([ssh.userAuthorities, ssh.hostAuthorities, x509].map(keys => keys.map(({ state }) => state))).toEqual(
    states(rooms),
  )
  expect(version).toBe(2)
  // A host takes no user authority without its canary, and the KRL of this moment revokes both.
  const { bytes, canaries } = await rooms.authority.currentKrl()
  const krl = decodeKrl(bytes)
  const authorities = ssh.userAuthorities.map(({ key }) => parsePublicKey(key))
  expect(canaries).toHaveLength(2)
  for (const [i, line] of canaries.entries()) {
    const canary = parseCertificate(line)
    expect(verifyCertificate(canary, authorities.slice(i, i + 1))).toBe(true)
    expect(isRevoked(krl, canary)).toBe(true)
  }

  await rooms.addPerson('alice@example.com')
  const grant = { who: 'alice@example.com', login: 'deploy', hosts: { labels: { env: 'prod' } } }
  await rooms.access.addGrant(schemas.newGrant.parse(grant), by('req_grant'))
  const alice = await rooms.addSession('alice@example.com')
  const { certificate } = await rooms.authority.issueUserCertificate(alice, { requestId: 'req_issue' })
  expect(verifyCertificate(parseCertificate(certificate), authorities.slice(0, 1))).toBe(true)
  await rooms.close()

  const again = await openRooms({ folder, standbyKeystore })
  expect(states(again)).toEqual([both, both, both])
  expect(await bundle(again)).toMatchObject({ version: 2 })
  const first = (await again.keystore.listKeys()).map(({ label }) => label)
  await again.close()
  const second = await openKeystore(standbyKeystore)
  expect([first, (await second.listKeys()).map(({ label }) => label)]).toEqual([
    ['log-1', 'machines-1', 'ssh-host-1', 'ssh-user-1'],
    ['log-1', 'machines-2', 'ssh-host-2', 'ssh-user-2'],
  ])
  await second.close()
})
