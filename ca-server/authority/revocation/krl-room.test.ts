import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeLoginKeys, proveBoth } from '#cli/session/keys.ts'
import type { WorkloadCaller } from '#server/identity/index.ts'
import { krlBase64, MAX_KRL_BYTES } from '#shared/api/fields.ts'
import { schemas } from '#shared/api/index.ts'
import { desiredState } from '#shared/api/resources/host-stream.ts'
import { revokedHosts } from '#shared/api/resources/ssh.ts'
import { revokedKeyFact, revokedSessionKeyFact, revokedSessionKeys } from '#shared/audit/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { parseWorkloadToken } from '#shared/join-token.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { decodeKrl, isRevoked, parseCertificate, parsePublicKey } from '#shared/ssh/index.ts'
import { recorded } from '#test/support/worlds/insert-rows.ts'
import { newSshPublicKey, openRooms, type Rooms } from '#test/support/worlds/rooms.ts'

/** As long as forty keys or so: it is full at once. */
const SHORT = 1_440
const alice = parsePersonIdentity('alice@example.com', 'test')
let requests = 0
const at = () => ({ requestId: `req_room_${++requests}`, from: '192.0.2.7' })
const by = () => ({ actor: { kind: 'operator' as const }, ...at() })

async function open(longestKrl?: number): Promise<Rooms> {
  const rooms = await openRooms(longestKrl === undefined ? {} : { longestKrl })
  await rooms.addPerson(alice)
  await rooms.access.places.add(schemas.newProject.parse({ name: 'ops', environments: [] }), by())
  await grant(rooms, alice)
  return rooms
}
const grant = (rooms: Rooms, who: string) =>
  rooms.access.addGrant(schemas.newGrant.parse({ who, login: 'deploy', hosts: { labels: { env: 'prod' } } }), by())
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: unknown) => Object(error).code ?? String(error),
  )
async function join(rooms: Rooms, name = `ops/w${++requests}`): Promise<WorkloadCaller> {
  const { token } = await rooms.workloads.add(schemas.newWorkload.parse({ name, lifetime: 400 * 86_400 }), by())
  const keys = makeLoginKeys('test')
  const request = {
    token: parseWorkloadToken(token).secret,
    sshPublicKey: keys.ssh.line,
    clientPublicKey: toBase64(keys.client.spki),
    proof: proveBoth(keys, 'workload', rooms.identity.proofs.challenge()),
  }
  return (await rooms.workloads.join(request, at())).caller
}
const fingerprints = async (rooms: Rooms) => decodeKrl((await rooms.authority.currentKrl()).bytes).fingerprints.length
const strange = (rooms: Rooms) =>
  codeOf(rooms.authority.revoke({ publicKey: parsePublicKey(newSshPublicKey()) }, undefined, by()))

describe("a session's key", () => {
  let rooms: Rooms
  beforeAll(async () => {
    rooms = await open()
  })
  afterAll(() => rooms?.close())

  it('that no certificate was made for is on no list when its session ends; one that was is, as long as those may last', async () => {
    const idle = await join(rooms)
    await rooms.authority.revoke({ workload: idle.name }, undefined, by())
    expect(await fingerprints(rooms)).toBe(0)
    // Its grant came later than its session.
    const used = await join(rooms)
    await grant(rooms, used.principal)
    const { certificate } = await rooms.authority.issueUserCertificate(used, at())
    const records = await rooms.ledger.list({ kind: 'session-key', limit: 10 })
    expect(records.map(({ record }) => JSON.parse(record))).toMatchObject([
      { target: used.principal, details: { session: used.session, sshKey: used.ssh.fingerprint } },
    ])
    await rooms.ledger.follow()
    await rooms.store.execute('delete from issued_certificate', [])
    await rooms.store.execute(`update ledger_record set actor = 'x' where actor = $1`, [used.principal])
    await rooms.authority.revoke({ workload: used.name }, undefined, by())
    await rooms.store.execute(`update ledger_record set actor = $1 where actor = 'x'`, [used.principal])
    expect(await fingerprints(rooms)).toBe(1)
    expect(isRevoked(decodeKrl((await rooms.authority.currentKrl()).bytes), parseCertificate(certificate))).toBe(true)
    // No certificate lives longer than seven days, though the session would have for four hundred.
    await rooms.ledger.follow()
    const [listed] = revokedSessionKeys(rooms.ledger.facts.ids)
    expect(listed?.until).toBe(BigInt(Math.floor(rooms.clock.now.getTime() / 1000) + 7 * 86_400))
  })

  it('is named once, by the first of its certificates; where the session has ended meanwhile it is not, and there is none', async () => {
    const one = await join(rooms)
    await grant(rooms, one.principal)
    const named = async () => (await rooms.ledger.list({ kind: 'session-key', limit: 100 })).length
    const before = await named()
    await rooms.authority.issueUserCertificate(one, at())
    await rooms.authority.issueUserCertificate(one, at())
    expect(await named()).toBe(before + 1)
    const other = await join(rooms)
    await grant(rooms, other.principal)
    await rooms.authority.revoke({ workload: other.name }, undefined, by())
    expect(await codeOf(rooms.authority.issueUserCertificate(other, at()))).toBe('not-signed-in')
    expect(await named()).toBe(before + 1)
  })
})

