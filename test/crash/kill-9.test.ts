import { X509Certificate } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { toHex } from '#shared/bytes.ts'
import { parseCertificate } from '#shared/ssh/index.ts'
import { requires } from '#test/support/requires.ts'
import {
  authoritySignatures,
  type CrashSetUp,
  type CrashWorld,
  dropTornLine,
  openCrashWorld,
  readLedger,
  sha256,
} from '#test/support/worlds/crash-world.ts'

/**
 * `kill -9` of the server while sessions renew. Moments are told by answers that came back and turns of the test's own
 * event loop, from a seed: no clock is asked.
 */
const SEED = Number(process.env.KEYMAN_TEST_SEED ?? 7)
const setUps: readonly { name: CrashSetUp; rounds: number; needs: readonly ('postgresql' | 'softhsm')[] }[] = [
  { name: 'PostgreSQL and SoftHSM', rounds: 20, needs: ['postgresql', 'softhsm'] },
  { name: 'PGlite and the software keystore', rounds: 5, needs: [] },
]

for (const { name, rounds, needs } of setUps)
  describe.skipIf(!requires(...needs))(`a server killed ${rounds} times under load: ${name}`, () => {
    let world: CrashWorld
    const received: string[] = []
    beforeAll(async () => {
      world = await openCrashWorld(name, { machines: 6 })
    })
    afterAll(() => world?.close())

    it(`starts again by itself each time, and every session goes on with its client certificate (seed ${SEED})`, async () => {
      const below = randomNumbers(SEED)
      for (let round = 0; round < rounds; round++) {
        // A slower token moves what is under way from the database's side to the signature's.
        world.server.env.KEYMAN_SHIM_DELAY_MS = String(below(4) * 3)
        const each = await killAfter(1 + below(50), below(12))
        expect(each.every(outcome => outcome === 'lost')).toBe(true)
        if (world.shim) dropTornLine(world.shim.log)
        await world.server.restart()
      }
      for (const machine of world.machines) expect((await renewed(machine)).kind).toBe('certificate')
    }, 300_000)

    it('has a whole log, in which nothing is twice', async () => {
      const { certificates, kinds, size } = await readLedger(world.sessions[0])
      expect(kinds).toHaveLength(Number(size))
      expect(kinds.filter(kind => kind === 'server-started')).toHaveLength(rounds + 1)
      expect(doubles(certificates.map(({ authority, serial }) => `${authority} ${serial}`))).toEqual([])
      expect(doubles(certificates.map(({ bodyHash }) => bodyHash))).toEqual([])
    })

    it('has a record of every certificate that anybody received', async () => {
      const { certificates } = await readLedger(world.sessions[0])
      const known = new Set(certificates.map(({ serial, bodyHash }) => `${serial} ${bodyHash}`))
      const ssh = [...received, ...world.sessions.flatMap(({ login }) => login.ssh?.certificate ?? [])]
      const missing = ssh.filter(line => {
        const { body, serial } = parseCertificate(line)
        return !known.has(`${serial} ${toHex(sha256(body))}`)
      })
      expect(missing).toEqual([])
      expect(doubles(ssh)).toEqual([])
      expect(received.length).toBeGreaterThan(rounds)

      const x509 = new Set(
        certificates.flatMap(({ authority, serial }) => (authority.startsWith('machines-') ? [BigInt(serial)] : [])),
      )
      const shown = [
        ...world.machines.flatMap(machine => [...machine.serverCertificates]),
        ...world.sessions.map(({ login }) => new X509Certificate(login.client.certificate).serialNumber),
      ]
      expect(shown.filter(serial => !x509.has(BigInt(`0x${serial}`)))).toEqual([])
      expect(new Set(shown).size).toBeGreaterThan(rounds)
    })

    // Only there is there something to look at.
    if (name === 'PostgreSQL and SoftHSM')
      it('has a record of every signature by an authority key that the token made, and none was made twice', async () => {
        const { certificates } = await readLedger(world.sessions[0])
        const recorded = new Set(certificates.map(({ authority, bodyHash }) => `${authority} ${bodyHash}`))
        const authorities = new Set(certificates.map(({ authority }) => authority))
        const made = await authoritySignatures(world.shim?.log ?? '', authorities)
        const signed = made.map(({ authority, bodyHash }) => `${authority} ${bodyHash}`)
        expect(signed.filter(each => !recorded.has(each))).toEqual([])
        expect(doubles(signed)).toEqual([])
        expect(signed.length).toBeGreaterThanOrEqual(received.length)
        // Else no kill was ever between a record and its signature, or that and its answer: the rounds have shown nothing.
        const users = certificates.filter(({ kind }) => kind === 'ssh-user-certificate').length
        const usersSigned = signed.filter(each => each.startsWith('ssh-user-')).length
        expect(users).toBeGreaterThan(usersSigned)
        expect(usersSigned).toBeGreaterThan(received.length + world.sessions.length)
      })

    async function renewed(machine: CrashWorld['machines'][number]) {
      const outcome = await machine.renew()
      if (outcome.kind === 'certificate') received.push(outcome.certificate)
      return outcome
    }

    /** All machines at once, until the server is killed `turns` turns after so many answers; how each one's last renewal ended. */
    async function killAfter(answers: number, turns: number): Promise<string[]> {
      let count = 0
      let killed: Promise<void> | undefined
      const ends = await Promise.all(
        world.machines.map(async machine => {
          for (;;) {
            const outcome = await renewed(machine)
            if (outcome.kind !== 'certificate') return killed ? outcome.kind : `${outcome.kind} before the kill`
            if (++count !== answers) continue
            for (let n = 0; n < turns; n++) await turn()
            killed = world.server.kill()
          }
        }),
      )
      await killed
      return ends
    }
  })

/** Whole numbers from 0 to below `bound`, the same for the same seed (mulberry32). */
function randomNumbers(seed: number): (bound: number) => number {
  let state = seed
  return bound => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * bound)
  }
}

function doubles(list: readonly string[]): string[] {
  const seen = new Set<string>()
  return list.filter(each => seen.size === seen.add(each).size)
}
