import { execFileSync } from 'node:child_process'
import { createHash, generateKeyPairSync, sign, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { HostCaller, MachineCaller } from '#server/identity/index.ts'
import { schemas } from '#shared/api/index.ts'
import { fromBase64Url, toHex } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { proofMessage } from '#shared/login-challenge.ts'
import { parseHostName } from '#shared/names.ts'
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
  verifyCertificate,
} from '#shared/ssh/index.ts'
import { newSshPublicKey, openRooms, type Rooms } from '#test/support/worlds/rooms.ts'

let rooms: Rooms
let alice: MachineCaller
let requests = 0
const request = (other: { publicKey?: string; lifetime?: number } = {}) => ({
  requestId: `req_test_${++requests}`,
  from: '192.0.2.7',
  ...other,
})
const by = () => ({ actor: { kind: 'operator' as const }, requestId: `req_by_${++requests}` })
const grantTo = (who: string, other: Record<string, unknown> = {}) =>
  rooms.access.addGrant(
    schemas.newGrant.parse({
      who,
      login: 'deploy',
      hosts: { labels: { env: 'prod' } },
      maxLifetime: 3600,
      ...other,
    }),
    by(),
  )
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'accepted',
    (error: unknown) => {
      if (error instanceof KeymanError) return `${error.code}: ${error.message}`
      throw error
    },
  )
const records = async (kind: 'ssh-user-certificate' | 'denied' | 'sign-failed' | 'canary' | 'authority-key-created') =>
  (await rooms.ledger.list({ limit: 1000, kind })).map(({ record }) => JSON.parse(record))

