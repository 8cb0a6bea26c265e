import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Hosts } from '#server/hosts/index.ts'
import { openStore, type Store } from '#server/store/index.ts'
import { parseHostName } from '#shared/names.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { requires } from '#test/support/requires.ts'
import { newKey } from '#test/support/trust-world.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'
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
    two = await hostsBeside(server.services, { store })
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
    const hosts = await one.waitForKrl(krlVersion, 20)
    expect(hosts).toMatchObject([
      { name: web1, state: 'in-force' },
      { name: web2, state: 'away' },
    ])
    now.hangUp()
    await expect.poll(() => stateOf(web1)).toBe('away')
  })

  it('that a revocation is in force is what a server heard a host say, never what somebody writes into its row', async () => {
    const heard = connectHost(two, web1, server.services.store.incarnation)
    await heard.inForce
    const publicKey = parsePublicKey(newKey().line)
    const { krlVersion } = await server.services.authority.revoke({ publicKey }, 'test', server.by())
    // With a seal that is good, for another host.
    const copy = `update host set in_force_krl = $1::bigint, in_force = (select in_force from host where name = $2),
      in_force_seal = (select in_force_seal from host where name = $2) where name = $3`
    await server.services.store.execute(copy, [krlVersion, web1, web2])
    expect(await one.waitForKrl(krlVersion, 20)).toMatchObject([
      { name: web1, state: 'in-force' },
      { name: web2, state: 'away' },
    ])
    // With its own, for an older list.
    const other = connectHost(two, web2, server.services.store.incarnation)
    await other.inForce
    await server.services.store.execute('update host set in_force_krl = $1::bigint where name = $2', [
      krlVersion + 5n,
      web2,
    ])
    expect(await one.waitForKrl(krlVersion + 5n, 0)).toMatchObject([
      { name: web1, state: 'waiting' },
      { name: web2, state: 'waiting' },
    ])
    heard.hangUp()
    other.hangUp()
  })
})
