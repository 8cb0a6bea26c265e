import { renameSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { beginLogin, consent, machinesConnection } from '#test/support/people/api-person.ts'
import type { Outcome } from '#test/support/programs/renewing-machine.ts'
import { requires } from '#test/support/requires.ts'
import { addHost, joinBody } from '#test/support/worlds/attack-world.ts'
import { authoritySignatures, type CrashWorld, openCrashWorld, readLedger } from '#test/support/worlds/crash-world.ts'

/** What the server stands on fails while it runs; faults come from the PKCS#11 module and from the database themselves. */
describe.skipIf(!requires('postgresql', 'softhsm'))('a server that runs goes on', () => {
  let world: CrashWorld
  beforeAll(async () => {
    world = await openCrashWorld('PostgreSQL and SoftHSM', { machines: 4 })
  })
  afterAll(() => world?.close())

  const all = (times: number): Promise<Outcome[]> =>
    Promise.all(
      world.machines.map(async machine => {
        const outcomes: Outcome[] = []
        for (let n = 0; n < times; n++) outcomes.push(await machine.renew())
        return outcomes
      }),
    ).then(each => each.flat())
  const kinds = (outcomes: readonly Outcome[]) => [...new Set(outcomes.map(({ kind }) => kind))]
  const fault = (text: string) => writeFileSync(world.shim?.fault ?? '', text)
  const failures = async () => (await readLedger(world.sessions[0])).kinds.filter(kind => kind === 'sign-failed').length

  /** How many are recorded; without a checkpoint, which nobody signs while the token is away. */
  const userCertificates = async () => {
    const query = { kind: 'ssh-user-certificate', limit: 1000 }
    return (await call(world.sessions[0].connection, api.auditTrail.list, { query })).records.length
  }

  /** Asks until a certificate comes, and gives what came before. Whether it comes back is the test; how soon is not. */
  async function untilServed(): Promise<Outcome[]> {
    const before: Outcome[] = []
    const [machine] = world.machines
    for (;;) {
      const outcome = (await machine?.renew()) ?? { kind: 'lost', sent: false, why: 'no machine' }
      if (outcome.kind === 'certificate') return before
      before.push(outcome)
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }

  it('when every session with the token is closed in the middle: nobody notices', async () => {
    for (let round = 0; round < 3; round++) {
      fault('close 0')
      expect(kinds(await all(8))).toEqual(['certificate'])
    }
    expect(await failures()).toBe(0)
  })

  it('when one signature takes long: everybody is served, who asked meanwhile too', async () => {
    fault('delay 1000')
    expect(kinds(await all(3))).toEqual(['certificate'])
    expect(await failures()).toBe(0)
  })

  it('when the token hangs: who waits behind it hears 503, is not signed for later, and the log says so', async () => {
    const { server } = world
    server.env.KEYMAN_KEYSTORE_SESSIONS = '1'
    await server.stop()
    await server.restart()
    const before = await failures()
    // Speaks for the token's health: else its probe would be what waits.
    expect(kinds(await all(1))).toEqual(['certificate'])
    fault('delay 9000')
    const outcomes = await all(1)
    const refused = outcomes.filter(isTryAgain)
    // One is inside, unless the checkpoint's signature is.
    expect(refused.length, JSON.stringify(outcomes)).toBeGreaterThanOrEqual(outcomes.length - 1)
    expect(outcomes.every(outcome => outcome.kind === 'certificate' || isTryAgain(outcome))).toBe(true)
    expect(await failures()).toBe(before + refused.length)
    const { certificates } = await readLedger(world.sessions[0])
    const made = await authoritySignatures(world.shim?.log ?? '', new Set(certificates.map(each => each.authority)))
    const users = certificates.filter(({ kind }) => kind === 'ssh-user-certificate').length
    // Of each certificate once: a batch whose session was closed in its middle, as above, is signed anew from its beginning.
    const byUsersKey = new Set(
      made.flatMap(({ authority, bodyHash }) => (authority.startsWith('ssh-user-') ? [bodyHash] : [])),
    )
    expect(byUsersKey.size, JSON.stringify(outcomes)).toBe(users - refused.length + 1)
    delete server.env.KEYMAN_KEYSTORE_SESSIONS
    await server.stop()
    await server.restart()
  })

  it('when the token fails between record and signature: the client hears 503, the log holds sign-failed beside the record', async () => {
    const before = await readLedger(world.sessions[0])
    const [machine] = world.machines
    // CKR_FUNCTION_FAILED. The checkpoint's signature may take the fault first: then once more.
    let outcome: Outcome | undefined
    do {
      // What was signed just now speaks for the token's health, which is not probed so soon again: the fault is the record's.
      await machine?.renew()
      fault('fail 6')
      outcome = await machine?.renew()
    } while (outcome?.kind === 'certificate')
    expect(outcome).toMatchObject({ kind: 'refused', status: 503, code: 'unavailable' })

    const after = await readLedger(world.sessions[0])
    const fresh = after.kinds.slice(Number(before.size))
    expect(fresh.filter(kind => kind === 'sign-failed')).toHaveLength(1)
    expect(fresh.lastIndexOf('ssh-user-certificate')).toBeLessThan(fresh.indexOf('sign-failed'))
    expect(await untilServed()).toEqual([])
  })

  it('when the token is away: 503 and Retry-After, nothing recorded that is known not to be signed; and it comes back by itself', async () => {
    const tokens = world.shim?.tokens ?? ''
    renameSync(tokens, `${tokens}.away`)
    fault('close 0')
    const away = await all(3)
    while (away.at(-1)?.kind === 'certificate') {
      fault('close 0')
      away.push(...(await all(1)))
    }
    const refused = away.filter(({ kind }) => kind !== 'certificate')
    expect(refused.every(isTryAgain), JSON.stringify(refused)).toBe(true)
    // The health key is asked before anything is recorded.
    const recorded = await userCertificates()
    expect((await all(2)).every(isTryAgain)).toBe(true)
    expect(await userCertificates()).toBe(recorded)

    renameSync(`${tokens}.away`, tokens)
    expect((await untilServed()).every(isTryAgain)).toBe(true)
    expect(kinds(await all(2))).toEqual(['certificate'])
  })

  it('when the token is away: a login that was confirmed and a join token are not used up, and are good once it is back', async () => {
    const { server } = world
    const [{ connection, person }] = world.sessions
    const stranger = await machinesConnection(server)
    const { started, codeVerifier } = await beginLogin(stranger)
    const code = await consent(server, person, started.transaction)
    const { secret } = await addHost({ alice: world.sessions[0] }, 'web1.keyman.localhost')
    const joining = await joinBody(stranger, secret)
    const redeem = () =>
      call(stranger, api.login.token, {
        body: { grant: 'code', transaction: started.transaction, code, codeVerifier },
      })
    const join = () => call(stranger, api.hostSelf.join, { body: joining })
    const tokens = world.shim?.tokens ?? ''
    renameSync(tokens, `${tokens}.away`)
    // Once a signature has failed, nothing speaks for the token's health any more.
    do fault('close 0')
    while ((await all(1)).some(({ kind }) => kind === 'certificate'))

    const later = { code: 'unavailable', retryAfter: expect.any(Number) }
    await expect(redeem()).rejects.toMatchObject(later)
    await expect(join()).rejects.toMatchObject(later)
    renameSync(`${tokens}.away`, tokens)
    await untilServed()
    expect(await redeem()).toMatchObject({ state: 'done', login: { session: { person: person.identity } } })
    expect(await join()).toMatchObject({ host: 'web1.keyman.localhost' })
    await expect(redeem()).rejects.toMatchObject({ code: 'expired' })
    await expect(join()).rejects.toMatchObject({ code: 'expired' })
    expect((await call(connection, api.hosts.list)).hosts).toMatchObject([{ name: 'web1.keyman.localhost' }])
  })

  it('when the database is killed: every route says 503 and when to try again, nothing is signed; and it comes back by itself', async () => {
    const log = world.shim?.log ?? ''
    const labels = ['ssh-user-1', 'ssh-host-1', 'machines-1']
    await world.postgres?.killHard()
    const before = (await authoritySignatures(log, labels)).length
    const { connection } = world.sessions[0]
    const reads = () => [
      call(connection, api.auditTrail.list, { query: { limit: 1 } }),
      call(connection, api.persons.list),
      call(connection, api.session.show),
    ]
    const refused = { status: 'rejected', reason: { code: 'unavailable', retryAfter: expect.any(Number) } }
    // While who is signed in is still known, and after that.
    const atOnce = Promise.allSettled(reads())
    const away = await all(1)
    expect(away.every(isTryAgain), JSON.stringify(away)).toBe(true)
    expect(await atOnce).toMatchObject([refused, refused, refused])
    expect(await Promise.allSettled(reads())).toMatchObject([refused, refused, refused])
    expect(await authoritySignatures(log, labels)).toHaveLength(before)

    await world.postgres?.start()
    const meanwhile = await untilServed()
    expect(meanwhile.every(isTryAgain), JSON.stringify(meanwhile)).toBe(true)
    expect(kinds(await all(2))).toEqual(['certificate'])
  })

  it('when the database is away as it is told to stop: it stops all the same, and starts again', async () => {
    await world.postgres?.killHard()
    expect(await world.server.stop()).toBe(0)
    await world.postgres?.start()
    await world.server.restart()
    expect(kinds(await all(1))).toEqual(['certificate'])
  })

  it('and at the end the log is whole, with every signature that was made', async () => {
    const { certificates } = await readLedger(world.sessions[0])
    const recorded = new Set(certificates.map(({ authority, bodyHash }) => `${authority} ${bodyHash}`))
    const made = await authoritySignatures(
      world.shim?.log ?? '',
      new Set(certificates.map(({ authority }) => authority)),
    )
    expect(made.filter(({ authority, bodyHash }) => !recorded.has(`${authority} ${bodyHash}`))).toEqual([])
  })
})

const isTryAgain = (outcome: Outcome): boolean =>
  outcome.kind === 'refused' && outcome.status === 503 && Number(outcome.retryAfter) > 0