function sshKeygen(args: string[], files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-issue-'))
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
    return execFileSync('ssh-keygen', args, {
      cwd: folder,
      encoding: 'utf8',
      env: { TZ: 'UTC', PATH: process.env.PATH },
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

beforeAll(async () => {
  rooms = await openRooms({ hosts: [parseHostName('web1.prod.example.com', 'test')] })
  await rooms.addPerson('alice@example.com')
  await rooms.addPerson('root@example.com', { owner: true })
})
afterAll(() => rooms.close())
beforeEach(async () => {
  alice = await rooms.addSession('alice@example.com')
  for (const { id } of await rooms.access.listGrants()) await rooms.access.removeGrant(id, by())
})

describe('a user certificate', () => {
  test('is what the grant says, as ssh-keygen reads it', async () => {
    await grantTo('alice@example.com')
    alice = await rooms.identity.reload(alice)
    const issued = await rooms.authority.issueUserCertificate(alice, request({ publicKey: alice.ssh.line }))
    const text = sshKeygen(['-L', '-f', 'cert'], { cert: issued.certificate })
    expect(text).toContain('user certificate')
    expect(text).toContain(`Key ID: "alice@example.com/passkey/${alice.session}"`)
    expect(text).toContain(`Serial: ${issued.serial}`)
    expect(text).toMatch(/Principals: \n\s+alice@example\.com\n\s+Critical Options: \(none\)/)
    expect(text).toMatch(/Extensions: \n\s+permit-port-forwarding\n\s+permit-pty\n$/)

    const certificate = parseCertificate(issued.certificate)
    const now = BigInt(rooms.clock.now.getTime() / 1000)
    expect(certificate.validAfter).toBe(now - 60n)
    expect(certificate.validBefore).toBe(now + 3600n)
    expect(issued.limitedBy).toMatch(/deploy on env=prod for at most 1h/)
    const authorities = rooms.authority.trusted().userAuthorities.map(({ key }) => parsePublicKey(key))
    expect(verifyCertificate(certificate, authorities)).toBe(true)
    const others = rooms.authority.trusted().hostAuthorities.map(({ key }) => parsePublicKey(key))
    expect(verifyCertificate(certificate, others)).toBe(false)
  })

  test('is in the log before it is anywhere else: the record holds SHA-256 of its body', async () => {
    await grantTo('alice@example.com')
    const { certificate, serial } = await rooms.authority.issueUserCertificate(alice, request())
    const bodyHash = toHex(createHash('sha256').update(parseCertificate(certificate).body).digest())
    const found = (await records('ssh-user-certificate')).find(record => record.certificate.serial === serial)
    expect(found).toMatchObject({
      actor: { identity: 'alice@example.com', session: alice.session },
      from: '192.0.2.7',
      certificate: { bodyHash, keyId: `alice@example.com/passkey/${alice.session}`, subjectKey: alice.ssh.fingerprint },
    })
  })

  test('is refused without a grant, and the refusal is recorded with its reason', async () => {
    const asked = request()
    expect(await codeOf(rooms.authority.issueUserCertificate(alice, asked))).toMatch(/^denied: no grant gives you/)
    expect((await records('denied')).at(-1)).toMatchObject({
      requestId: asked.requestId,
      decision: 'deny',
      reason: expect.stringContaining('no grant gives alice@example.com'),
    })
  })

  test('a request that asks for more time than allowed gets no more', async () => {
    await grantTo('alice@example.com')
    const ends = async (lifetime: number) =>
      Date.parse((await rooms.authority.issueUserCertificate(alice, request({ lifetime }))).endsAt) -
      rooms.clock.now.getTime()
    expect(await ends(30 * 86_400)).toBe(3_600_000)
    expect(await ends(600)).toBe(600_000)
  })

  test('ends no later than the session, and none is given after it', async () => {
    await grantTo('alice@example.com')
    const endsAt = new Date(rooms.clock.now.getTime() + 120_000)
    const short = await rooms.addSession('alice@example.com', { endsAt })
    const issued = await rooms.authority.issueUserCertificate(short, request())
    expect(issued.endsAt).toBe(endsAt.toISOString())
    expect(issued.limitedBy).toBe(undefined)
    const over = { ...short, endsAt: rooms.clock.now }
    expect(await codeOf(rooms.authority.issueUserCertificate(over, request()))).toMatch(/^not-signed-in/)
  })

  test('ends no later than the grant', async () => {
    await grantTo('alice@example.com', { endsAt: new Date(rooms.clock.now.getTime() + 300_000).toISOString() })
    const issued = await rooms.authority.issueUserCertificate(alice, request())
    expect(Date.parse(issued.endsAt) - rooms.clock.now.getTime()).toBe(300_000)
  })

  test("a stolen client certificate asking for another key is refused, the session's own key is not", async () => {
    await grantTo('alice@example.com')
    const another = request({ publicKey: newSshPublicKey() })
    expect(await codeOf(rooms.authority.issueUserCertificate(alice, another))).toMatch(/^denied: this is not the key/)
    const own = request({ publicKey: `${alice.ssh.line} a comment` })
    expect(await codeOf(rooms.authority.issueUserCertificate(alice, own))).toBe('accepted')
  })

  test('a certificate as the key to be certified is refused', async () => {
    await grantTo('alice@example.com')
    const { certificate } = await rooms.authority.issueUserCertificate(alice, request())
    const asked = request({ publicKey: certificate })
    expect(await codeOf(rooms.authority.issueUserCertificate(alice, asked))).toMatch(/^invalid-input: publicKey/)
  })

  test('a request that is replayed with its ID gets no second certificate', async () => {
    await grantTo('alice@example.com')
    const asked = request()
    expect(await codeOf(rooms.authority.issueUserCertificate(alice, asked))).toBe('accepted')
    expect(await codeOf(rooms.authority.issueUserCertificate(alice, asked))).toMatch(/^conflict/)
  })

  test('what changed since the session was read is decided anew, not refused', async () => {
    const before = alice
    await grantTo('alice@example.com')
    await grantTo('alice@example.com', { maxLifetime: 600 })
    const issued = await rooms.authority.issueUserCertificate(before, request())
    expect(Date.parse(issued.endsAt) - rooms.clock.now.getTime()).toBe(600_000)
  })

  test('a grant that was taken away meanwhile gives nothing, though caller and snapshot still have it', async () => {
    const grant = await grantTo('alice@example.com')
    alice = await rooms.identity.reload(alice)
    // Another server's change, of which this one has not heard: straight in the database.
    await rooms.store.transaction({ name: 'test', deadlineMs: 5000 }, async t => {
      await rooms.ledger.bumpEpochs(t, ['person:alice@example.com'])
      await t.execute('delete from access_grant where id = $1', [grant.id])
    })
    expect(rooms.access.decide(alice, { kind: 'ssh-certificate' }).allow).toBe(true)
    expect(await codeOf(rooms.authority.issueUserCertificate(alice, request()))).toMatch(/^denied: no grant/)
  })

  test('serials are sequential and never given twice, over the end of a block too', async () => {
    await grantTo('alice@example.com')
    alice = await rooms.identity.reload(alice)
    const serials: number[] = []
    for (let i = 0; i < 1100; i += 100) {
      const some = Array.from({ length: 100 }, () => rooms.authority.issueUserCertificate(alice, request()))
      for (const { serial } of await Promise.all(some)) serials.push(Number(serial))
    }
    expect(new Set(serials).size).toBe(serials.length)
    expect(Math.max(...serials) - Math.min(...serials)).toBe(serials.length - 1)
    expect(Math.min(...serials)).toBeGreaterThan(1)
  })
})

describe('a client certificate of a person', () => {
  test("names person and session in a URI, for the session's key, until the session ends", async () => {
    const { pem, endsAt } = await rooms.authority.issueSessionClientCertificate(alice, request())
    const certificate = new X509Certificate(pem)
    expect(certificate.subjectAltName).toBe(`URI:keyman://acme/person/alice@example.com/session/${alice.session}`)
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2'])
    expect(endsAt).toEqual(alice.endsAt)
    expect(certificate.validToDate.getTime()).toBe(alice.endsAt.getTime() - 1000)
    const [root = ''] = rooms.authority.machineRoots()
    expect(certificate.verify(new X509Certificate(root).publicKey)).toBe(true)
    const caller = await rooms.identity.callerFromClientCertificate(new Uint8Array(certificate.raw), true)
    expect(caller).toMatchObject({ identity: 'alice@example.com', session: alice.session })
  })
})

describe('a host certificate', () => {
  const web1 = parseHostName('web1.prod.example.com', 'test')
  const keyPair = generateKeyPairSync('ed25519')
  const hostKey = publicKeyFromSpki(new Uint8Array(keyPair.publicKey.export({ format: 'der', type: 'spki' })))
  const clientSpki = new Uint8Array(32).fill(7)
  const host = async (): Promise<HostCaller> => ({
    kind: 'host',
    name: web1,
    clientSpki,
    clientFingerprint: '',
    epochs: [...(await rooms.ledger.readEpochs([`host:${web1}`]))].map(([subject, epoch]) => ({ subject, epoch })),
  })
  function prove(
    purpose: 'host-key' | 'login',
    namespace = 'keyman-proof',
    challenge = rooms.identity.proofs.challenge(),
  ) {
    const message = proofMessage({
      purpose,
      challenge: fromBase64Url(challenge),
      sshPublicKey: hostKey.blob,
      clientSpki,
    })
    const raw = new Uint8Array(sign(null, sshsigSignedData(namespace, message), keyPair.privateKey))
    const signature = armorSshsig(
      encodeSshsig({ publicKey: hostKey, namespace, signature: encodeSignature(hostKey, raw) }),
    )
    return { ...request(), publicKey: formatPublicKey(hostKey), challenge, signature }
  }

  test("has the host's exact name and nothing else, by the host authority", async () => {
    const issued = await rooms.authority.issueHostCertificate(await host(), prove('host-key'))
    const text = sshKeygen(['-L', '-f', 'cert'], { cert: issued.certificate })
    expect(text).toContain('host certificate')
    expect(text).toMatch(
      /Principals: \n\s+web1\.prod\.example\.com\n\s+Critical Options: \(none\)\s+Extensions: \(none\)/,
    )
    const hostAuthorities = rooms.authority.trusted().hostAuthorities.map(({ key }) => parsePublicKey(key))
    const userAuthorities = rooms.authority.trusted().userAuthorities.map(({ key }) => parsePublicKey(key))
    const certificate = parseCertificate(issued.certificate)
    expect(verifyCertificate(certificate, hostAuthorities)).toBe(true)
    // What sshd trusts for users would take it for nobody's: a host certificate is no user certificate.
    expect(verifyCertificate(certificate, userAuthorities)).toBe(false)
  })

  test('a host that was taken out stands on the list for laptops, where nothing of persons stands', async () => {
    const issued = await rooms.authority.issueHostCertificate(await host(), prove('host-key'))
    const certificate = parseCertificate(issued.certificate)
    const listed = async () => decodeKrl((await rooms.authority.currentKrl()).ofHosts.bytes)
    expect(isRevoked(await listed(), certificate)).toBe(false)
    await rooms.store.transaction({ name: 'test', deadlineMs: 5_000 }, async t => {
      await rooms.ledger.bumpEpochs(t, [`host:${web1}`])
      await rooms.authority.revokeHostIn(t, web1, { actor: { kind: 'operator' }, ...request() })
    })
    expect(isRevoked(await listed(), certificate)).toBe(true)
    const all = decodeKrl((await rooms.authority.currentKrl()).bytes)
    const hostAuthorities = rooms.authority.trusted().hostAuthorities.map(({ key }) => key)
    // The canary at least stands on the hosts' own.
    expect(all.certificates.length).toBeGreaterThan(1)
    expect((await listed()).certificates.map(({ authority }) => authority && formatPublicKey(authority))).toEqual(
      hostAuthorities,
    )
  })

  test('a proof of possession is used once', async () => {
    const proof = prove('host-key')
    expect(await codeOf(rooms.authority.issueHostCertificate(await host(), proof))).toBe('accepted')
    const again = { ...proof, ...request() }
    expect(await codeOf(rooms.authority.issueHostCertificate(await host(), again))).toMatch(/^expired/)
  })

  test('a proof made for another request or namespace, or for another key, is refused', async () => {
    const caller = await host()
    expect(await codeOf(rooms.authority.issueHostCertificate(caller, prove('login')))).toMatch(/^denied/)
    expect(await codeOf(rooms.authority.issueHostCertificate(caller, prove('host-key', 'file')))).toMatch(/^denied/)
    const other = { ...prove('host-key'), publicKey: newSshPublicKey() }
    expect(await codeOf(rooms.authority.issueHostCertificate(caller, other))).toMatch(/^denied/)
    const elsewhere = { ...caller, clientSpki: new Uint8Array(32).fill(8) }
    expect(await codeOf(rooms.authority.issueHostCertificate(elsewhere, prove('host-key')))).toMatch(/^denied/)
    const stale = prove('host-key', 'keyman-proof', 'AAAA')
    expect(await codeOf(rooms.authority.issueHostCertificate(caller, stale))).toMatch(/^(expired|denied|invalid)/)
    expect(await codeOf(rooms.authority.issueHostCertificate(caller, prove('host-key')))).toBe('accepted')
  })

  test('is not given to a host that was changed since', async () => {
    const before = await host()
    await rooms.store.transaction({ name: 'test', deadlineMs: 5000 }, t => rooms.ledger.bumpEpochs(t, [`host:${web1}`]))
    expect(await codeOf(rooms.authority.issueHostCertificate(before, prove('host-key')))).toMatch(/^conflict/)
  })

  test('is not given for a key that was revoked, and the refusal is recorded', async () => {
    const caller = await host()
    const proof = prove('host-key')
    await rooms.authority.revoke({ publicKey: parsePublicKey(proof.publicKey) }, 'leaked', by())
    expect(await codeOf(rooms.authority.issueHostCertificate(caller, proof))).toMatch(/^denied: this host key was/)
    expect((await records('denied')).at(-1)).toMatchObject({
      requestId: proof.requestId,
      actor: { kind: 'host', name: web1 },
      target: 'ssh-host-certificate',
    })
  })
})

describe('the authorities', () => {
  test('have their keys and canary in the log, made at the first start', async () => {
    expect((await records('authority-key-created')).map(record => record.target).sort()).toEqual([
      'machines-1',
      'ssh-host-1',
      'ssh-user-1',
    ])
    expect(await records('canary')).toMatchObject([{ certificate: { serial: '1', principals: ['canary:keyman'] } }])
  })

  test("the listener's own certificate is for its exact names", async () => {
    const pair = await rooms.authority.serverCertificate(['localhost', '127.0.0.1'], () => {})
    const certificate = new X509Certificate(pair.certificate)
    expect(certificate.subjectAltName).toBe('DNS:localhost, IP Address:127.0.0.1')
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1'])
  })
})
