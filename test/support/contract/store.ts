import { describe, expect, it } from 'vitest'
import { afterCommit, type Queryable, type Store, StoreError } from '#server/store/index.ts'
import { statementContract } from './statements.ts'

/** Rows as they are. */
export const anyRow = { parse: (row: unknown): Record<string, unknown> => ({ ...(row as Record<string, unknown>) }) }

/**
 * What every engine has to do. `open` gives a store on an empty database that has a table `contract(id int primary key, note text)`;
 * `failures` is what it has told its `onError`.
 */
export function storeContract(open: () => Store, failures: readonly unknown[]): void {
  const on = { name: 'contract', deadlineMs: 5_000 }
  const insert = (t: Queryable, id: number) => t.execute('insert into contract (id) values ($1)', [id])
  const ids = async () => (await open().query('select id from contract order by id', [], anyRow)).map(row => row.id)
  const empty = () => open().execute('delete from contract', [])

  describe('values', () => {
    it('come back the same from both engines', async () => {
      const [row] = await open().query(
        `select $1::int8 as int8, $2::bytea as bytea, $3::timestamptz as at, $4::jsonb as jsonb, $5::text as text,
           $6::int4 as int4, $7::boolean as flag, $8::numeric as big, $9::text as nothing, '{1,2}'::int8[] as int8s`,
        [
          2n ** 62n,
          new Uint8Array([0, 1, 255]),
          '2026-01-02T03:04:05.678Z',
          '{"a":[1,"x"]}',
          "it's 'quoted'",
          -7,
          true,
          2n ** 159n,
          null,
        ],
        anyRow,
      )
      expect(row).toEqual({
        int8: 2n ** 62n,
        bytea: new Uint8Array([0, 1, 255]),
        at: new Date('2026-01-02T03:04:05.678Z'),
        jsonb: { a: [1, 'x'] },
        text: "it's 'quoted'",
        int4: -7,
        flag: true,
        big: String(2n ** 159n),
        nothing: null,
        int8s: [1n, 2n],
      })
    })

    it('are parsed by the schema that the caller hands in', async () => {
      const refuse = {
        parse: () => {
          throw new TypeError('not my row')
        },
      }
      await expect(open().query('select 1 as one', [], refuse)).rejects.toThrow('not my row')
    })
  })

  describe('errors', () => {
    const kindOf = (work: Promise<unknown>) =>
      work.then(
        () => 'none',
        (error: unknown) => (error instanceof StoreError ? error : 'foreign'),
      )
    it('are classified, name the constraint, and hold no value', async () => {
      await empty()
      await insert(open(), 1)
      const unique = await kindOf(insert(open(), 1))
      expect(unique).toMatchObject({ kind: 'unique', constraint: 'contract_pkey' })
      const value = await kindOf(open().execute('select $1::text::int4', ['s3cret-value']))
      expect(value).toMatchObject({ kind: 'fatal', code: '22P02' })
      expect(JSON.stringify(Object.entries(Object(value))) + String(value) + String(Object(value).stack)).not.toContain(
        's3cret',
      )
      expect(Object(unique).cause).toBeUndefined()
      const syntax = await kindOf(open().execute('selekt secret_statement', []))
      expect(String(syntax)).not.toContain('selekt')
    })
  })

  statementContract(open)

  describe('a transaction', () => {
    it('is committed when its work resolves, and gives its result', async () => {
      await empty()
      expect(
        await open().transaction(on, async t => {
          await insert(t, 1)
          await insert(t, 2)
          return 'done'
        }),
      ).toBe('done')
      expect(await ids()).toEqual([1, 2])
    })

    it('does once it is committed what waits for that, and not where it is rolled back', async () => {
      await empty()
      const seen: unknown[] = []
      const noting = (id: number) =>
        open().transaction(on, async t => {
          afterCommit(() => seen.push(id))
          await insert(t, id)
          expect(seen).not.toContain(id)
        })
      await noting(1)
      expect(seen).toEqual([1])
      await noting(2)
      const refused = open().transaction(on, async t => {
        afterCommit(() => seen.push('rolled back'))
        await insert(t, 1)
      })
      await expect(refused).rejects.toMatchObject({ kind: 'unique' })
      expect(seen).toEqual([1, 2])
      expect(() => afterCommit(() => {})).toThrow('no transaction')
    })

    it('is rolled back when its work throws, and throws the same', async () => {
      await empty()
      const failure = new Error('of the caller')
      await expect(
        open().transaction(on, async t => {
          await insert(t, 1)
          throw failure
        }),
      ).rejects.toBe(failure)
      expect(await ids()).toEqual([])
    })

    it('is not taken for committed when a statement failed and the work went on', async () => {
      await empty()
      await insert(open(), 1)
      await expect(
        open().transaction(on, async t => {
          await insert(t, 2)
          await insert(t, 1).catch(() => {})
        }),
      ).rejects.toThrow()
      expect(await ids()).toEqual([1])
    })

    it('refuses the outer handle inside, a transaction within, and its own handle afterwards', async () => {
      await empty()
      let kept: Queryable | undefined
      await open().transaction(on, async t => {
        kept = t
        await expect(insert(open(), 1)).rejects.toThrow('inside the transaction contract')
        await expect(open().query('select 1', [], anyRow)).rejects.toThrow('inside the transaction contract')
        await expect(open().transaction(on, async () => {})).rejects.toThrow('inside the transaction contract')
        await insert(t, 2)
      })
      if (kept) await expect(insert(kept, 3)).rejects.toThrow('has ended')
      expect(await ids()).toEqual([2])
    })

    it('frees what its work left running once it has ended', async () => {
      await empty()
      let later: Promise<number> | undefined
      const ended = Promise.withResolvers<void>()
      await open().transaction(on, async () => {
        later = ended.promise.then(() => insert(open(), 5))
      })
      ended.resolve()
      await later
      expect(await ids()).toEqual([5])
    })

    it('ends at its deadline although its work hangs, and blocks nobody afterwards', async () => {
      await empty()
      await expect(
        open().transaction({ name: 'hanging', deadlineMs: 60 }, async t => {
          await insert(t, 1)
          await new Promise(() => {})
        }),
      ).rejects.toMatchObject({ kind: 'retryable', code: 'DEADLINE' })
      await insert(open(), 1)
      expect(await ids()).toEqual([1])
    })

    it('leaves timers their turn in a loop of statements', async () => {
      let ticks = 0
      const timer = setInterval(() => ticks++, 1)
      const end = performance.now() + 30
      while (performance.now() < end) await open().execute('select 1', [])
      clearInterval(timer)
      expect(ticks).toBeGreaterThan(3)
    })
  })

  describe('a notification', () => {
    it('reaches a listener, not before its transaction has been committed, and not after it stopped', async () => {
      const heard: string[] = []
      let next = Promise.withResolvers<void>()
      const stop = await open().listen('contract_news', payload => {
        heard.push(payload)
        next.resolve()
      })
      await open().notify('contract_news', 'one')
      await next.promise
      next = Promise.withResolvers<void>()
      await open().transaction(on, async t => {
        await t.execute('select pg_notify($1, $2)', ['contract_news', 'two'])
        await t.execute('select 1', [])
        expect(heard).toEqual(['one'])
      })
      await next.promise
      await stop()
      await open().notify('contract_news', 'three')
      await open().ping()
      expect(heard).toEqual(['one', 'two'])
    })

    it('reaches every listener although one throws at once and one later; what they threw is told', async () => {
      const heard = Promise.withResolvers<string>()
      const [atOnce, later] = [new Error('at once'), new Error('later')]
      const stops = [
        await open().listen('contract_throw', () => {
          throw atOnce
        }),
        await open().listen('contract_throw', async () => {
          throw later
        }),
        await open().listen('contract_throw', heard.resolve),
      ]
      await open().notify('contract_throw', 'news')
      expect(await heard.promise).toBe('news')
      await expect.poll(() => failures).toEqual(expect.arrayContaining([atOnce, later]))
      for (const stop of stops) await stop()
      await open().ping()
    })

    it('refuses a channel that is no plain name', async () => {
      await expect(open().listen('a; drop table contract', () => {})).rejects.toThrow('identifier')
    })
  })

  it('has an incarnation that stays', async () => {
    expect(open().incarnation).toMatch(/^[0-9a-f-]{36}$/)
  })
}
