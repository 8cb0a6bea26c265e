import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openStore, type Store } from '#server/store/index.ts'
import { entry, openLedger } from '#test/support/contract/ledger.ts'
import { postgresPrograms, startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import type { Ledger } from '../index.ts'

/** Changes that go wrong by an honest database: no server may ever take what comes of them for a lie. */
describe.skipIf(!postgresPrograms())('two servers whose database is cut off, dies and comes back', () => {
  let cluster: TestPostgres
  let admin: pg.Client
  const servers: { readonly store: Store; readonly ledger: Ledger }[] = []
  const openServer = async () => {
    const store = await openStore({ engine: 'postgresql', url: cluster.url, migrationUrl: cluster.migrationUrl })
    servers.push({ store, ledger: await openLedger(store) })
  }
  const connect = async () => {
    admin = new pg.Client(cluster.adminUrl)
    admin.on('error', () => {})
    await admin.connect()
  }
  beforeAll(async () => {
    cluster = await startPostgres()
    await connect()
    await openServer()
    await openServer()
  })
  afterAll(async () => {
    for (const { ledger, store } of servers) {
      await ledger.stop().catch(() => {})
      await store.close()
    }
    await admin.end()
    await cluster.close()
  })

  it('go on: each change that was said to be done holds, and both say the same, as does one that reads it all anew', async () => {
    const done = new Map<string, boolean>()
    let stop = false
    let changes = 0
    let next = Promise.withResolvers<void>()
    const writers = servers.flatMap(({ store, ledger }, server) =>
      Array.from({ length: 6 }, async (_, writer) => {
        for (let n = 0; !stop; n++) {
          const id = `grant:${server}-${writer}-${n}`
          const change = (is: 'x' | null) =>
            store.transaction({ name: 'change', deadlineMs: 2_000 }, async t => {
              await ledger.bumpEpochs(t, ['person:alice@example.com'])
              await ledger.appendIn(t, [
                entry({ actor: { kind: 'server' }, kind: 'grant-added', facts: [{ id, is }] }),
                entry({ actor: { kind: 'server' }, kind: 'grant-added', facts: [{ id: `${id}-too`, is }] }),
              ])
            })
          try {
            await change('x')
            done.set(id, true)
            changes++
            next.resolve()
            if (n % 2 === 0) continue
            done.delete(id)
            await change(null)
            done.set(id, false)
          } catch {
            // Told as not known to be done. Other requests go on meanwhile.
            await ledger.append(entry()).catch(() => {})
          }
        }
      }),
    )
    const goesOn = async () => {
      for (let n = 0; n < 14; n++) {
        next = Promise.withResolvers()
        await next.promise
      }
    }
    await goesOn()
    for (let cut = 0; cut < 12; cut++) {
      await admin.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'keyman_app'")
      await goesOn()
    }
    await cluster.killHard()
    await cluster.start()
    await goesOn()
    stop = true
    await Promise.all(writers)
    await connect()
    await openServer()
    expect(changes).toBeGreaterThan(100)
    for (const { ledger } of servers) {
      await ledger.follow()
      await ledger.checkHistory()
      ledger.assertFresh()
      for (const [id, is] of done)
        expect([id, ledger.facts.has(id), ledger.facts.has(`${id}-too`)]).toEqual([id, is, is])
    }
    const { rows } = await admin.query("select count(*)::int as n from ledger_record where kind = 'change-failed'")
    expect(rows[0].n).toBeGreaterThan(0)
  })
})
