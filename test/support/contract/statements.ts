import { eq, isNotNull, sql } from 'drizzle-orm'
import { pgTable } from 'drizzle-orm/pg-core'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  bigint,
  bigintAsNumber,
  boolean,
  builder,
  bytea,
  eachRow,
  integer,
  jsonbOf,
  prepared,
  recordset,
  rows,
  run,
  type Store,
  text,
  textOf,
  timestamptz,
} from '#server/store/index.ts'

const contract = pgTable('contract', { id: integer('id').primaryKey(), note: text('note') })
/** The same table, as somebody tells it who is stricter. */
const strict = pgTable('contract', {
  id: integer('id').primaryKey(),
  note: textOf(z.enum(['a', 'b']))('note').notNull(),
})
/** Each type there is. */
const values = pgTable('values', {
  text: text('text'),
  word: textOf(z.enum(['yes', 'no']))('word'),
  flag: boolean('flag'),
  integer: integer('integer'),
  bigint: bigint('bigint'),
  number: bigintAsNumber('number'),
  bytes: bytea('bytes'),
  at: timestamptz('at'),
  json: jsonbOf(z.array(z.string()))('json'),
})
const one = sql`(select 1) as one`

/** What `builder`, `rows` and `run` do on every engine, on the same store as `storeContract`. */
export function statementContract(open: () => Store): void {
  const empty = () => run(open(), builder.delete(contract))
  const add = (id: number, note: string | null) => run(open(), builder.insert(contract).values({ id, note }))

  describe('a statement of the builder', () => {
    const example = {
      text: "it's \\ 'quoted'",
      word: 'yes',
      flag: true,
      integer: -7,
      bigint: 2n ** 62n,
      number: 2 ** 52,
      bytes: new Uint8Array([0, 1, 255]),
      at: new Date('2026-01-02T03:04:05.678Z'),
      json: ['"x"', 'y'],
    } as const
    const nothing = {
      text: null,
      word: null,
      flag: null,
      integer: null,
      bigint: null,
      number: null,
      bytes: null,
      at: null,
      json: null,
    }

    it('takes and gives values of every type, one by one and as a set of rows', async () => {
      const columns = {
        text: values.text,
        word: values.word,
        flag: values.flag,
        integer: values.integer,
        bigint: values.bigint,
        number: values.number,
        bytes: values.bytes,
        at: values.at,
        json: values.json,
      }
      const both = [{ ...example, json: [...example.json] }, nothing]
      const set = recordset('given', columns, both)
      await open().transaction({ name: 'values', deadlineMs: 5_000 }, async t => {
        const types = Object.values(columns).map(column => `"${column.name}" ${column.getSQLType()}`)
        await t.execute(`create temporary table "values" (${types.join(', ')}) on commit drop`, [])
        await run(t, builder.insert(values).values(both))
        expect(await rows(t, builder.select().from(values))).toEqual(both)
        const present = sql`${values.at} = ${set.fields.at} and ${values.json} = ${set.fields.json}`
        const changed = { flag: false, bytes: set.fields.bytes, bigint: set.fields.bigint }
        await run(t, builder.update(values).set(changed).from(set.from).where(present))
        expect(await rows(t, builder.select().from(values).where(isNotNull(values.at)))).toEqual([
          { ...both[0], flag: false },
        ])
        const selected = { word: set.fields.word, number: set.fields.number, at: set.fields.at }
        const given = builder.select(selected).from(set.from).where(sql`${set.fields.at} is not null`)
        expect(await rows(t, given)).toEqual([{ word: 'yes', number: 2 ** 52, at: example.at }])
      })
    })

    it('is refused a value that belongs to no column', async () => {
      const late = builder.select().from(contract).where(sql`now() > ${new Date()}`)
      await expect(rows(open(), late)).rejects.toThrow('belongs to no column')
    })

    it('says how many rows it changed, and gives those that it returns', async () => {
      await empty()
      expect([await add(1, 'a'), await add(2, null)]).toEqual([1, 1])
      expect(await run(open(), builder.update(contract).set({ note: 'c' }))).toBe(2)
      const gone = await rows(
        open(),
        builder.delete(contract).where(eq(contract.id, 2)).returning({ was: contract.id }),
      )
      expect(gone).toEqual([{ was: 2 }])
      expect(await rows(open(), builder.select().from(contract))).toEqual([{ id: 1, note: 'c' }])
    })

    it('gives no row that does not fit, and says nothing of what it holds', async () => {
      await empty()
      await add(1, 'a')
      await add(2, 's3cret')
      const all = builder.select().from(strict).orderBy(strict.id)
      const refused: unknown = await rows(open(), all).catch((error: unknown) => error)
      expect(String(refused)).toBe('TypeError: contract.note of a row does not fit')
      expect(Object(refused).cause).toBeUndefined()
      expect(await eachRow(open(), all)).toEqual([
        { row: { id: 1, note: 'a' }, fits: { id: 1, note: 'a' } },
        { row: undefined, fits: { id: 2 } },
      ])
      await run(open(), builder.update(contract).set({ note: null }))
      await expect(rows(open(), all)).rejects.toThrow('note')
      await run(open(), builder.update(contract).set({ note: 'b' }))
      expect((await rows(open(), all)).map(row => row.note)).toEqual(['b', 'b'])
    })

    it('takes what an expression gives only where it is said what that is', async () => {
      const select = (found: ReturnType<typeof sql<boolean>>) => rows(open(), builder.select({ found }).from(one))
      await expect(select(sql<boolean>`true`)).rejects.toThrow('what found holds is not said')
      expect(await select(sql<boolean>`true`.mapWith(z.boolean().parse))).toEqual([{ found: true }])
      await expect(select(sql<boolean>`null::boolean`.mapWith(z.boolean().parse))).rejects.toThrow('found')
    })

    it('keeps fields of one name apart, and has null where a joined table has no row', async () => {
      await empty()
      await add(1, 'a')
      const other = recordset('other', { id: contract.id, note: contract.note }, [{ id: 1, note: 'b' }])
      const joined = builder
        .select({ mine: contract.note, theirs: other.fields.note })
        .from(contract)
        .innerJoin(other.from, eq(contract.id, other.fields.id))
      expect(await rows(open(), joined)).toEqual([{ mine: 'a', theirs: 'b' }])
      const missing = builder.select({ id: contract.id, note: strict.note }).from(other.from)
      expect(await rows(open(), missing.leftJoin(contract, eq(contract.id, 9)).where(sql`true`))).toEqual([
        { id: null, note: null },
      ])
      const nested = builder.select().from(contract).innerJoin(values, sql`true`)
      await expect(rows(open(), nested)).rejects.toThrow('selects its fields by name')
    })

    it('that is prepared is written once, and given its values each time', async () => {
      await empty()
      await add(1, 'a')
      await add(2, null)
      let times = 0
      const byNote = prepared({ id: contract.id, note: contract.note }, given => {
        times++
        return builder
          .select()
          .from(contract)
          .where(sql`${contract.id} = ${given.id} and ${contract.note} is not distinct from ${given.note}`)
      })
      expect(await rows(open(), byNote({ id: 1, note: 'a' }))).toEqual([{ id: 1, note: 'a' }])
      expect(await rows(open(), byNote({ id: 2, note: null }))).toEqual([{ id: 2, note: null }])
      expect(await rows(open(), byNote({ id: 2, note: 'a' }))).toEqual([])
      expect(times).toBe(1)
    })

    it('is run by the store alone: awaited, it is refused', async () => {
      await expect(builder.delete(contract)).rejects.toThrow('run by `rows` or `run`')
      await expect(builder.select().from(contract).execute()).rejects.toThrow('run by `rows` or `run`')
    })

    it('has the errors of the store, without SQL and values', async () => {
      await empty()
      await add(1, 'a')
      const again: unknown = await add(1, 's3cret').catch((error: unknown) => error)
      expect(again).toMatchObject({ name: 'StoreError', kind: 'unique', constraint: 'contract_pkey' })
      const said = JSON.stringify(Object.entries(Object(again))) + String(again) + String(Object(again).stack)
      expect(said).not.toMatch(/s3cret|insert into/)
      expect(Object(again).cause).toBeUndefined()
    })

    it('belongs to the transaction whose handle it is given, and to no other', async () => {
      await empty()
      const on = { name: 'contract', deadlineMs: 5_000 }
      const failure = new Error('of the caller')
      const rolledBack = open().transaction(on, async t => {
        await run(t, builder.insert(contract).values({ id: 1 }))
        await expect(rows(open(), builder.select().from(contract))).rejects.toThrow('inside the transaction contract')
        expect(await rows(t, builder.select({ id: contract.id }).from(contract))).toEqual([{ id: 1 }])
        throw failure
      })
      await expect(rolledBack).rejects.toBe(failure)
      expect(await rows(open(), builder.select().from(contract))).toEqual([])
    })
  })
}
