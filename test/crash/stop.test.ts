import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { toHex } from '#shared/bytes.ts'
import { parseCertificate } from '#shared/ssh/index.ts'
import { freePort } from '#test/support/free-port.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import type { Outcome } from '#test/support/programs/renewing-machine.ts'
import { startServerProcess } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'
import {
  type CrashSetUp,
  type CrashWorld,
  openCrashWorld,
  readLedger,
  sha256,
} from '#test/support/worlds/crash-world.ts'

const setUps: readonly { name: CrashSetUp; needs: readonly ('postgresql' | 'softhsm')[] }[] = [
  { name: 'PostgreSQL and SoftHSM', needs: ['postgresql', 'softhsm'] },
  { name: 'PGlite and the software keystore', needs: [] },
]

for (const { name, needs } of setUps)
  describe.skipIf(!requires(...needs))(`a server that is told to stop: ${name}`, () => {
    let world: CrashWorld
    beforeAll(async () => {
      // A token as slow as one over a network: so there is always something between record and signature.
      world = await openCrashWorld(name, { env: { KEYMAN_SHIM_DELAY_MS: '10' } })
    })
    afterAll(() => world?.close())

    it('under load answers what it has taken, takes nothing that it does not answer, and says in the log that it stopped', async () => {
      const { server, machines } = world
      const received: string[] = world.sessions.flatMap(({ login }) => login.ssh?.certificate ?? [])
      let answers = 0
      let stopped: Promise<number | null> | undefined
      const ends = await Promise.all(
        machines.map(async machine => {
          for (;;) {
            const outcome = await machine.renew()
            if (outcome.kind !== 'certificate') return outcome
            received.push(outcome.certificate)
            if (++answers === 40) stopped = server.stop()
          }
        }),
      )
      expect(await stopped).toBe(0)
      expect(ends.filter(end => !isCleanEnd(end))).toEqual([])

      await server.restart()
      const { certificates, kinds } = await readLedger(world.sessions[0])
      const recorded = certificates
        .filter(({ kind }) => kind === 'ssh-user-certificate')
        .map(({ bodyHash }) => bodyHash)
      expect(received.map(line => toHex(sha256(parseCertificate(line).body))).sort()).toEqual(recorded.sort())
      const life = kinds.filter(kind => kind === 'server-started' || kind === 'server-stopped')
      expect(life).toEqual(['server-started', 'server-stopped', 'server-started'])
    })

    it('starts after a kill on what it left behind, and answers at its command line', async () => {
      const { server } = world
      await server.kill()
      const socket = join(server.dataFolder, 'operator.sock')
      expect(statSync(socket).isSocket()).toBe(true)
      const lock = join(server.dataFolder, 'database', 'lock')
      expect(existsSync(lock)).toBe(name === 'PGlite and the software keystore')
      await server.restart()
      const { status, stdout } = adminLink(server.env)
      expect({ status, link: stdout.split('#')[0] }).toEqual({ status: 0, link: `${server.pagesUrl}/enrol` })
    })

    it('says at its command line that none runs, where only the socket of a killed one is left', async () => {
      await world.server.kill()
      const { status, stderr } = adminLink(world.server.env)
      expect({ status, stderr }).toMatchObject({ status: 8, stderr: expect.stringContaining('no server runs on') })
      await world.server.restart()
    })

    it('is not disturbed by a second one on its folder, which says who has it and ends', async () => {
      const { server, machines } = world
      const elsewhere = {
        ...server.env,
        KEYMAN_PAGES_LISTEN: `127.0.0.1:${await freePort()}`,
        KEYMAN_MACHINES_LISTEN: `127.0.0.1:${await freePort()}`,
      }
      const second = startServerProcess({ folder: server.folder, env: elsewhere })
      await expect(second).rejects.toThrow(new RegExp(`in use by process ${server.pid} since`))
      await expect(second).rejects.toThrow(/hint: stop that server first, or give this one another data folder/)
      for (const machine of machines) expect(await machine.renew()).toMatchObject({ kind: 'certificate' })
      // Neither has it taken the operator's socket away.
      expect(adminLink(server.env).status).toBe(0)
    })
  })

/** Refused by an answer that says so, or before the request was sent. */
const isCleanEnd = (end: Outcome): boolean =>
  end.kind === 'lost' ? !end.sent : end.kind === 'refused' && end.status === 503

const adminLink = (env: NodeJS.ProcessEnv) =>
  spawnSync(process.execPath, [SERVER, 'admin-link', 'somebody@example.com', '--new'], {
    env,
    encoding: 'utf8',
  })
