import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '#server/store/index.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { type SoftHsm, startSoftHsm } from '#test/support/programs/softhsm.ts'
import { requires } from '#test/support/requires.ts'

describe.skipIf(!requires('postgresql', 'softhsm'))('servers that start for the first time at the same moment', () => {
  let postgres: TestPostgres
  let hsm: SoftHsm
  const servers: ServerProcess[] = []
  beforeAll(async () => {
    postgres = await startPostgres()
    hsm = await startSoftHsm()
  })
  afterAll(async () => {
    for (const server of servers) await server.close()
    await postgres?.close()
    await hsm?.close()
  })

  it('on one token and one database: one makes the authorities and the root, the others start once they are told its root', async () => {
    const env = {
      ...hsm.env,
      KEYMAN_DATABASE_URL: postgres.url,
      KEYMAN_DATABASE_MIGRATION_URL: postgres.migrationUrl,
      KEYMAN_KEYSTORE_KIND: 'pkcs11',
      KEYMAN_KEYSTORE_MODULE: hsm.module,
      KEYMAN_KEYSTORE_TOKEN: hsm.token,
      KEYMAN_KEYSTORE_PIN: hsm.pin,
      KEYMAN_MACHINES_URL: 'https://localhost:9999',
      KEYMAN_PUBLIC_URL: 'http://localhost:9998',
    }
    // All three wait for the same lock before one of them begins: so none finds what another has made already.
    const store = await openStore({ engine: 'postgresql', url: postgres.url, migrationUrl: postgres.migrationUrl })
    const unlock = await store.lock('first keys', 10_000)
    const starting = Promise.allSettled(Array.from({ length: 3 }, () => startServerProcess({ env })))
    const admin = new pg.Client(postgres.adminUrl)
    await admin.connect()
    const waiting = async () =>
      (await admin.query("select from pg_stat_activity where wait_event_type = 'Lock' and wait_event = 'advisory'"))
        .rowCount
    await expect.poll(waiting, { timeout: 30_000 }).toBe(3)
    await admin.end()
    await unlock()
    await store.close()
    const started = await starting
    for (const one of started) if (one.status === 'fulfilled') servers.push(one.value)
    expect(started.map(one => (one.status === 'fulfilled' ? 'started' : String(one.reason)))).toEqual(
      started.map(() => 'started'),
    )
    const roots = servers.map(({ dataFolder }) => readFileSync(join(dataFolder, 'local.json'), 'utf8'))
    expect(new Set(roots.map(text => JSON.parse(text).rootFingerprint)).size).toBe(1)
  })
})
