import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { PGlite, type Transaction } from '@electric-sql/pglite'
import { KeymanError } from '#shared/errors.ts'
import { lockFolder } from '#shared/folder-lock.ts'
import { withDeadline } from '../deadline.ts'
import { classify, deadlineError } from '../errors.ts'
import { migrate, readMigrations } from '../migrate.ts'
import type { Parameter, Queryable, RowParser, Store } from '../port.ts'
import { currentIncarnation, isPlainRead, parseChannel, STATEMENT_DEADLINE_MS } from '../statements.ts'
import { tell } from '../tell.ts'
import { assertOutsideTransaction, committed, Guarded, markOf, notCommitted, runInside } from '../transaction-guard.ts'
import { createCluster, DURABLE_START, DurableFS } from './durable-fs.ts'

const INT8 = 20

/** The embedded engine: PostgreSQL in WebAssembly, one connection, in this process. */
export async function openPGlite(folder: string, onError: (error: unknown) => void): Promise<Store> {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const unlock = lockFolder(`the database in ${folder}`, join(folder, 'lock'))
  try {
    const path = join(folder, 'pgdata')
    await createCluster(path)
    const fs = new DurableFS(path)
    const database = await PGlite.create({ fs, startParams: DURABLE_START, parsers: { [INT8]: BigInt } })
    try {
      await assertCommitSyncs(database, fs, folder)
      await migrate(
        {
          run: async sql => void (await database.exec(sql)),
          rows: async (sql, parameters) => (await database.query(sql, [...parameters])).rows,
        },
        readMigrations(),
      )
      const incarnation = await currentIncarnation(new PGliteHandle(database, 'reading'))
      return new PGliteStore(database, incarnation, unlock, onError)
    } catch (error) {
      await database.close()
      throw error
    }
  } catch (error) {
    unlock()
    throw classify(error, 'connecting')
  }
}

/** A commit of one transactional WAL message; without a table. */
async function assertCommitSyncs(database: PGlite, fs: DurableFS, folder: string): Promise<void> {
  const before = fs.syncs
  await database.query("select pg_logical_emit_message(true, 'keyman', '')")
  if (fs.syncs === before)
    throw new KeymanError('internal', `a commit to the database in ${folder} does not reach the disk`, {
      hint: 'this build of PGlite does not fit: install the version in package-lock.json',
    })
}

class PGliteHandle implements Queryable {
  readonly #database: PGlite | Transaction
  readonly #stage: 'reading' | 'in transaction'
  constructor(database: PGlite | Transaction, stage: 'reading' | 'in transaction') {
    this.#database = database
    this.#stage = stage
  }

  async query<Row>(sql: string, parameters: readonly Parameter[], row: RowParser<Row>): Promise<Row[]> {
    const { rows } = await this.raw(sql, parameters, row.rowMode)
    return rows.map(raw => row.parse(raw))
  }

  async execute(sql: string, parameters: readonly Parameter[]): Promise<number> {
    return (await this.raw(sql, parameters)).count
  }

  async raw(
    sql: string,
    parameters: readonly Parameter[],
    rowMode: 'array' | 'object' = 'object',
  ): Promise<{ rows: unknown[]; count: number }> {
    try {
      const { rows, rowCount } = await this.#database.query(sql, parameters.map(toDriver), { rowMode })
      return { rows, count: rowCount ?? 0 }
    } catch (error) {
      throw classify(error, this.#stage)
    } finally {
      // PGlite answers within microtasks: without this a loop of statements starves timers and sockets.
      await new Promise(resolve => setImmediate(resolve))
    }
  }
}

/** PGlite's serializers take text and bytes for every type, but numbers for some only. */
const toDriver = (value: Parameter): string | Uint8Array | boolean | null =>
  typeof value === 'number' || typeof value === 'bigint' ? value.toString() : value

class PGliteStore implements Store {
  readonly engine = 'pglite'
  readonly incarnation: string
  readonly remarks: readonly string[] = []
  readonly #database: PGlite
  readonly #handle: PGliteHandle
  readonly #unlock: () => void
  readonly #onError: (error: unknown) => void
  #closed = false

  constructor(database: PGlite, incarnation: string, unlock: () => void, onError: (error: unknown) => void) {
    this.#database = database
    this.#handle = new PGliteHandle(database, 'reading')
    this.incarnation = incarnation
    this.#unlock = unlock
    this.#onError = onError
  }

  async query<Row>(sql: string, parameters: readonly Parameter[], row: RowParser<Row>): Promise<Row[]> {
    assertOutsideTransaction('a query of the store')
    return this.#within(sql, this.#handle.query(sql, parameters, row))
  }

  async execute(sql: string, parameters: readonly Parameter[]): Promise<number> {
    assertOutsideTransaction('a statement of the store')
    return this.#within(sql, this.#handle.execute(sql, parameters))
  }

  /** It may still be carried out after its turn in the queue has come, hence `ambiguous` for a write. */
  #within<T>(sql: string, work: Promise<T>): Promise<T> {
    const stage = isPlainRead(sql) ? 'reading' : 'writing'
    return withDeadline(work, STATEMENT_DEADLINE_MS, () => deadlineError('a statement', STATEMENT_DEADLINE_MS, stage))
  }

  async transaction<T>(
    { name, deadlineMs }: { name: string; deadlineMs: number },
    work: (t: Queryable) => Promise<T>,
  ): Promise<T> {
    assertOutsideTransaction(`the transaction ${name}`)
    const mark = markOf(name)
    let late = false
    // What `work` threw passes unchanged; all else is the driver's.
    let ours: { error: unknown } | undefined
    let stage: 'in transaction' | 'committing' = 'in transaction'
    const tooLate = () => {
      late = true
      return deadlineError(`the transaction ${name}`, deadlineMs, stage)
    }
    const end = performance.now() + deadlineMs
    const whole = this.#database.transaction(async transaction => {
      if (late) throw tooLate()
      const handle = new Guarded(new PGliteHandle(transaction, 'in transaction'), mark)
      try {
        // Rolled back at the deadline, even where `work` hangs: else every later statement would wait behind it.
        const result = await withDeadline(
          runInside(mark, () => work(handle)),
          end - performance.now(),
          tooLate,
        )
        stage = 'committing'
        return result
      } catch (error) {
        ours = { error }
        throw error
      } finally {
        mark.open = false
      }
    })
    try {
      const result = await withDeadline(whole, deadlineMs + 50, tooLate)
      committed(mark)
      return result
    } catch (error) {
      notCommitted(mark)
      throw error === ours?.error ? error : classify(error, stage)
    } finally {
      mark.open = false
    }
  }

  async listen(channel: string, onNotification: (payload: string) => void): Promise<() => Promise<void>> {
    assertOutsideTransaction('listening')
    const stop = await this.#database.listen(parseChannel(channel), payload =>
      tell(onNotification, payload, this.#onError),
    )
    return async () => {
      if (!this.#closed) await stop()
    }
  }

  async notify(channel: string, payload: string): Promise<void> {
    await this.execute('select pg_notify($1, $2)', [parseChannel(channel), payload])
  }

  /** No other server has this folder. */
  async lock(): Promise<() => Promise<void>> {
    return async () => {}
  }

  async ping(): Promise<void> {
    await this.execute('select 1', [])
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#database.close()
    this.#unlock()
  }
}
