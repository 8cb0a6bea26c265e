import { createHash } from 'node:crypto'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openStore, type Parameter, type RowParser, type Store } from '#server/store/index.ts'
import { entry, logKeys, origin, sealKey } from '#test/support/contract/ledger.ts'
import { postgresPrograms, startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { createLedger, type Fact, type Ledger, type LogMemory } from '../index.ts'
import type { KeptHead, KeptState } from './memory.ts'

/** What lies in a server's data folder. */
function memoryOf(): LogMemory & { kept: { head?: KeptHead; state?: KeptState } } {
  const kept: { head?: KeptHead; state?: KeptState } = {}
  return {
    kept,
    head: () => kept.head,
    state: () => kept.state,
    keepHead: async head => {
      kept.head = head
    },
    keepState: async state => {
      kept.state = state
    },
  }
}

describe.skipIf(!postgresPrograms())('whoever owns the database', () => {
  let cluster: TestPostgres
  let store: Store
  let admin: pg.Client
  const alarms: string[] = []
  const open = (memory?: LogMemory, on = store): Promise<Ledger> =>
    createLedger({
      store: on,
      origin,
      logKeys,
      sealKey,
      memory,
      now: () => new Date(),
      checkpointEveryMs: 0,
      alarm: message => alarms.push(message),
    })
  const say = (ledger: Ledger, facts: readonly Fact[]) =>
    store.transaction({ name: 'say', deadlineMs: 10_000 }, t =>
      ledger.appendIn(t, [entry({ kind: 'grant-added', actor: { kind: 'operator' }, facts })]),
    )

  const factsOf = ({ id, who }: { id: string; who: string }) => [{ id: `grant:${id}`, is: { who } }]

  beforeAll(async () => {
    cluster = await startPostgres()
    admin = new pg.Client(cluster.adminUrl)
    admin.on('error', () => {})
    await admin.connect()
  })
  afterAll(async () => {
    await store?.close()
    await admin.end()
    await cluster.close()
  })
  beforeEach(async () => {
    await store?.close()
    await admin.query('drop schema public cascade; create schema public; grant all on schema public to public')
    store = await openStore({ engine: 'postgresql', url: cluster.url, migrationUrl: cluster.migrationUrl })
    alarms.length = 0
  })

  it('is not suspected where two of us say something of the same thing at once', async () => {
    const ledger = await open()
    // Both have begun before either says it; no lock of theirs keeps them apart.
    const begun = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    await Promise.all(
      begun.map(({ resolve }) =>
        store.transaction({ name: 'say', deadlineMs: 10_000 }, async t => {
          await t.execute('select 1', [])
          resolve()
          await Promise.all(begun.map(({ promise }) => promise))
          await ledger.appendIn(t, [entry({ actor: { kind: 'operator' }, facts: [{ id: 'mandate:1', is: null }] })])
        }),
      ),
    )
    await ledger.follow()
    await ledger.append(entry())
  })

  it('adds no record: one without a seal, or with the seal of another, stops the server; its own goes on', async () => {
    const forge = (seal: string) =>
      admin.query(`insert into ledger_record (index, request_id, kind, actor, at, record, seal)
        select size, 'forged', 'grant-added', 'server', now(), '{"forged":true}', ${seal} from ledger_head;
        update ledger_head set size = size + 1`)
    for (const seal of ['null', '(select seal from ledger_record limit 1)']) {
      const ledger = await open()
      await ledger.append(entry())
      await ledger.follow()
      await forge(seal)
      await expect(ledger.follow()).rejects.toMatchObject({
        code: 'internal',
        message: expect.stringContaining('seal'),
      })
      // From then on it records nothing, so it issues nothing.
      await expect(ledger.append(entry())).rejects.toMatchObject({ code: 'internal' })
      await expect(open()).rejects.toMatchObject({ message: expect.stringContaining('seal') })
      await admin.query(`delete from ledger_record where request_id = 'forged'; update ledger_head set size = size - 1`)
    }
    await (await open()).append(entry())
  })

  it('puts no other name into a record by a trigger: the server finds that it is not what it wrote', async () => {
    await admin.query(`create function swap() returns trigger language plpgsql as
      $$ begin new.record := replace(new.record, 'alice', 'mallo'); return new; end $$;
      create trigger swap before insert on ledger_record for each row execute function swap()`)
    const ledger = await open()
    await ledger.append(entry())
    await expect(ledger.follow()).rejects.toMatchObject({
      message: expect.stringContaining('not what this server wrote'),
    })
    // Nor does another server take it for ours.
    await expect(open()).rejects.toMatchObject({ message: expect.stringContaining('seal') })
  })

  it('lets no record fall silent: one that a trigger drops is missed at once', async () => {
    const ledger = await open()
    await ledger.append(entry())
    await admin.query(`create function drop_it() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger drop_it before insert on ledger_record for each row execute function drop_it()`)
    await ledger.append(entry())
    await expect(ledger.follow()).rejects.toMatchObject({ message: expect.stringContaining('is missing') })
  })

  /** At each record of a change: it is not written, and the head is as if it had never been; `twin` writes it. */
  const swallowing = (twin = false) =>
    admin.query(`create or replace function swallow() returns trigger language plpgsql as
      $$ begin ${twin ? 'return new;' : 'update ledger_head set size = size - 1; return null;'} end $$;
      create or replace trigger swallow before insert on ledger_record for each row when (new.kind = 'grant-added')
        execute function swallow()`)

  it('swallows no change with its record: the server that made it misses it at once; one that is let through it does not', async () => {
    const ledger = await open()
    await swallowing(true)
    await say(ledger, [{ id: 'grant:1', is: 'x' }])
    await ledger.follow()
    await swallowing()
    await say(ledger, [{ id: 'grant:1', is: null }])
    await expect(ledger.follow()).rejects.toMatchObject({
      code: 'internal',
      message: 'record 1 of the audit log is missing',
    })
    await expect(ledger.append(entry())).rejects.toMatchObject({ code: 'internal' })
  })

  it('puts no other record of ours where one was swallowed', async () => {
    const ledger = await open()
    await ledger.append(entry())
    await swallowing()
    await say(ledger, [{ id: 'grant:1', is: null }])
    // At the very place, before anybody has looked.
    await ledger.append(entry())
    await expect(ledger.follow()).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('not what this server wrote'),
    })
  })

  it('says of no record that it stands where another does; one that was read before its writing was heard of does', async () => {
    const ledger = await open()
    for (let n = 0; n < 3; n++) await ledger.append(entry())
    await ledger.follow()
    // Its answer comes when another request has had the log followed already.
    const late: Store = Object.assign(Object.create(store), {
      incarnation: store.incarnation,
      transaction: store.transaction.bind(store),
      execute: store.execute.bind(store),
      async query<Row>(sql: string, ...rest: [readonly Parameter[], RowParser<Row>]): Promise<Row[]> {
        const rows = await store.query(sql, ...rest)
        if (sql.includes('insert into ledger_record')) await behind.follow()
        return rows
      },
    })
    const behind = await open(undefined, late)
    await behind.append(entry())
    await behind.follow()
    await ledger.follow()
    await admin.query(`alter table ledger_head rename to real_head;
      create view ledger_head as select * from real_head;
      grant select, update on ledger_head to keyman_runtime;
      create function lie() returns trigger language plpgsql as $$ begin new.size := 2; return new; end $$;
      create trigger lie instead of update on ledger_head for each row execute function lie();
      create function drop_it() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger drop_it before insert on ledger_record for each row execute function drop_it()`)
    await ledger.append(entry())
    await expect(ledger.follow()).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('its own is not there'),
    })
  })

  it('shows no view of yesterday: a server finds what it wrote itself, or stops', async () => {
    const ledger = await open()
    await ledger.append(entry())
    await ledger.follow()
    await ledger.append(entry())
    await admin.query('update ledger_head set size = 1; delete from ledger_record where index = 1')
    await expect(ledger.follow()).rejects.toMatchObject({ message: expect.stringContaining('is missing') })
  })

  it('puts no older tree there: a server that has read on says so, and does not try for ever to go on from its own', async () => {
    const ledger = await open()
    await ledger.append(entry())
    await ledger.append(entry())
    await ledger.follow()
    await admin.query('update ledger_tree set size = 1')
    await ledger.append(entry())
    await expect(ledger.follow()).rejects.toMatchObject({ code: 'internal' })
    await expect(ledger.append(entry())).rejects.toMatchObject({ code: 'internal' })
  })

  it('says nothing again that was said before: an old record at a new place stops the server', async () => {
    const ledger = await open()
    await say(ledger, [{ id: 'grant:1', is: 'x' }])
    await say(ledger, [{ id: 'grant:1', is: null }])
    await ledger.follow()
    expect(ledger.facts.has('grant:1')).toBe(false)
    await admin.query(`alter table ledger_record drop constraint ledger_record_request;
      insert into ledger_record select 2, request_id, kind, part, actor, at, record, proof, seal from ledger_record where index = 0;
      update ledger_head set size = 3`)
    await expect(ledger.follow()).rejects.toMatchObject({
      message: expect.stringContaining('an old one, written once more'),
    })
    await expect(open()).rejects.toMatchObject({ message: expect.stringContaining('an old one, written once more') })
  })

  it('puts no old record there once more that says nothing of rows, unnoticed: the whole log is read again by the clock', async () => {
    const ledger = await open()
    for (let n = 0; n < 3; n++) await ledger.append(entry())
    await ledger.follow()
    await ledger.checkHistory()
    await admin.query(`alter table ledger_record drop constraint ledger_record_request;
      insert into ledger_record select 3, request_id, kind, part, actor, at, record, proof, seal from ledger_record where index = 1;
      update ledger_head set size = 4`)
    await ledger.follow()
    await expect(ledger.checkHistory()).rejects.toMatchObject({
      code: 'internal',
      message: 'record 3 of the audit log is record 1, written once more',
    })
    await expect(ledger.append(entry())).rejects.toMatchObject({ code: 'internal' })
  })

  it('adds and changes no row that counts: what the log does not vouch for is left out and told; what it does is given', async () => {
    const ledger = await open()
    await say(ledger, [{ id: 'grant:1', is: { who: 'alice' } }])
    const rows = [
      { id: '1', who: 'alice' },
      { id: '2', who: 'mallory' },
    ]
    expect(await ledger.vouched(async () => rows, factsOf)).toEqual([{ id: '1', who: 'alice' }])
    expect(await ledger.vouched(async () => [{ id: '1', who: 'mallory' }], factsOf)).toEqual([])
    expect(alarms).toEqual([
      expect.stringContaining('grant:2 in the database is not what the audit log says'),
      expect.stringContaining('grant:1 in the database is not what the audit log says'),
    ])
  })

  it('hides no row from whoever reads all of them unnoticed, though it shows it to others; what another server has just taken away is not missed', async () => {
    const [here, there] = [await open(), await open()]
    for (const id of ['1', '2']) await say(there, [{ id: `grant:${id}`, is: { who: 'alice' } }])
    await here.follow()
    const [first, second] = ['1', '2'].map(id => ({ id, who: 'alice' }))
    const all = (rows: { id: string; who: string }[]) => here.vouched(async () => rows, factsOf, 'grant:')
    if (!first || !second) throw new Error('no rows')
    await all([first, second])
    // Some of them are asked for without the others.
    await here.vouched(async () => [first], factsOf)
    expect(alarms).toEqual([])
    for (let n = 0; n < 2; n++) expect(await all([first])).toEqual([first])
    expect(alarms).toEqual(['the database does not show grant:2, which the audit log knows'])
    await say(there, [{ id: 'grant:1', is: null }])
    await all([second])
    expect(alarms).toHaveLength(1)
  })

  it('is no alarm where another server has just changed a row', async () => {
    const [here, there] = [await open(), await open()]
    await say(there, [{ id: 'grant:1', is: { who: 'alice' } }])
    const row = { id: '1', who: 'alice' }
    expect(await here.vouched(async () => [row], factsOf)).toEqual([row])
    expect(alarms).toEqual([])
  })

  it('cuts no log, and puts no older one there: a server remembers the longest that it saw, and what it said', async () => {
    const memory = memoryOf()
    const ledger = await open(memory)
    await say(ledger, [{ id: 'grant:1', is: 'x' }])
    for (let n = 0; n < 5; n++) await ledger.append(entry())
    await ledger.stop()
    expect(memory.kept.state).toMatchObject({ size: 6n })
    // It begins where it ended, without reading all of it.
    const again = await open(memory)
    expect(again.facts.has('grant:1')).toBe(true)
    await again.append(entry())
    await again.stop()

    await admin.query(`delete from ledger_record where index >= 3; update ledger_head set size = 3;
      update ledger_tree set size = 3; update ledger_tile set hashes = substr(hashes, 1, 96); delete from ledger_checkpoint`)
    await expect(open(memory)).rejects.toMatchObject({
      message: 'the database holds 3 records, but the log that this server remembers has 7',
      hint: expect.stringContaining('restore'),
    })
    // Without the memory nobody could tell.
    await (await open()).follow()
  })

  it('changes, moves and takes out no old record unnoticed: the whole log is read again by the clock', async () => {
    for (const [sql, what] of [
      [`update ledger_record set record = replace(record, 'alice', 'mallo') where index = 2`, /seal of record 2 /],
      ['delete from ledger_record where index = 3', /record 3 of the audit log is missing/],
      [
        `update ledger_record set index = -index - 1 where index in (1, 2);
         update ledger_record set index = index + 4 where index < 0`,
        /first 6 records .* are not those of the log that this server has read/,
      ],
    ] as const) {
      const ledger = await open()
      for (let n = 0; n < 6; n++) await ledger.append(entry())
      await ledger.follow()
      await ledger.checkHistory()
      await admin.query(`alter table ledger_record drop constraint if exists ledger_record_index_check; ${sql}`)
      await ledger.follow()
      await expect(ledger.checkHistory()).rejects.toMatchObject({ message: expect.stringMatching(what) })
      await expect(ledger.append(entry())).rejects.toMatchObject({ code: 'internal' })
      await admin.query(`delete from ledger_record; delete from ledger_tile; delete from ledger_checkpoint;
        update ledger_head set size = 0; update ledger_tree set size = 0`)
    }
  })

  it('shows whoever reads the log no other record than there is unnoticed: changed with its hash, moved, or by a view', async () => {
    const ledger = await open()
    for (let n = 0; n < 6; n++) await ledger.append(entry())
    await ledger.follow()
    const told = async (read: () => Promise<unknown>): Promise<string[]> => {
      alarms.length = 0
      await read()
      return [...alarms]
    }
    expect(await told(() => ledger.list({ limit: 6 }))).toEqual([])
    expect(await told(() => ledger.show(4n))).toEqual([])
    await admin.query(`create table kept as select * from ledger_record; create table kept_tile as select * from ledger_tile;
      update ledger_record set record = replace(record, 'alice', 'mallo') where index = 2`)
    expect(await told(() => ledger.list({ limit: 6 }))).toEqual([expect.stringMatching(/^record 2 of the audit log/)])
    // Once of each record.
    expect(await told(() => ledger.show(2n))).toEqual([])
    const other = createHash('sha256').update('\0').update('{}').digest()
    await admin.query(
      `update ledger_tile set hashes = overlay(hashes placing $1 from 3 * 32 + 1) where level = 0 and index = 0`,
      [other],
    )
    await admin.query(`update ledger_record set record = '{}' where index = 3`)
    expect(await told(() => ledger.show(3n))).toEqual([expect.stringMatching(/^record 3 of the audit log/)])
    await admin.query(`delete from ledger_record; delete from ledger_tile;
      insert into ledger_record select * from kept; insert into ledger_tile select * from kept_tile;
      alter table ledger_record rename to real_record;
      create view ledger_record as select index + case when current_query() like '%seal from%' or index <> 4 then 0 else 1 end
        as index, request_id, kind, part, actor, at, record, proof, seal from real_record;
      grant select on ledger_record to keyman_runtime`)
    expect(await told(() => ledger.list({ from: 5n, limit: 1 }))).toEqual([
      expect.stringMatching(/^record 5 of the audit log/),
    ])
    await ledger.follow()
    // One that is not there to whoever follows the log, beside or after those that are; and one that is, to nobody else.
    await admin.query(`create or replace view ledger_record as
      select case when index = 0 and current_query() not like '%seal from%' and current_query() like '%limit%' then 1000 else index end as index,
        request_id, kind, part, actor, at, record, proof, seal from real_record
        where index <> 1 or current_query() not like '%where "ledger_record"."index" = $1%'`)
    expect(await told(() => ledger.list({ limit: 1 }))).toEqual([
      expect.stringMatching(/^record 1000 of the audit log/),
    ])
    expect(await told(() => ledger.show(1n))).toEqual([expect.stringMatching(/^record 1 of the audit log/)])
    await admin.query(`drop view ledger_record; alter table real_record rename to ledger_record;
      drop table kept; drop table kept_tile`)
    // The twin: what was recorded since it was followed last.
    const newest = await ledger.append(entry())
    expect(await told(() => ledger.show(newest))).toEqual([])
  })

  it('writes no other history of the same length: the remembered head tells', async () => {
    const memory = memoryOf()
    const ledger = await open(memory)
    for (let n = 0; n < 3; n++) await ledger.append(entry())
    await ledger.follow()
    delete memory.kept.state
    await admin.query('delete from ledger_checkpoint')
    await (await open(memory)).follow()
    await admin.query(`delete from ledger_record; delete from ledger_tile; delete from ledger_checkpoint;
      update ledger_head set size = 0; update ledger_tree set size = 0`)
    const other = await open()
    for (let n = 0; n < 3; n++) await other.append(entry())
    await expect(open(memory)).rejects.toMatchObject({
      message: expect.stringContaining('are not those of the log that this server remembers'),
    })
  })
})