const newPrint = () => `SHA256:${randomBytes(32).toString('base64').slice(0, 43)}`

describe('a list of what is revoked that is as long as hosts read', () => {
  it('is one number for server, hosts and laptops', () => {
    const longest = 'A'.repeat((MAX_KRL_BYTES / 3) * 4)
    for (const field of [krlBase64, desiredState.shape.krl.shape.base64, revokedHosts.shape.base64])
      expect([field.safeParse(longest).success, field.safeParse(`${longest}AAAA`).success]).toEqual([true, false])
  })

  it('is told of at half; from three quarters on nothing new may come on it, and all that was there is ended', {
    timeout: 60_000,
  }, async () => {
    const rooms = await open(SHORT)
    try {
      const sessions = await Promise.all(Array.from({ length: 6 }, () => rooms.addSession(alice)))
      for (const session of sessions) await rooms.authority.issueUserCertificate(session, at())
      const late = await join(rooms)
      await grant(rooms, late.principal)
      const told = () => rooms.said.filter(alarm => alarm.includes('the list of what is revoked')).length
      const fill = async (count: number) => {
        const keys = Array.from({ length: count }, newPrint)
        await recorded(rooms, keys.map(revokedKeyFact), async () => {})
      }
      await rooms.authority.currentKrl()
      expect(told()).toBe(0)
      expect(await strange(rooms)).toBe('done')
      await fill(19)
      expect(await strange(rooms)).toBe('done')
      await rooms.authority.currentKrl()
      await rooms.authority.currentKrl()
      expect([told(), rooms.authority.mayBeCertified(alice)]).toEqual([1, true])
      await fill(10)
      expect(await codeOf(rooms.authority.revoke({ workload: (await join(rooms)).name }, undefined, by()))).toBe('done')
      await rooms.authority.currentKrl()
      expect([told(), rooms.authority.mayBeCertified(alice)]).toEqual([2, false])
      // What would only make it longer.
      expect(await strange(rooms)).toBe('conflict')
      expect(await codeOf(rooms.authority.issueUserCertificate(late, at()))).toBe('unavailable')
      // What is there goes on, and ends: by its key, too.
      const [first, second] = sessions
      if (!first || !second) throw new TypeError('there are sessions')
      expect(await codeOf(rooms.authority.issueUserCertificate(second, at()))).toBe('done')
      const publicKey = parsePublicKey(first.ssh.line)
      expect(await rooms.authority.revoke({ publicKey }, undefined, by())).toMatchObject({ revoked: 1, sessions: 1 })
      const ended = await rooms.authority.revoke({ person: alice }, undefined, by())
      // By keys alone, from half on.
      expect(ended).toMatchObject({ sessions: 5, revoked: 7 })
      const serials = decodeKrl((await rooms.authority.currentKrl()).bytes).certificates.flatMap(each => each.serials)
      expect(serials).toEqual([{ from: 1n, to: 1n }])
    } finally {
      await rooms.close()
    }
  })

  it('has two thousand keys of one person at most, and fifty thousand of one project: they begin no session more that has certificates, others do', {
    timeout: 60_000,
  }, async () => {
    const rooms = await open()
    const list = async (whose: string, count: number) => {
      const until = BigInt(Math.floor(rooms.clock.now.getTime() / 1000) + 3600)
      const facts = Array.from({ length: count }, () =>
        revokedSessionKeyFact({ whose, fingerprint: newPrint(), until }),
      )
      await rooms.ledger.follow()
      await rooms.store.transaction({ name: 'test', deadlineMs: 30_000 }, t =>
        rooms.ledger.appendIn(t, [{ ...by(), kind: 'revoked', facts }]),
      )
      await strange(rooms)
      await rooms.ledger.follow()
    }
    try {
      await rooms.addPerson('bob@example.com')
      await grant(rooms, 'bob@example.com')
      const bob = parsePersonIdentity('bob@example.com', 'test')
      await list(alice, 1_999)
      expect(rooms.authority.mayBeCertified(alice)).toBe(true)
      await list(alice, 1)
      expect([rooms.authority.mayBeCertified(alice), rooms.authority.mayBeCertified(bob)]).toEqual([false, true])
      // What she has goes on.
      expect(await codeOf(rooms.authority.issueUserCertificate(await rooms.addSession(alice), at()))).toBe('done')
      const puppet = await join(rooms)
      await grant(rooms, puppet.principal)
      await list('workload:ops/another', 2_001)
      expect(rooms.authority.mayBeCertified(puppet.principal)).toBe(true)
    } finally {
      await rooms.close()
    }
  })
})
