import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { anyRow, storeContract } from '#test/support/contract/store.ts'
import { postgresPrograms, startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { proxyPostgres } from '#test/support/programs/proxy-postgres.ts'
import { openStore, type Queryable, type Store, StoreError } from '../index.ts'

describe.skipIf(!postgresPrograms())('a store on PostgreSQL', () => {
  let cluster: TestPostgres
  const failures: unknown[] = []
  let store: Store
  let admin: pg.Client
  beforeAll(async () => {
    cluster = await startPostgres()
    const { url, migrationUrl } = cluster
    store = await openStore({ engine: 'postgresql', url, migrationUrl }, error => failures.push(error))
    admin = new pg.Client(cluster.adminUrl)
    admin.on('error', () => {})
    await admin.connect()
    await admin.query('create table contract (id int primary key, note text); grant all on contract to keyman_runtime')
  })
  afterAll(async () => {
    await store.close()
    await admin.end()
    await cluster.close()
  })

  storeContract(() => store, failures)

  const cutAll = () =>
    admin.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'keyman_app'")
  const count = async () => (await store.query('select id from contract', [], anyRow)).length
  const refused = (work: Promise<unknown>) =>
    work.then(
      () => undefined,
      (error: unknown) => error,
    )

  it('gives a lock to one server at a time, and back when that one ends it or dies', async () => {
    const { url } = cluster
    const second = await openStore({ engine: 'postgresql', url }, error => failures.push(error))
    try {
      const done: string[] = []
      const give = await store.lock('keys', 5_000)
      const other = await store.lock('something else', 5_000)
      const waiting = second.lock('keys', 30_000).then(end => {
        done.push('second has it')
        return end
      })
      // Until the database says that it waits.
      await expect
        .poll(async () => (await admin.query("select from pg_stat_activity where wait_event = 'advisory'")).rowCount)
        .toBe(1)
      done.push('first gives it back')
      await give()
      const end = await waiting
      expect(done).toEqual(['first gives it back', 'second has it'])
      expect(await refused(store.lock('keys', 50))).toMatchObject({ message: expect.stringContaining('the lock keys') })
      await cutAll()
      await (await store.lock('keys', 5_000))()
      await Promise.all([end(), other()])
    } finally {
      await second.close()
    }
  })

  describe('whose connection is cut', () => {
    const steps = ['before the first statement', 'between two statements', 'after the last statement'] as const
    for (const [at, step] of steps.entries())
      it(`${step} writes nothing at all, and the store goes on`, async () => {
        await store.execute('delete from contract', [])
        const insert = async (t: Queryable, n: number) => {
          if (at === n) await cutAll()
          await t.execute('insert into contract (id) values ($1)', [n])
        }
        const error = await refused(
          store.transaction({ name: 'cut', deadlineMs: 5_000 }, async t => {
            await insert(t, 0)
            await insert(t, 1)
            if (at === 2) await cutAll()
          }),
        )
        expect(error).toBeInstanceOf(StoreError)
        expect(error).toMatchObject({ kind: at === 2 ? 'ambiguous' : 'retryable' })
        expect(await count()).toBe(0)
      })

    it('in the middle of a statement says that nobody knows whether it was carried out', async () => {
      const slow = refused(store.execute('with w as (select pg_sleep(5)) insert into contract select 9 from w', []))
      for (;;) {
        const { rows } = await admin.query("select from pg_stat_activity where wait_event = 'PgSleep'")
        if (rows.length > 0) break
      }
      await cutAll()
      expect(await slow).toMatchObject({ kind: 'ambiguous' })
      expect(await count()).toBe(0)
    })

    it('while idle is replaced without anybody noticing', async () => {
      await store.ping()
      await cutAll()
      await expect.poll(() => store.ping().then(() => 'ok', String)).toBe('ok')
    })

    it('at a listener is replaced, and the listener told to look again', async () => {
      const heard: string[] = []
      const stop = await store.listen('contract_cut', payload => heard.push(payload))
      await cutAll()
      await expect.poll(() => heard).toContain('')
      await expect
        .poll(async () => {
          await store.notify('contract_cut', 'after').catch(() => {})
          return heard
        })
        .toContain('after')
      await stop()
    })
  })

  it('gives up at the deadline where a lock is held, and leaves no statement behind on the server', async () => {
    await admin.query('begin; lock table contract')
    const error = await refused(
      store.transaction({ name: 'locked', deadlineMs: 150 }, t =>
        t.execute('insert into contract (id) values (70)', []),
      ),
    )
    expect(error).toMatchObject({ kind: 'retryable' })
    await expect
      .poll(async () => (await admin.query("select from pg_stat_activity where wait_event_type = 'Lock'")).rows.length)
      .toBe(0)
    await admin.query('rollback')
  })

  it('answers at once when more want a connection than there are, and all get their turn', async () => {
    const all = await Promise.all(
      Array.from({ length: 100 }, () => store.query('select pg_sleep(0.001)', [], anyRow).then(rows => rows.length)),
    )
    expect(all).toEqual(Array(100).fill(1))
  })

  it('throws away a connection whose statement a migration has made stale, and goes on with another', async () => {
    await admin.query('create table stale (id int); grant all on stale to keyman_runtime')
    // Prepared in every connection that there is.
    const select = () => store.query('select * from stale', [], anyRow)
    await Promise.all(Array.from({ length: 30 }, select))
    await admin.query('alter table stale add column later text')
    const inTransaction = () =>
      store.transaction({ name: 'stale', deadlineMs: 5_000 }, t => t.query('select * from stale', [], anyRow))
    expect(await refused(select())).toMatchObject({ kind: 'retryable', code: '0A000' })
    expect(await refused(inTransaction())).toMatchObject({ kind: 'retryable', code: '0A000' })
    for (let n = 0; n < 30; n++) await refused(n % 2 ? select() : inTransaction())
    expect(await select()).toEqual([])
    expect(await inTransaction()).toEqual([])
  })

  it('survives the death of the whole server', async () => {
    await cluster.killHard()
    expect(await refused(store.ping())).toBeInstanceOf(StoreError)
    await cluster.start()
    await expect.poll(() => store.ping().then(() => 'ok', String)).toBe('ok')
    admin = new pg.Client(cluster.adminUrl)
    await admin.connect()
  })

  describe('at its start', () => {
    it('finds the primary among several hosts', async () => {
      const url = cluster.url.replace('@', '@127.0.0.1:1,')
      const second = await openStore({ engine: 'postgresql', url })
      await second.ping()
      await second.close()
    })

    it('refuses a runtime role that could change the audit log, where the roles are to be two', async () => {
      const { migrationUrl, adminUrl } = cluster
      for (const url of [migrationUrl, adminUrl])
        await expect(openStore({ engine: 'postgresql', url, migrationUrl })).rejects.toThrow('can change the audit log')
    })

    it('says so where there is one role only', async () => {
      const one = await openStore({ engine: 'postgresql', url: cluster.migrationUrl })
      expect(one.remarks.join()).toContain('keyman_migrate can change the audit log')
      await one.close()
      expect(store.remarks).toEqual([])
    })

    it('refuses what sends no notifications, as a pooler in transaction mode', async () => {
      for (const passesNotifications of [false, true]) {
        const between = await proxyPostgres(Number(new URL(cluster.url).port), passesNotifications)
        const url = Object.assign(new URL(cluster.url), { port: String(between.port) }).href
        const behind = openStore({ engine: 'postgresql', url })
        if (passesNotifications) await (await behind).close()
        else
          await expect(behind).rejects.toMatchObject({
            message: expect.stringMatching(/no notifications .* pooler in transaction mode/),
            hint: expect.stringContaining('pool_mode = session'),
            fields: [{ field: 'database.url' }],
          })
        await between.close()
      }
    })

    it('says how a missing migration is applied, where its role may not', async () => {
      const { rows } = await admin.query(
        'delete from schema_migration where name = (select max(name) from schema_migration) returning name, sha256',
      )
      const hint = expect.stringMatching(/database\.migration_url: the server applies what is missing when it starts/)
      await expect(openStore({ engine: 'postgresql', url: cluster.url })).rejects.toMatchObject({
        code: 'unavailable',
        hint,
      })
      await admin.query('insert into schema_migration (name, sha256) values ($1, $2)', [rows[0].name, rows[0].sha256])
    })

    it('shows no password in what it throws', async () => {
      const password = 'hunter2'
      for (const url of [
        `postgresql://keyman_app:${password}@127.0.0.1:1/keyman`,
        `postgresql://keyman_app:${password}@[half/keyman`,
        `mysql://keyman_app:${password}@127.0.0.1/keyman`,
        cluster.url.replace('keyman_app@', `nobody:${password}@`),
      ]) {
        const error = await refused(openStore({ engine: 'postgresql', url }))
        expect(error).toBeInstanceOf(Error)
        expect(`${error} ${Object(error).stack} ${JSON.stringify(error)}`).not.toContain(password)
        expect(Object(error).cause).toBeUndefined()
      }
    })
  })
})
