import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { anyRow } from '#test/support/contract/store.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { requires } from '#test/support/requires.ts'
import { type Fence, type Lease, LeaseLost, openLease, openStore, type Store } from './index.ts'

describe.skipIf(!requires('postgresql'))('a lease on PostgreSQL', () => {
  let postgres: TestPostgres
  let admin: pg.Client
  let store: Store
  beforeAll(async () => {
    postgres = await startPostgres({ fsync: false })
    store = await openStore({ engine: 'postgresql', url: postgres.url, migrationUrl: postgres.migrationUrl })
    admin = new pg.Client(postgres.adminUrl)
    await admin.connect()
    await admin.query('create table work (fence text)')
    await admin.query('grant select, insert on work to keyman_runtime')
  })
  afterAll(async () => {
    await admin?.end()
    await store?.close()
    await postgres?.close()
  })
  const change = async (sql: string) => void (await admin.query(sql))
  contract(() => store, change)

  it('is not taken over while a write of it is on its way to the commit', async () => {
    const { one, two } = both(store)
    await one.take()
    const fence = fenceOf(one)
    const isIn = Promise.withResolvers<void>()
    const goOn = Promise.withResolvers<void>()
    const writing = write(store, fence, async () => {
      isIn.resolve()
      await goOn.promise
    })
    await isIn.promise
    const order: string[] = []
    // Ended meanwhile: as a superuser waits for the row, too, the moment is chosen by when the other asks.
    const ending = change(`update lease set ends_at = now()`).then(() => order.push('ended'))
    const waiting = async () =>
      (await admin2(postgres, `select from pg_stat_activity where wait_event_type = 'Lock'`)).rowCount
    await expect.poll(waiting).toBe(1)
    expect(order).toEqual([])
    goOn.resolve()
    await writing
    await ending
    expect(await two.take()).toBe(2n)
    await expect(write(store, fence)).rejects.toThrow(LeaseLost)
  })
})

describe('a lease on PGlite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-lease-'))
  let store: Store
  beforeAll(async () => {
    store = await openStore(await newPGlite(folder))
    await store.execute('create table work (fence text)', [])
  })
  afterAll(async () => {
    await store.close()
    rmSync(folder, { recursive: true })
  })
  contract(
    () => store,
    async sql => void (await store.execute(sql, [])),
  )
})

const both = (store: Store) => ({ one: openLease(store, 'work', 'one'), two: openLease(store, 'work', 'two') })
function fenceOf(lease: Lease): Fence {
  const fence = lease.fence()
  if (!fence) throw new Error('there is no fence')
  return fence
}
const write = (store: Store, fence: Fence, then = async () => {}) =>
  store.transaction({ name: 'work', deadlineMs: 10_000 }, async t => {
    await t.execute(`insert into work values ('written')`, [])
    await fence(t)
    await then()
  })
async function admin2(postgres: TestPostgres, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client(postgres.adminUrl)
  await client.connect()
  try {
    return await client.query(sql)
  } finally {
    await client.end()
  }
}

/** `change`: as whoever owns the database. */
function contract(open: () => Store, change: (sql: string) => Promise<void>): void {
  let store: Store
  let one: Lease
  let two: Lease
  beforeEach(async () => {
    store = open()
    ;({ one, two } = both(store))
    await change('delete from lease')
    await change('delete from work')
  })
  const written = async () => (await store.query('select fence from work', [], anyRow)).length

  it('is given to one, who keeps it; the other gets it with the next fence once it has ended', async () => {
    expect([await one.take(), await two.take(), await one.take()]).toEqual([1n, undefined, 1n])
    expect(two.fence()).toBe(undefined)
    await write(store, fenceOf(one))
    expect(await written()).toBe(1)
    await change('update lease set ends_at = now()')
    expect([await two.take(), await one.take()]).toEqual([2n, undefined])
    expect(one.fence()).toBe(undefined)
    await write(store, fenceOf(two))
    expect(await written()).toBe(2)
  })

  it('of one who has slept writes nothing, whatever that one believes: neither once another has it, nor when it has ended', async () => {
    await one.take()
    const before = fenceOf(one)
    await change('update lease set ends_at = now()')
    await expect(write(store, before)).rejects.toThrow(LeaseLost)
    await two.take()
    await expect(write(store, before)).rejects.toThrow('another server does the work by now')
    await two.release()
    expect(await one.take()).toBe(3n)
    // What was begun before is over, though the same server has it again.
    await expect(write(store, before)).rejects.toThrow('fence 1')
    expect(await written()).toBe(0)
    await write(store, fenceOf(one))
    expect(await written()).toBe(1)
  })

  it('under which a write was refused is believed no more: nothing is begun under it, and it may be taken anew', async () => {
    await one.take()
    await change('update lease set ends_at = now()')
    await expect(write(store, fenceOf(one))).rejects.toThrow(LeaseLost)
    expect(one.fence()).toBe(undefined)
    expect(await one.take()).toBe(1n)
    await write(store, fenceOf(one))
    expect(await written()).toBe(1)
  })

  it('that is given back is free at once; giving back what another has by now takes nothing from it', async () => {
    await one.take()
    await one.release()
    expect(one.fence()).toBe(undefined)
    expect(await two.take()).toBe(2n)
    await two.take()
    await change(`update lease set holder = 'one', fence = 7`)
    await two.release()
    expect([await two.take(), await one.take()]).toEqual([undefined, 7n])
  })

  it('whose end somebody has put into the next century binds nobody; an end as we write it does', async () => {
    await one.take()
    await change(`update lease set ends_at = now() + interval '100 years'`)
    expect(await two.take()).toBe(2n)
    await change(`update lease set ends_at = now() + interval '9 seconds'`)
    expect(await one.take()).toBe(undefined)
  })

  it('that somebody has given to another, or whose row is gone, writes nothing', async () => {
    await one.take()
    const fence = fenceOf(one)
    await write(store, fence)
    for (const lie of [`update lease set holder = 'nobody'`, 'delete from lease']) {
      await change(lie)
      await expect(write(store, fence), lie).rejects.toThrow(LeaseLost)
    }
    expect(await written()).toBe(1)
  })
}
