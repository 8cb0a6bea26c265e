import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Hosts } from '#server/hosts/index.ts'
import { openStore, type Store } from '#server/store/index.ts'
import { parseHostName } from '#shared/names.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { type HostsServer, startHostsServer } from '#test/support/hosts-server.ts'
import { startPostgres, type TestPostgres } from '#test/support/postgres.ts'
import { requires } from '#test/support/requires.ts'
import { newKey } from '#test/support/trust-world.ts'
import { addJoined, connectHost, hostsBeside } from './hosts-beside.ts'

describe.skipIf(!requires('postgresql'))('two servers on one database', () => {
  const [web1, web2] = ['web1', 'web2'].map(name => parseHostName(`${name}.keyman.localhost`, 'name'))
  if (!web1 || !web2) throw new Error('no names')
  let postgres: TestPostgres
  let server: HostsServer
  let store: Store
  let one: Hosts
  let two: Hosts
  const stateOf = async (name: typeof web1) => (await one.show(name)).state

  beforeAll(async () => {
    postgres = await startPostgres()
    const { url, migrationUrl } = postgres
    server = await startHostsServer({ KEYMAN_DATABASE_URL: url, KEYMAN_DATABASE_MIGRATION_URL: migrationUrl })
    await addJoined(server.services, [web1, web2])
    one = server.services.hosts
    store = await openStore({ engine: 'postgresql', url, migrationUrl })
    two = hostsBeside(server.services, { store })
    await two.start()
    await vi.waitFor(() => expect(one.living().length).toBe(2), { timeout: 10_000 })
  })
  afterAll(async () => {
    await two?.stop()
    await store?.close()
    await server?.close()
    await postgres?.close()
  })

  it('a host that came back at the other is connected, though the first notices late that its stream has ended', async () => {
    const { incarnation } = server.services.store
    const old = connectHost(one, web1, incarnation)
    const other = connectHost(one, web2, incarnation)
    await Promise.all([old.inForce, other.inForce])
    const now = connectHost(two, web1, incarnation)
    await now.inForce
    old.hangUp()
    other.hangUp()
    // What the first server writes of its streams it writes in their order.
    await expect.poll(() => stateOf(web2)).toBe('away')
    expect(await stateOf(web1)).toBe('connected')

    const publicKey = parsePublicKey(newKey().line)
    const { krlVersion } = await server.services.authority.revoke({ publicKey }, 'test', server.by())
    const hosts = await one.waitInForce({ krlVersion }, 20)
    expect(hosts).toMatchObject([
      { name: web1, state: 'in-force' },
      { name: web2, state: 'away' },
    ])
    now.hangUp()
    await expect.poll(() => stateOf(web1)).toBe('away')
  })
})
