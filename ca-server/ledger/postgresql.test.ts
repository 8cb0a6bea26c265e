import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openStore, type Store } from '#server/store/index.ts'
import { auditRecords, verifyCheckpoint } from '#shared/merkle/index.ts'
import {
  auditAll,
  entry,
  issueRequest,
  ledgerContract,
  logPublicKey,
  openLedger,
  origin,
  revoke,
  subjects,
} from '#test/support/contract/ledger.ts'
import { postgresPrograms, startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { EpochsChanged, type Ledger } from './index.ts'
import { MAX_QUEUED } from './log/group.ts'

describe.skipIf(!postgresPrograms())('a ledger on PostgreSQL', () => {
  let cluster: TestPostgres
  let store: Store
  let ledger: Ledger
  let admin: pg.Client
  beforeAll(async () => {
    cluster = await startPostgres()
    store = await openStore({ engine: 'postgresql', url: cluster.url, migrationUrl: cluster.migrationUrl })
    ledger = await openLedger(store)
    admin = new pg.Client(cluster.adminUrl)
    admin.on('error', () => {})
    await admin.connect()
  })
  afterAll(async () => {
    await store.close()
    await admin.end()
    await cluster.close()
  })

  ledgerContract(() => ({ store, ledger }))

  describe('revocation racing an issue', () => {
    /** Settles the race: what was issued under the old epochs was collected by the revocation, or was not issued. */
    const check = (issued: PromiseSettledResult<{ index: bigint }>[], collected: { record: bigint }[]) => {
      const found = new Set(collected.map(({ record }) => record))
      for (const one of issued) {
        if (one.status === 'fulfilled') expect(found).toContain(one.value.index)
        else expect(one.reason).toBeInstanceOf(EpochsChanged)
      }
      return issued.filter(one => one.status === 'fulfilled').length
    }
    const lockWaits = async (count: number) => {
      for (;;) {
        const { rows } = await admin.query(
          "select from pg_stat_activity where wait_event_type = 'Lock' and usename = 'keyman_app'",
        )
        if (rows.length >= count) return
      }
    }

    it('leaves in 1,000 interleavings no certificate that the revocation did not collect', async () => {
      const otherStore = await openStore({ engine: 'postgresql', url: cluster.url })
      const other = await openLedger(otherStore)
      let issuedBefore = 0
      let decidedAnew = 0
      for (let round = 0; round < 1000; round++) {
        // A person a round, so that a revocation has few to collect.
        const person = `round${round}@example.com`
        const epochs = await ledger.readEpochs([`person:${person}`, 'session:s1'])
        const wait = async () => {
          // From none to some turns of the event loop, so that each order occurs, also in the middle of a statement.
          for (let turn = round % 8; turn > 0; turn--) await new Promise(resolve => setImmediate(resolve))
        }
        const issue = async (on: Ledger, late: boolean) => {
          if (late) await wait()
          const request = issueRequest(epochs)
          return on.issue({ ...request, certificate: { ...request.certificate, person } })
        }
        const [collected, ...issued] = await Promise.all([
          (async () => {
            if (round % 16 < 8) await wait()
            return revoke(otherStore, other, person)
          })(),
          ...[ledger, other, ledger].map((on, n) =>
            issue(on, round % 16 >= 8 || n === 2).then(
              value => ({ status: 'fulfilled' as const, value }),
              (reason: unknown) => ({ status: 'rejected' as const, reason }),
            ),
          ),
        ])
        const before = check(issued, collected)
        issuedBefore += before
        decidedAnew += issued.length - before
      }
      await otherStore.close()
      // Both outcomes occurred many times, else nothing was raced.
      expect(issuedBefore).toBeGreaterThan(100)
      expect(decidedAnew).toBeGreaterThan(100)
    })

    it('waits for an issue that has read its epochs, and then collects it', async () => {
      const epochs = await ledger.readEpochs(subjects)
      // Holds the issue between its two locks.
      await admin.query('begin; select from ledger_head for update')
      const issued = Promise.allSettled([ledger.issue(issueRequest(epochs))])
      await lockWaits(1)
      const revoked = revoke(store, ledger)
      await lockWaits(2)
      await admin.query('commit')
      expect(check(await issued, await revoked)).toBe(1)
    })

    it('has an issue that waited for it decided anew, although that began before it was committed', async () => {
      const epochs = await ledger.readEpochs(subjects)
      const bumped = Promise.withResolvers<void>()
      const mayGoOn = Promise.withResolvers<void>()
      const revoked = store.transaction({ name: 'revoke', deadlineMs: 20_000 }, async t => {
        await ledger.bumpEpochs(t, ['person:alice@example.com'])
        bumped.resolve()
        await mayGoOn.promise
        return ledger.liveCertificates(t, { person: 'alice@example.com' })
      })
      await bumped.promise
      const issued = Promise.allSettled([ledger.issue(issueRequest(epochs)), ledger.issue(issueRequest(epochs))])
      await lockWaits(1)
      mayGoOn.resolve()
      expect(check(await issued, await revoked)).toBe(0)
    })
  })

  it('tells callers at once to come again when too many wait, and serves those who do', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: MAX_QUEUED + 100 }, () => ledger.append(entry())))
    const refused = outcomes.filter(outcome => outcome.status === 'rejected')
    expect(refused).toHaveLength(100)
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'unavailable', retryAfter: 1 })
    await ledger.append(entry())
  })

  describe('the runtime role', () => {
    for (const statement of [
      "update ledger_record set record = '{}' where index = 0",
      'delete from ledger_record where index = 0',
      'truncate ledger_record',
      'delete from issued_certificate',
      "update issued_certificate set person = 'x'",
      'delete from ledger_tile',
      "update ledger_checkpoint set note = ''",
      'alter table ledger_record add column x int',
      'drop table ledger_record',
    ])
      it(`may not ${statement}`, async () => {
        await expect(store.execute(statement, [])).rejects.toMatchObject({ code: '42501' })
      })
  })

  describe('a database whose server dies or is cut off', () => {
    it('loses no record that was said to be durable, and writes none twice', async () => {
      const done: bigint[] = []
      let stop = false
      let next = Promise.withResolvers<void>()
      const writers = Array.from({ length: 16 }, async () => {
        while (!stop)
          await ledger.append(entry()).then(
            index => {
              done.push(index)
              next.resolve()
            },
            () => {},
          )
      })
      /** An answer to what was written from now on, maybe after some that had been sent before. */
      const goesOn = async () => {
        for (let n = 0; n < 17; n++) {
          next = Promise.withResolvers()
          await next.promise
        }
      }
      await goesOn()
      for (let cut = 0; cut < 6; cut++) {
        const { rows } = await admin.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'keyman_app'",
        )
        expect(rows.length).toBeGreaterThan(0)
        await goesOn()
      }
      await cluster.killHard()
      await cluster.start()
      await goesOn()
      stop = true
      await Promise.all(writers)
      admin = new pg.Client(cluster.adminUrl)
      await admin.connect()
      expect(new Set(done).size).toBe(done.length)
      const { rows } = await admin.query('select count(*)::int as n, max(index)::int + 1 as size from ledger_record')
      expect(rows[0].n).toBe(rows[0].size)
      const kept = await admin.query('select count(*)::int as n from ledger_record where index = any($1::int8[])', [
        done.map(String),
      ])
      expect(kept.rows[0].n).toBe(done.length)
      expect(await auditAll(ledger)).toMatchObject({ ok: true })
    })
  })

  it('goes on finding certificates after a migration has added a column to their table', async () => {
    const live = () =>
      store.transaction({ name: 'live', deadlineMs: 5_000 }, t => ledger.liveCertificates(t, { session: 's1' }))
    const epochs = await ledger.readEpochs(subjects)
    await ledger.issue(issueRequest(epochs))
    const before = await live()
    expect(before.length).toBeGreaterThan(0)
    const owner = new pg.Client(cluster.migrationUrl)
    await owner.connect()
    await owner.query('alter table issued_certificate add column later text')
    await owner.end()
    expect(await live()).toEqual(before)
  })

  describe('tampering by the administrator of the database', () => {
    const tamper = async (sql: string) => {
      const before = (await ledger.list({ limit: 1 }))[0]?.index
      await admin.query(`begin; ${sql}`)
      await admin.query('commit')
      return before
    }
    /** Gives what puts the record back as it was. */
    const takeOut = async (index: bigint) => {
      await admin.query(`create table taken as select * from ledger_record where index = ${index}`)
      await admin.query(`delete from ledger_record where index = ${index}`)
      return () => admin.query('insert into ledger_record select * from taken; drop table taken')
    }
    let saved: { index: string; record: string }[]
    beforeEach(async () => {
      // Several tiles, and something to put back afterwards.
      await Promise.all(Array.from({ length: 300 }, () => ledger.append(entry())))
      await ledger.checkpoint()
      saved = (await admin.query('select index, record from ledger_record where index < 40')).rows
    })
    const restore = async () => {
      for (const { index, record } of saved)
        await admin.query('update ledger_record set record = $2 where index = $1', [index, record])
    }

    it('of one byte is found, and the record named', async () => {
      await tamper(
        "update ledger_record set record = overlay(record placing ' ' from length(record) - 1 for 1) where index in (33, 35)",
      )
      expect(await auditAll(ledger)).toMatchObject({ ok: false, fault: 'changed', first: 33n })
      await restore()
      expect(await auditAll(ledger)).toMatchObject({ ok: true })
    })

    it('that swaps two records is found, and the first named', async () => {
      await tamper(`update ledger_record a set record = b.record from ledger_record b
        where (a.index, b.index) in ((20, 30), (30, 20))`)
      expect(await auditAll(ledger)).toMatchObject({ ok: false, fault: 'moved', first: 20n })
      await restore()
    })

    it('that removes a record is found, and the record named', async () => {
      const putBack = await takeOut(25n)
      expect(await auditAll(ledger)).toMatchObject({ ok: false, fault: 'removed', first: 25n })
      await putBack()
      expect(await auditAll(ledger)).toMatchObject({ ok: true })
    })

    it('that removes a record before it is in the tree is found: nothing is signed, and no other record gets its place', async () => {
      await ledger.checkpoint()
      for (const offset of [0n, 1n]) {
        // Another server, which stops for good when it finds it.
        const finding = await openLedger(store)
        const first = await finding.append(entry())
        await Promise.all([finding.append(entry()), finding.append(entry())])
        const putBack = await takeOut(first + offset)
        const missing = {
          code: 'internal',
          message: expect.stringContaining(`record ${first + offset} of the audit log is missing`),
          hint: expect.stringContaining('somebody changed'),
        }
        await expect(finding.checkpoint()).rejects.toMatchObject(missing)
        await expect(finding.append(entry())).rejects.toMatchObject(missing)
        // Nor does a server start on it.
        await expect(openLedger(store)).rejects.toMatchObject(missing)
        await putBack()
      }
      expect(await auditAll(ledger)).toMatchObject({ ok: true })
    })

    it('of a record together with its stored hash is found by the signed checkpoint, and nothing is signed any more', async () => {
      const newest = verifyCheckpoint(await ledger.checkpoint(), { origin, logKeys: [logPublicKey] })
      await admin.query("update ledger_record set record = replace(record, 'alice', 'mallo') where index = 3")
      await admin.query(`update ledger_tile set hashes = overlay(hashes placing
        sha256('\\x00'::bytea || convert_to((select record from ledger_record where index = 3), 'utf8')) from 3 * 32 + 1 for 32)
        where level = 0 and index = 0`)
      const audit = await auditRecords(await ledger.list({ from: 0n, limit: 20_000 }), [{ ...newest, name: 'newest' }])
      expect(audit).toMatchObject({ ok: false, fault: 'tree', first: 0n, end: newest.size })
      await admin.query(
        'update ledger_tile set hashes = hashes || hashes where level = 1 and index = 0 and length(hashes) <= 64',
      )
      await admin.query(`update ledger_tile set hashes = overlay(hashes placing '\\x00' from 1 for 1) where level = 1`)
      await expect(openLedger(store)).rejects.toThrow('the seal of record 3 of the audit log does not fit')
    })
  })
})
