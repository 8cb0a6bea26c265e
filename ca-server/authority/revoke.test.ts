import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { MachineCaller } from '#server/identity/index.ts'
import { sessionKeyFact } from '#server/identity/records/facts.ts'
import type { StoreConfig } from '#server/store/index.ts'
import { schemas } from '#shared/api/index.ts'
import { Facts } from '#shared/audit/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseHostName, parseKeyId, parsePersonIdentity } from '#shared/names.ts'
import {
  decodeKrl,
  isRevoked,
  parseCertificate,
  parsePublicKey,
  publicKeyFromSpki,
  SshWriter,
} from '#shared/ssh/index.ts'
import { startPostgres } from '#test/support/programs/postgres.ts'
import { requires } from '#test/support/requires.ts'
import { recorded } from '#test/support/worlds/insert-rows.ts'
import { namedSession, openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { KeyRing } from './keys.ts'
import { createLogKeys, openLogKeys } from './log-keys.ts'
import { selectKeys } from './records.ts'
import { krlOf } from './revocation/krl.ts'

const alice = parsePersonIdentity('alice@example.com', 'test')
const bob = parsePersonIdentity('bob@example.com', 'test')
let requests = 0
const request = () => ({ requestId: `req_test_${++requests}` })
const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_by_${++requests}` })

async function openWithGrants(store?: StoreConfig): Promise<Rooms> {
  const rooms = await openRooms(store ? { store } : {})
  for (const who of [alice, bob]) {
    await rooms.addPerson(who)
    await rooms.access.addGrant(
      schemas.newGrant.parse({ who, login: 'deploy', hosts: { labels: { env: 'prod' } }, maxLifetime: 3600 }),
      by(),
    )
  }
  return rooms
}
const issue = async (rooms: Rooms, caller: MachineCaller) =>
  (await rooms.authority.issueUserCertificate(caller, request())).certificate
const refused = (work: Promise<unknown>) =>
  work.then(
    () => 'accepted',
    (error: unknown) => {
      if (error instanceof KeymanError) return error.code
      throw error
    },
  )

/** What OpenSSH itself says of each certificate or key line under the KRL of this moment. */
async function sshKeygenSays(rooms: Rooms, lines: readonly string[]): Promise<('ok' | 'REVOKED')[]> {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-krl-'))
  try {
    const { bytes } = await rooms.authority.currentKrl()
    writeFileSync(join(folder, 'krl'), bytes)
    return lines.map((line, i) => {
      writeFileSync(join(folder, `${i}.pub`), `${line}\n`)
      try {
        execFileSync('ssh-keygen', ['-Q', '-f', join(folder, 'krl'), join(folder, `${i}.pub`)], { stdio: 'pipe' })
        return 'ok'
      } catch (error) {
        // Exit 1: revoked. Anything else is a KRL that it could not read.
        if (error instanceof Error && 'status' in error && error.status === 1) return 'REVOKED'
        throw error
      }
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe('revoking', () => {
  let rooms: Rooms
  beforeAll(async () => {
    rooms = await openWithGrants()
  })
  afterAll(() => rooms.close())

  test('nothing was revoked yet, and the canary is: so a reader can test that the KRL is the real one', async () => {
    const krl = await rooms.authority.currentKrl()
    const certificate = await issue(rooms, await rooms.addSession(alice))
    expect(krl.canaries).toHaveLength(1)
    expect(await sshKeygenSays(rooms, [certificate, ...krl.canaries])).toEqual(['ok', 'REVOKED'])
  })

  test("by person ends every certificate and session of that person, and nobody else's", async () => {
    const [one, two, bobs] = [await rooms.addSession(alice), await rooms.addSession(alice), await rooms.addSession(bob)]
    const certificates = [
      await issue(rooms, one),
      await issue(rooms, two),
      await issue(rooms, one),
      await issue(rooms, bobs),
    ]
    const before = await rooms.authority.currentKrl()
    const revocation = await rooms.authority.revoke({ person: alice }, 'laptop stolen', by())
    expect(revocation).toMatchObject({ target: 'person alice@example.com', krlVersion: before.version + 1n })
    expect(revocation.revoked).toBeGreaterThanOrEqual(3)
    expect(revocation.sessions).toBeGreaterThanOrEqual(2)
    expect(await sshKeygenSays(rooms, certificates)).toEqual(['REVOKED', 'REVOKED', 'REVOKED', 'ok'])
    expect((await rooms.authority.currentKrl()).version).toBe(before.version + 1n)
    expect(await refused(rooms.authority.issueUserCertificate(one, request()))).toBe('not-signed-in')
    expect(await refused(rooms.authority.issueSessionClientCertificate(two, request()))).toBe('not-signed-in')
    expect(await refused(rooms.authority.issueUserCertificate(bobs, request()))).toBe('accepted')
    // They may sign in again.
    expect(await refused(rooms.authority.issueUserCertificate(await rooms.addSession(alice), request()))).toBe(
      'accepted',
    )
    // When the last of them would have ended is known when it is done alone.
    const { goodUntil: _, ...kept } = revocation
    expect(await rooms.authority.findRevocation(revocation.id)).toMatchObject(kept)
  })

  test('by session, as logging out does, leaves the other sessions of the person', async () => {
    const [one, two] = [await rooms.addSession(alice), await rooms.addSession(alice)]
    const certificates = [await issue(rooms, one), await issue(rooms, two)]
    await rooms.authority.revoke({ session: namedSession(one) }, undefined, by())
    expect(await sshKeygenSays(rooms, certificates)).toEqual(['REVOKED', 'ok'])
    expect(await refused(rooms.authority.issueUserCertificate(one, request()))).toBe('not-signed-in')
    expect(await refused(rooms.authority.issueUserCertificate(two, request()))).toBe('accepted')
  })

  test('by key ID ends the session that it names', async () => {
    const [one, two] = [await rooms.addSession(alice), await rooms.addSession(alice)]
    const certificates = [await issue(rooms, one), await issue(rooms, two)]
    const { keyId } = parseCertificate(certificates[0] ?? '')
    const revocation = await rooms.authority.revoke({ keyId: parseKeyId(keyId, 'test') }, undefined, by())
    expect(revocation).toMatchObject({ revoked: 1, sessions: 1 })
    expect(await sshKeygenSays(rooms, certificates)).toEqual(['REVOKED', 'ok'])
    expect(await refused(rooms.authority.issueUserCertificate(one, request()))).toBe('not-signed-in')
  })

  test('by serial ends that certificate alone', async () => {
    const one = await rooms.addSession(alice)
    const certificates = [await issue(rooms, one), await issue(rooms, one)]
    const { serial } = parseCertificate(certificates[0] ?? '')
    expect(await rooms.authority.revoke({ serial }, undefined, by())).toMatchObject({ revoked: 1, sessions: 0 })
    expect(await sshKeygenSays(rooms, certificates)).toEqual(['REVOKED', 'ok'])
    expect(await refused(rooms.authority.issueUserCertificate(one, request()))).toBe('accepted')
  })

  test('by key revokes the key itself, and it is never certified again', async () => {
    const one = await rooms.addSession(alice)
    const certificate = await issue(rooms, one)
    const publicKey = parsePublicKey(one.ssh.line)
    expect(await rooms.authority.revoke({ publicKey }, 'leaked', by())).toMatchObject({ revoked: 1, sessions: 1 })
    expect(await sshKeygenSays(rooms, [certificate, one.ssh.line])).toEqual(['REVOKED', 'REVOKED'])
    const again = await rooms.addSession(alice, { sshPublicKey: one.ssh.blob })
    expect(await refused(rooms.authority.issueUserCertificate(again, request()))).toBe('denied')
  })

  test('a client key that was revoked gets no client certificate any more', async () => {
    const one = await rooms.addSession(alice)
    const publicKey = publicKeyFromSpki(one.clientSpki)
    expect(await refused(rooms.authority.issueSessionClientCertificate(one, request()))).toBe('accepted')
    expect(await rooms.authority.revoke({ publicKey }, 'leaked', by())).toMatchObject({ sessions: 1 })
    // As a new login with the same two keys would have it.
    const again = { ...(await rooms.addSession(alice)), clientSpki: one.clientSpki }
    expect(await refused(rooms.authority.issueSessionClientCertificate(again, request()))).toBe('denied')
  })

  test('by key ID ends a session whose certificate has ended by itself, and revokes it too: one clock does not decide that it has ended', async () => {
    const one = await rooms.addSession(alice)
    await rooms.authority.issueSessionClientCertificate(one, request())
    const { certificate, keyId } = await rooms.authority.issueUserCertificate(one, { ...request(), lifetime: 60 })
    rooms.clock.now = new Date(rooms.clock.now.getTime() + 120_000)
    const revoked = await rooms.authority.revoke({ keyId: parseKeyId(keyId, 'test') }, undefined, by())
    expect(revoked).toMatchObject({ revoked: 1, sessions: 1 })
    expect(await sshKeygenSays(rooms, [certificate])).toEqual(['REVOKED'])
    expect(await refused(rooms.authority.issueUserCertificate(one, request()))).toBe('not-signed-in')
  })

  test('a certificate whose row somebody took away is revoked with its person all the same: its record names it', async () => {
    const one = await rooms.addSession(alice)
    const certificate = await issue(rooms, one)
    await rooms.store.execute('delete from issued_certificate', [])
    await rooms.authority.revoke({ person: alice }, undefined, by())
    expect(await sshKeygenSays(rooms, [certificate])).toEqual(['REVOKED'])
  })

  test('a certificate that somebody hides everywhere while its person is revoked is refused by its key', async () => {
    const one = await rooms.addSession(alice)
    const certificate = await issue(rooms, one)
    await rooms.ledger.follow()
    await rooms.store.execute('delete from issued_certificate', [])
    await rooms.store.execute(`update ledger_record set actor = 'x' where actor = $1`, [alice])
    await rooms.authority.revoke({ person: alice }, undefined, by())
    await rooms.store.execute(`update ledger_record set actor = $1 where actor = 'x'`, [alice])
    expect(await sshKeygenSays(rooms, [certificate])).toEqual(['REVOKED'])
    // A session of before that was not hers, and one of hers that begins now, are good.
    const [other, later] = [await rooms.addSession(bob), await rooms.addSession(alice)]
    expect(await sshKeygenSays(rooms, [await issue(rooms, other), await issue(rooms, later)])).toEqual(['ok', 'ok'])
  })

  test('what was never issued and who never was is not found; a person without certificates may be revoked', async () => {
    expect(await refused(rooms.authority.revoke({ serial: 999_999_999n }, undefined, by()))).toBe('not-found')
    expect(await refused(rooms.authority.revoke({ keyId: parseKeyId('a@b/c', 'test') }, undefined, by()))).toBe(
      'not-found',
    )
    const nobody = parsePersonIdentity('nobody@example.com', 'test')
    expect(await refused(rooms.authority.revoke({ person: nobody }, undefined, by()))).toBe('not-found')
    await rooms.addPerson('dora@example.com')
    const dora = parsePersonIdentity('dora@example.com', 'test')
    expect(await rooms.authority.revoke({ person: dora }, undefined, by())).toMatchObject({ revoked: 0, sessions: 0 })
  })

  test('is recorded with the serials that it ended', async () => {
    const one = await rooms.addSession(alice)
    const serials = [parseCertificate(await issue(rooms, one)).serial, parseCertificate(await issue(rooms, one)).serial]
    const revoked = await rooms.authority.revoke({ session: namedSession(one) }, 'done', by())
    const record = JSON.parse((await rooms.ledger.list({ limit: 1, kind: 'revoked' })).at(-1)?.record ?? '{}')
    expect(record).toMatchObject({
      reason: 'done',
      details: { id: revoked.id, authority: 'ssh-user-1', serials: `${serials[0]}-${serials[1]}`, certificates: 2 },
    })
  })

  test('disabling a person does the same, and forbids signing in again', async () => {
    await rooms.addPerson('carol@example.com')
    const carol = parsePersonIdentity('carol@example.com', 'test')
    await rooms.access.addGrant(
      schemas.newGrant.parse({ who: carol, login: 'deploy', hosts: { labels: { env: 'prod' } } }),
      by(),
    )
    const certificate = await issue(rooms, await rooms.addSession(carol))
    const who = by()
    await rooms.identity.persons.disable(
      carol,
      who,
      async t => (await rooms.authority.revokeAllIn(t, carol, who)).entries,
    )
    expect(await sshKeygenSays(rooms, [certificate])).toEqual(['REVOKED'])
    expect(await refused(rooms.addSession(carol))).toBe('not-signed-in')
  })

  test("taking a host out revokes the host's certificates", async () => {
    const web1 = parseHostName('web1.prod.example.com', 'test')
    const epochs = [...(await rooms.ledger.readEpochs([`host:${web1}`]))].map(([subject, epoch]) => ({
      subject,
      epoch,
    }))
    const clientSpki = (await rooms.addSession(alice)).clientSpki
    await rooms.authority.issueHostClientCertificate({ host: web1, clientSpki, epochs, by: by() })
    const count = await rooms.store.transaction({ name: 'test', deadlineMs: 5000 }, async t => {
      await rooms.ledger.bumpEpochs(t, [`host:${web1}`])
      return rooms.authority.revokeHostIn(t, web1, by())
    })
    // A client certificate ends with the host itself; lists name SSH certificates only.
    expect(count.revoked).toBe(0)
    const stale = rooms.authority.issueHostClientCertificate({ host: web1, clientSpki, epochs, by: by() })
    expect(await refused(stale)).toBe('conflict')
  })

  test('the KRL is signed by the log key, as ssh-keygen verifies it', async () => {
    const { bytes, signature } = await rooms.authority.currentKrl()
    const folder = mkdtempSync(join(tmpdir(), 'keyman-krl-'))
    try {
      const document = (await rooms.trust.bundles()).at(-1)?.document ?? ''
      const point = Uint8Array.fromBase64(JSON.parse(document).logKey.key)
      const blob = new SshWriter().string('ssh-ed25519').string(point).bytes()
      writeFileSync(join(folder, 'allowed'), `log ssh-ed25519 ${toBase64(blob)}\n`)
      writeFileSync(join(folder, 'sig'), signature)
      const args = [
        '-Y',
        'verify',
        '-n',
        'keyman-krl',
        '-I',
        'log',
        '-f',
        join(folder, 'allowed'),
        '-s',
        join(folder, 'sig'),
      ]
      expect(execFileSync('ssh-keygen', args, { input: bytes, encoding: 'utf8' })).toContain('Good "keyman-krl"')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('one version has one content', async () => {
    const first = await rooms.authority.currentKrl()
    expect(await rooms.authority.currentKrl()).toEqual(first)
    await rooms.authority.revoke({ person: bob }, undefined, by())
    expect((await rooms.authority.currentKrl()).version).toBe(first.version + 1n)
  })
})

/** Each certificate that came out of `issue` is either older than the revocation, and on its list, or was never made. */
async function race(rooms: Rooms, rounds: number, atOnce: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const caller = await rooms.addSession(alice)
    const certificates: string[] = []
    const issuing = Array.from({ length: atOnce }, async (_, i) => {
      for (let turn = 0; turn < i % 4; turn++) await new Promise(resolve => setImmediate(resolve))
      await issue(rooms, caller).then(
        certificate => certificates.push(certificate),
        (error: unknown) => {
          if (!(error instanceof KeymanError && error.code === 'not-signed-in')) throw error
        },
      )
    })
    for (let turn = 0; turn < round % 8; turn++) await new Promise(resolve => setImmediate(resolve))
    await Promise.all([...issuing, rooms.authority.revoke({ person: alice }, undefined, by())])
    const krl = decodeKrl((await rooms.authority.currentKrl()).bytes)
    for (const certificate of certificates) expect(isRevoked(krl, parseCertificate(certificate))).toBe(true)
    expect(await refused(rooms.authority.issueUserCertificate(caller, request()))).toBe('not-signed-in')
  }
}

test('a version of the KRL is known to nobody before all that is revoked by it, however many records it takes', async () => {
  const rooms = await openWithGrants()
  try {
    // Of as many sessions as one record has no room for.
    const keys = Array.from({ length: 120 }, () => `SHA256:${randomBytes(32).toString('base64').replace('=', '')}`)
    const endsAt = new Date(rooms.clock.now.getTime() + 3_600_000)
    await recorded(
      rooms,
      keys.map(key => sessionKeyFact(alice, key, endsAt)),
      async () => {},
    )
    const read = Facts.none()
    const ledger = {
      ...rooms.ledger,
      facts: { ...rooms.ledger.facts, ids: read.ids.bind(read) },
      follow: async () => {},
    }
    const ring = new KeyRing(await selectKeys(rooms.store))
    const held = await openLogKeys([{ name: 'keystore', keystore: rooms.keystore }])
    const logKeys = createLogKeys({ name: 'acme/keyman-log', held, bundle: () => undefined })
    // As a server has it that reads the log one record after the other, at whatever pace the database shows them.
    const slow = krlOf({
      ...rooms,
      ledger,
      logKeys,
      organisation: 'acme',
      keys: () => ring,
      reloadKeys: async () => {},
    })
    let index = 0n
    const readOn = async () => {
      for (const { record } of await rooms.ledger.list({ from: index, limit: 1_000 })) {
        read.take(index++, record)
        await slow.current()
      }
    }
    await readOn()
    const { krlVersion } = await rooms.authority.revoke({ person: alice }, undefined, by())
    await readOn()
    const krl = await slow.current()
    expect(krl.version).toBe(krlVersion)
    expect(decodeKrl(krl.bytes).fingerprints).toHaveLength(120)
    expect(krl.bytes).toEqual((await rooms.authority.currentKrl()).bytes)
  } finally {
    await rooms.close()
  }
})

describe('a revocation racing an issue, through the whole authority', () => {
  test('on PGlite no certificate slips between revocation and KRL', async () => {
    const rooms = await openWithGrants()
    await race(rooms, 15, 8)
    await rooms.close()
  })

  test.skipIf(!requires('postgresql'))('on PostgreSQL no certificate slips between revocation and KRL', async () => {
    const postgres = await startPostgres()
    const rooms = await openWithGrants({
      engine: 'postgresql',
      url: postgres.url,
      migrationUrl: postgres.migrationUrl,
    })
    await race(rooms, 100, 8)
    await rooms.close()
    await postgres.close()
  })
})
