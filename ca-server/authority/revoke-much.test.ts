import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { HostCaller, MachineCaller } from '#server/identity/index.ts'
import type { Entry } from '#server/ledger/index.ts'
import { schemas } from '#shared/api/index.ts'
import { fromBase64Url } from '#shared/bytes.ts'
import { proofMessage } from '#shared/login-challenge.ts'
import { parseHostName, parseKeyId, parsePersonIdentity } from '#shared/names.ts'
import {
  armorSshsig,
  decodeKrl,
  encodeSignature,
  encodeSshsig,
  formatPublicKey,
  isRevoked,
  parseCertificate,
  parsePublicKey,
  publicKeyFromSpki,
  sshsigSignedData,
} from '#shared/ssh/index.ts'
import { namedSession, openRooms, type Rooms } from '#test/support/worlds/rooms.ts'

/**
 * Sixty certificates a minute are given to one session, for hours and without a touch. Each revocation here ends more than any of them is to
 * name one by one; what it costs is counted, in rows.
 */
const MUCH = 1_001

let rooms: Rooms
const mallory = parsePersonIdentity('mallory@example.com', 'test')
const web1 = parseHostName('web1.prod.example.com', 'test')
let requests = 0
let serial = 1_000_000n
/** No two of them follow each other: of those that do one interval says all. */
const nextSerial = (): bigint => {
  serial += 2n
  return serial
}
const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_much_${++requests}` })

beforeAll(async () => {
  rooms = await openRooms({ hosts: [web1] })
  await rooms.addPerson(mallory)
  await rooms.access.addGrant(
    schemas.newGrant.parse({ who: mallory, login: 'deploy', hosts: { labels: { env: 'prod' } } }),
    by(),
  )
})
afterAll(() => rooms?.close())

type Issued = {
  readonly kind: 'ssh-user-certificate' | 'ssh-host-certificate' | 'client-certificate'
  readonly actor: Entry['actor']
  readonly holder: { readonly person?: string; readonly session?: string; readonly host?: string }
  readonly keyId: string
  readonly subjectKey: string
}
const AUTHORITY = {
  'ssh-user-certificate': 'ssh-user-1',
  'ssh-host-certificate': 'ssh-host-1',
  'client-certificate': 'machines-1',
}
/** As the issuing path records them; the signatures are left out, which take the longest and which nobody collects. */
async function issue(count: number, { kind, actor, holder, keyId, subjectKey }: Issued): Promise<void> {
  const now = BigInt(Math.floor(rooms.clock.now.getTime() / 1000))
  await Promise.all(
    Array.from({ length: count }, () => {
      const requestId = `req_issue_${++requests}`
      return rooms.ledger.issue({
        entry: { kind, requestId, actor, decision: 'allow', from: '127.0.0.1' },
        body: requestId,
        bodyHash: new Uint8Array(randomBytes(32)),
        certificate: {
          ...{ authority: AUTHORITY[kind], serial: nextSerial(), keyId, subjectKey, ...holder },
          ...{ principals: [holder.person ?? web1], validAfter: now - 60n, validBefore: now + 8n * 3600n },
        },
        epochs: [],
      })
    }),
  )
}
const keyIdOf = ({ session }: MachineCaller) => parseKeyId(`${mallory}/passkey/${session}`, 'test')
const ofSession = (caller: MachineCaller, subjectKey = caller.ssh.fingerprint): Issued => ({
  kind: 'ssh-user-certificate',
  actor: { kind: 'person', identity: mallory, session: caller.session },
  holder: { person: mallory, session: caller.session },
  keyId: keyIdOf(caller),
  subjectKey,
})
const certificateOf = async (caller: MachineCaller) =>
  parseCertificate(
    (await rooms.authority.issueUserCertificate(caller, { requestId: `req_much_${++requests}` })).certificate,
  )
const krl = async () => decodeKrl((await rooms.authority.currentKrl()).bytes)
const named = async () => {
  const [row] = await rooms.store.query(
    'select count(*)::integer as count from revoked_certificate',
    [],
    z.object({ count: z.int() }),
  )
  return row?.count ?? 0
}

describe('of a session that has had very many certificates', () => {
  const ways: readonly [string, (caller: MachineCaller) => Promise<{ revoked: number }>][] = [
    ['its person', () => rooms.authority.revoke({ person: mallory }, undefined, by())],
    ['the session', caller => rooms.authority.revoke({ session: namedSession(caller) }, undefined, by())],
    ['its key ID', caller => rooms.authority.revoke({ keyId: keyIdOf(caller) }, undefined, by())],
    ['its key', caller => rooms.authority.revoke({ publicKey: parsePublicKey(caller.ssh.line) }, undefined, by())],
    [
      'whoever disables the person',
      async () => {
        const at = by()
        let revoked = 0
        await rooms.store.transaction({ name: 'test', deadlineMs: 60_000 }, async t => {
          await rooms.ledger.bumpEpochs(t, [`person:${mallory}`])
          const ended = await rooms.authority.revokeAllIn(t, mallory, at)
          revoked = ended.revoked
          await rooms.ledger.appendIn(t, ended.entries)
        })
        return { revoked }
      },
    ],
  ]
  it.each(ways)(
    'all are ended by %s, through its key alone: no serial is named',
    { timeout: 120_000 },
    async (_, end) => {
      const caller = await rooms.addSession(mallory)
      const certificate = await certificateOf(caller)
      await issue(MUCH, ofSession(caller))
      // What ends with its session is on no list, and is not looked at.
      await issue(5, { ...ofSession(caller, 'SHA256:client'), kind: 'client-certificate' })
      const before = await named()
      expect((await end(caller)).revoked).toBeGreaterThanOrEqual(MUCH + 1)
      expect(await named()).toBe(before)
      expect(isRevoked(await krl(), certificate)).toBe(true)
      const other = await rooms.addSession(mallory)
      expect(isRevoked(await krl(), await certificateOf(other))).toBe(false)
      // The keys of those that are over are on the list already, and cost nothing more.
      expect((await rooms.authority.revoke({ person: mallory }, undefined, by())).revoked).toBeGreaterThan(MUCH)
      expect(await named()).toBe(before)
    },
  )

  it('those of a key that the log does not name are named all the same; so is each of a few', {
    timeout: 120_000,
  }, async () => {
    const caller = await rooms.addSession(mallory)
    await issue(MUCH, ofSession(caller))
    await issue(7, ofSession(caller, 'SHA256:of-a-release-that-recorded-no-keys'))
    const before = await named()
    await rooms.authority.revoke({ session: namedSession(caller) }, undefined, by())
    expect(await named()).toBe(before + 7)
    const few = await rooms.addSession(mallory)
    const certificate = await certificateOf(few)
    await rooms.authority.revoke({ session: namedSession(few) }, undefined, by())
    expect(await named()).toBe(before + 8)
    expect(isRevoked(await krl(), certificate)).toBe(true)
  })
})

describe('a host', () => {
  const keyPair = generateKeyPairSync('ed25519')
  const key = publicKeyFromSpki(new Uint8Array(keyPair.publicKey.export({ format: 'der', type: 'spki' })))
  const clientSpki = new Uint8Array(32).fill(7)
  async function ask(): Promise<string> {
    const epochs = await rooms.ledger.readEpochs([`host:${web1}`])
    const caller: HostCaller = {
      ...{ kind: 'host', name: web1, clientSpki, clientFingerprint: '' },
      epochs: [...epochs].map(([subject, epoch]) => ({ subject, epoch })),
    }
    const challenge = rooms.identity.proofs.challenge()
    const namespace = 'keyman-proof'
    const parts = { challenge: fromBase64Url(challenge), sshPublicKey: key.blob, clientSpki }
    const message = proofMessage({ purpose: 'host-key', ...parts })
    const raw = new Uint8Array(sign(null, sshsigSignedData(namespace, message), keyPair.privateKey))
    const signature = armorSshsig(encodeSshsig({ publicKey: key, namespace, signature: encodeSignature(key, raw) }))
    const requestId = `req_much_${++requests}`
    return rooms.authority
      .issueHostCertificate(caller, { requestId, publicKey: formatPublicKey(key), challenge, signature })
      .then(
        () => 'issued',
        (error: unknown) => Object(error).code,
      )
  }

  it('is given no more certificates than it can be taken out with; once it was, it is given some again', {
    timeout: 120_000,
  }, async () => {
    const host: Issued = {
      ...{ kind: 'ssh-host-certificate', actor: { kind: 'host', name: web1 }, holder: { host: web1 } },
      ...{ keyId: `host:${web1}`, subjectKey: 'SHA256:any' },
    }
    await issue(999, host)
    expect(await ask()).toBe('issued')
    expect(await ask()).toBe('too-many-requests')
    expect(await ask()).toBe('too-many-requests')
    expect(rooms.said.filter(alarm => alarm.includes('has had 1000 host certificates'))).toHaveLength(1)
    const before = await named()
    const { revoked } = await rooms.store.transaction({ name: 'test', deadlineMs: 60_000 }, async t => {
      await rooms.ledger.bumpEpochs(t, [`host:${web1}`])
      return rooms.authority.revokeHostIn(t, web1, by())
    })
    expect([revoked, await named()]).toEqual([1_000, before + 1_000])
    expect(await ask()).toBe('issued')
  })
})
