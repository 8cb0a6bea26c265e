import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { HostConnection } from '#server/hosts/index.ts'
import { hostStream } from '#shared/api/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { type HostName, parseHostName } from '#shared/names.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { startPostgres } from '#test/support/programs/postgres.ts'
import { requires } from '#test/support/requires.ts'
import { newKey } from '#test/support/trust-world.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'
import { addJoined } from './hosts-beside.ts'

/** Streams without sockets: what the room itself does for many hosts at once, on either database. */
const HOSTS = 150
const databases = [
  { name: 'embedded database', needs: [], open: async () => ({ env: {}, close: async () => {} }) },
  {
    name: 'PostgreSQL',
    needs: ['postgresql'],
    open: async () => {
      const { url, migrationUrl, close } = await startPostgres()
      return { env: { KEYMAN_DATABASE_URL: url, KEYMAN_DATABASE_MIGRATION_URL: migrationUrl }, close }
    },
  },
] as const

for (const database of databases) {
  describe.skipIf(!requires(...database.needs))(`a fleet of ${HOSTS} hosts: ${database.name}`, () => {
    let around: Awaited<ReturnType<typeof database.open>>
    let server: HostsServer
    const names = Array.from({ length: HOSTS }, (_, i) => parseHostName(`host${i}.keyman.localhost`, 'name'))
    const spki = (name: HostName) => utf8(`client key of ${name}`)
    const states = new Map<HostName, number>()
    const refusals: string[] = []

    beforeAll(async () => {
      around = await database.open()
      server = await startHostsServer(around.env)
      const { hosts } = server.services
      await addJoined(server.services, names)
      await vi.waitFor(() => expect(hosts.living().length).toBe(HOSTS), { timeout: 10_000 })
    })
    afterAll(async () => {
      await server?.close()
      await around?.close()
    })

    /** A host that says 'in force' to everything, or `answer`s otherwise. */
    const connect = (name: HostName, answer: (revision: number) => hostStream.FrameToServer) => {
      const connection: HostConnection = server.services.hosts.connect(
        { kind: 'host', name, clientSpki: spki(name), clientFingerprint: '', epochs: [] },
        {
          from: '192.0.2.1',
          isThere: async () => false,
          async send(text) {
            const frame = hostStream.frameToAgent.parse(JSON.parse(text))
            if (frame.type === 'log' || frame.type === 'names') return
            states.set(name, (states.get(name) ?? 0) + 1)
            const revision = frame.type === 'state' ? frame.state.revision : frame.revision
            setImmediate(() => void connection.receive(JSON.stringify(answer(revision))))
          },
          close: (_, reason) => void refusals.push(reason),
          async check() {},
        },
      )
      const { incarnation } = server.services.store
      const hello = { type: 'hello', revision: 0, incarnation, at: new Date().toISOString(), agent: 't', sshd: 't' }
      return connection.receive(JSON.stringify(hello))
    }
    const revoke = async () => {
      const key = parsePublicKey(newKey().line)
      const { krlVersion } = await server.services.authority.revoke({ publicKey: key }, 'test', server.by())
      return server.services.hosts.waitForKrl(krlVersion, 20)
    }

    it('has its first state, and then each revocation, in force on every host, one state each', async () => {
      await Promise.all(names.map(name => connect(name, revision => ({ type: 'in-force', revision }))))
      await expect.poll(() => states.size, { timeout: 20_000 }).toBe(HOSTS)
      states.clear()
      const clocks = server.services.hosts.clocksApart()
      expect(clocks.length).toBe(HOSTS)
      expect(clocks.filter(ahead => Math.abs(ahead) > 60)).toEqual([])
      const hosts = await revoke()
      expect(hosts.length).toBe(HOSTS)
      expect(hosts.every(host => host.state === 'in-force')).toBe(true)
      expect([...states.values()].every(count => count === 1)).toBe(true)
      expect(refusals).toEqual([])
    })

    it('is not waited for where a host says that it failed; the answer names it', async () => {
      const [name] = names
      if (!name) throw new Error('no hosts')
      await connect(name, revision => ({ type: 'failed', revision, message: 'the disk is full' }))
      await expect.poll(() => refusals).toContain('this host has opened another stream')
      const hosts = await revoke()
      const failed = hosts.filter(host => host.state !== 'in-force')
      expect(failed).toMatchObject([
        { name, state: 'failed', revision: expect.any(Number), message: 'the disk is full' },
      ])
    })
  })
}
