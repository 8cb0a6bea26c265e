import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeLoginKeys, proveBoth } from '#cli/session/keys.ts'
import { grantFact } from '#server/access/facts.ts'
import { workloadsDeps } from '#server/build-rooms.ts'
import { byWorkload, SupersededKey, type WorkloadCaller } from '#server/identity/index.ts'
import { schemas } from '#shared/api/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { parseWorkloadToken } from '#shared/join-token.ts'
import { parseWorkloadName } from '#shared/names.ts'
import { withNewClientKey } from '#test/support/people/workload.ts'
import { recorded } from '#test/support/worlds/insert-rows.ts'
import { openRooms, type Rooms } from '#test/support/worlds/rooms.ts'
import { createWorkloads, type Workloads } from './index.ts'

let rooms: Rooms
beforeAll(async () => {
  rooms = await openRooms()
  await rooms.access.places.add(schemas.newProject.parse({ name: 'payments', environments: ['prod'] }), by())
})
afterAll(() => rooms?.close())

let requests = 0
const at = () => ({ requestId: `req_${++requests}`, from: '192.0.2.7' })
const by = () => ({ actor: { kind: 'operator' as const }, ...at() })
let number = 0
const fresh = () => parseWorkloadName(`payments/prod/w${++number}`, 'test')
const newWorkload = (name: string) => schemas.newWorkload.parse({ name })

/** The room as another server has it. */
function beside(): Workloads {
  return createWorkloads(
    workloadsDeps({
      ...rooms,
      config: { machines: { url: 'https://keyman.example.com:4443' } },
      now: () => rooms.clock.now,
      monotonic: () => performance.now(),
      random: bytes => new Uint8Array(randomBytes(bytes)),
      alarm: () => undefined,
      onError: () => undefined,
      mayBeCertified: workload => rooms.authority.mayBeCertified(workload),
      revokeAllIn: (t, whose, by) => rooms.authority.revokeAllIn(t, whose, by),
      readyToSign: () => rooms.authority.ready(),
      rootFingerprint: () => rooms.trust.rootFingerprint(),
    }),
  )
}

async function joined() {
  const name = fresh()
  const { token } = await rooms.workloads.add(newWorkload(name), by())
  const keys = makeLoginKeys('test')
  const request = {
    token: parseWorkloadToken(token).secret,
    sshPublicKey: keys.ssh.line,
    clientPublicKey: toBase64(keys.client.spki),
    proof: proveBoth(keys, 'workload', rooms.identity.proofs.challenge()),
  }
  const { caller } = await rooms.workloads.join(request, at())
  return { name, keys, caller }
}

async function renewed(caller: WorkloadCaller, before: ReturnType<typeof makeLoginKeys>, room = rooms.workloads) {
  const keys = withNewClientKey(before)
  const proof = proveBoth(keys, 'workload', rooms.identity.proofs.challenge())
  return room.renew(caller, { clientPublicKey: toBase64(keys.client.spki), proof }, at())
}

describe('a workload', () => {
  it('is not made under a name for which a grant was left, by whatever way; without one it is', async () => {
    const name = fresh()
    const grant = schemas.grant.parse({
      ...{ id: 'grant_left0123456', kind: 'role', who: `workload:${name}`, role: 'viewer', in: 'payments' },
      ...{ createdAt: rooms.clock.now.toISOString(), createdBy: 'test' },
    })
    await recorded(rooms, [grantFact(grant)], async t => {
      await t.execute(
        `insert into access_grant (id, kind, who, role, place, created_at, created_by) values ($1, 'role', $2, 'viewer', 'payments', $3::timestamptz, 'test')`,
        [grant.id, grant.who, grant.createdAt],
      )
    })
    await expect(rooms.workloads.add(newWorkload(name), by())).rejects.toThrow(`something is given to workload:${name}`)
    await rooms.access.removeGrant(grant.id, by())
    await expect(rooms.workloads.add(newWorkload(name), by())).resolves.toMatchObject({ workload: { name } })
  })

  it('does nothing in a session that was ended, whatever the database says of numbers; while it lasts it does', async () => {
    const { caller } = await joined()
    /** As it would be if no number had changed. */
    const acts = async () => {
      const epochs = [...(await rooms.ledger.readEpochs([caller.principal]))].map(([subject, epoch]) => ({
        subject,
        epoch,
      }))
      return rooms.identity.act(byWorkload({ ...caller, epochs }, {}, at()), { name: 'test' }, async () => 'done')
    }
    expect(await acts()).toBe('done')
    await rooms.authority.revoke({ workload: caller.name }, 'test', by())
    await expect(acts()).rejects.toThrow('the session of this workload has ended')
  })

  it('that was renewed at one server is known at another at once, by its newer key alone', async () => {
    const { caller, keys } = await joined()
    const other = beside()
    await other.start()
    try {
      expect(await other.resolve(caller)).toMatchObject({ session: caller.session })
      const { caller: newer } = await renewed(caller, keys)
      expect(await other.resolve(newer)).toMatchObject({ clientSpki: newer.clientSpki })
      const old = await Promise.resolve(other.resolve(caller)).catch((error: unknown) => error)
      expect(old).toBeInstanceOf(SupersededKey)
      const { caller: newest } = await renewed(newer, withNewClientKey(keys), other)
      expect(await rooms.workloads.resolve(newest)).toMatchObject({ session: caller.session })
    } finally {
      await other.stop()
    }
  })

  it('is listed as it is while many renew at the same time; nobody is told of a change that nobody made', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, joined))
    const renewing = all.map(async ({ caller, keys }) => {
      let current = caller
      for (let n = 0; n < 5; n++) current = (await renewed(current, keys)).caller
    })
    const lists: number[] = []
    const listing = (async () => {
      for (let n = 0; n < 20; n++) {
        const listed = await rooms.workloads.list()
        lists.push(
          listed.filter(({ name, state }) => all.some(each => each.name === name) && state === 'active').length,
        )
      }
    })()
    await Promise.all([...renewing, listing])
    expect(new Set(lists)).toEqual(new Set([8]))
    expect(rooms.said.filter(message => message.includes('workload'))).toEqual([])
  })

  it('of which somebody has a copy is told of before it is ended, and though the database keeps it from being ended', async () => {
    const { caller, keys, name } = await joined()
    await renewed(caller, keys)
    rooms.clock.now = new Date(rooms.clock.now.getTime() + 120_000)
    const replaced = await Promise.resolve(rooms.workloads.resolve(caller)).catch((error: unknown) => error)
    if (!(replaced instanceof SupersededKey)) throw new TypeError('the key was replaced')
    const told = () => rooms.said.filter(alarm => alarm.includes(name) && alarm.includes('a copy of its files'))
    await rooms.store.execute(
      `create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$`,
      [],
    )
    await rooms.store.execute(
      'create trigger refuse before update on workload for each row execute function refuse()',
      [],
    )
    await expect(rooms.workloads.ring(replaced, at())).rejects.toThrow()
    expect(told()).toEqual([
      expect.stringContaining('are ended'),
      expect.stringMatching(`could not be ended .*: keyman workload end ${name}$`),
    ])
    await rooms.store.execute('drop trigger refuse on workload', [])
    await rooms.workloads.ring(replaced, at())
    expect(told()).toHaveLength(3)
    expect(await rooms.workloads.show(name)).toMatchObject({ state: 'ended' })
    // It is over: nobody is told of it once more.
    await rooms.workloads.ring(replaced, at())
    expect(told()).toHaveLength(3)
  })
})
