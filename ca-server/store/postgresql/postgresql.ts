import { createHash } from 'node:crypto'
import type pg from 'pg'
import { withDeadline } from '../deadline.ts'
import { classify, deadlineError, type Stage, StoreError } from '../errors.ts'
import type { Parameter, Queryable, RowParser, Store } from '../port.ts'
import { isPlainRead, parseChannel, STATEMENT_DEADLINE_MS } from '../statements.ts'
import { assertOutsideTransaction, committed, Guarded, markOf, notCommitted, runInside } from '../transaction-guard.ts'
import { connectPrimary, type Target, targetsOf } from './connect.ts'
import { Listener } from './listener.ts'
import { Pool } from './pool.ts'
import { preparePostgres } from './prepare-postgresql.ts'
import { tryNotifications } from './try-notifications.ts'

/** Migrates and checks the database, then opens it. */
export async function openPostgres(
  url: string,
  migrationUrl: string | undefined,
  onError: (error: unknown) => void,
): Promise<Store> {
  const targets = targetsOf(url, 'database.url')
  let store: PostgresStore | undefined
  try {
    store = new PostgresStore(targets, await preparePostgres(url, migrationUrl), onError)
    await tryNotifications(store)
    return store
  } catch (error) {
    await store?.close()
    throw classify(error, 'connecting')
  }
}

class PostgresStore implements Store {
  readonly engine = 'postgresql'
  readonly incarnation: string
  readonly remarks: string[]
  readonly #pool: Pool
  readonly #listener: Listener
  readonly #targets: readonly Target[]

  constructor(
    targets: readonly Target[],
    { incarnation, remarks }: { incarnation: string; remarks: string[] },
    onError: (error: unknown) => void,
  ) {
    this.incarnation = incarnation
    this.remarks = remarks
    this.#targets = targets
    this.#pool = new Pool(targets)
    this.#listener = new Listener(targets, onError)
  }

  async query<Row>(sql: string, parameters: readonly Parameter[], row: RowParser<Row>): Promise<Row[]> {
    const { rows } = await this.#single(sql, parameters, row.rowMode)
    return rows.map(raw => row.parse(raw))
  }

  async execute(sql: string, parameters: readonly Parameter[]): Promise<number> {
    return (await this.#single(sql, parameters)).rowCount ?? 0
  }

  async #single(sql: string, parameters: readonly Parameter[], rowMode?: 'array'): Promise<Result> {
    assertOutsideTransaction('a statement of the store')
    const client = await this.#acquire(STATEMENT_DEADLINE_MS)
    const stage = isPlainRead(sql) ? 'reading' : 'writing'
    let healthy = false
    try {
      const result = await withDeadline(run(client, sql, parameters, rowMode), STATEMENT_DEADLINE_MS, () =>
        deadlineError('a statement', STATEMENT_DEADLINE_MS, stage),
      )
      healthy = true
      return result
    } catch (error) {
      const translated = classify(error, stage)
      healthy = refusedOnly(translated)
      throw translated
    } finally {
      this.#pool.release(client, !healthy)
    }
  }

  async #acquire(milliseconds: number): Promise<pg.Client> {
    try {
      return await this.#pool.acquire(Math.min(milliseconds, 5_000))
    } catch (error) {
      throw classify(error, 'connecting')
    }
  }

  async transaction<T>(
    { name, deadlineMs }: { name: string; deadlineMs: number },
    work: (t: Queryable) => Promise<T>,
  ): Promise<T> {
    assertOutsideTransaction(`the transaction ${name}`)
    const end = performance.now() + deadlineMs
    const client = await this.#acquire(deadlineMs)
    const mark = markOf(name)
    let stage: Stage = 'in transaction'
    let healthy = false
    const inTime = <R>(step: Promise<R>): Promise<R> =>
      withDeadline(step, end - performance.now(), () => deadlineError(`the transaction ${name}`, deadlineMs, stage))
    const control = (sql: string): Promise<pg.QueryResult> =>
      inTime(client.query(sql)).catch((error: unknown) => {
        throw classify(error, stage)
      })
    try {
      // The server's own limits give the locks back where we can't be heard any more.
      await control(`begin isolation level read committed;
          set local statement_timeout = ${Math.ceil(deadlineMs)};
          set local idle_in_transaction_session_timeout = ${Math.ceil(deadlineMs) + 1000}`)
      const result = await inTime(runInside(mark, () => work(new Guarded(new PostgresHandle(client), mark))))
      mark.open = false
      stage = 'committing'
      const { command } = await control('commit')
      healthy = true
      // So says PostgreSQL where a statement had failed before and `work` went on.
      if (command !== 'COMMIT')
        throw new StoreError('fatal', `the transaction ${name} was rolled back: a statement failed`)
      committed(mark)
      return result
    } catch (error) {
      mark.open = false
      if (stage === 'in transaction' && (!(error instanceof StoreError) || refusedOnly(error)))
        healthy = await control('rollback').then(
          () => true,
          () => false,
        )
      notCommitted(mark)
      throw error
    } finally {
      this.#pool.release(client, !healthy)
    }
  }

  async listen(channel: string, onNotification: (payload: string) => void): Promise<() => Promise<void>> {
    assertOutsideTransaction('listening')
    return this.#listener.listen(parseChannel(channel), onNotification)
  }

  async notify(channel: string, payload: string): Promise<void> {
    await this.execute('select pg_notify($1, $2)', [parseChannel(channel), payload])
  }

  async lock(name: string, deadlineMs: number): Promise<() => Promise<void>> {
    assertOutsideTransaction('a lock')
    // A connection of its own: the lock is as long as that, whatever becomes of us.
    const client = await connectPrimary(this.#targets).catch((error: unknown) => {
      throw classify(error, 'connecting')
    })
    const end = () => client.end().catch(() => {})
    try {
      await withDeadline(client.query('select pg_advisory_lock(hashtextextended($1, 0))', [name]), deadlineMs, () =>
        deadlineError(`waiting for the lock ${name}, which another server holds,`, deadlineMs, 'reading'),
      )
    } catch (error) {
      end()
      throw classify(error, 'reading')
    }
    return end
  }

  async ping(): Promise<void> {
    const [standby] = await this.query('select pg_is_in_recovery() as standby', [], {
      parse: row => typeof row === 'object' && row !== null && Reflect.get(row, 'standby') === true,
    })
    if (standby) throw new StoreError('retryable', 'the database is a standby', { code: '25006' })
  }

  async close(): Promise<void> {
    await Promise.all([this.#listener.close(), this.#pool.close()])
  }
}

type Result = pg.QueryResultBase & { readonly rows: readonly unknown[] }

class PostgresHandle implements Queryable {
  readonly #client: pg.Client
  // `pg` takes one statement at a time; callers may start several.
  #last: Promise<unknown> = Promise.resolve()
  constructor(client: pg.Client) {
    this.#client = client
  }

  async query<Row>(sql: string, parameters: readonly Parameter[], row: RowParser<Row>): Promise<Row[]> {
    const { rows } = await this.#run(sql, parameters, row.rowMode)
    return rows.map(raw => row.parse(raw))
  }

  async execute(sql: string, parameters: readonly Parameter[]): Promise<number> {
    return (await this.#run(sql, parameters)).rowCount ?? 0
  }

  #run(sql: string, parameters: readonly Parameter[], rowMode?: 'array'): Promise<Result> {
    const result = this.#last.then(async () => {
      try {
        return await run(this.#client, sql, parameters, rowMode)
      } catch (error) {
        throw classify(error, 'in transaction')
      }
    })
    this.#last = result.catch(() => {})
    return result
  }
}

/**
 * The connection is fine: the database refused the statement, or told us to try it again. A lost one has no SQLSTATE of
 * these, and one whose prepared statements are stale (0A000) would refuse them for ever.
 */
const refusedOnly = (error: unknown): boolean =>
  error instanceof StoreError &&
  error.code !== undefined &&
  /^[0-9A-Z]{5}$/.test(error.code) &&
  !/^(08|0A|57P|25|E)/.test(error.code)

/** Statements are constants, so each is parsed and planned once a connection; a bound in case one is not. */
const names = new Map<string, string>()
function run(
  client: pg.Client,
  sql: string,
  parameters: readonly Parameter[],
  rowMode: 'array' | undefined,
): Promise<Result> {
  const values = parameters.map(toDriver)
  let name = names.get(sql)
  if (name === undefined && names.size < 512) {
    name = createHash('sha256').update(sql).digest('base64url')
    names.set(sql, name)
  }
  const query = name === undefined ? { text: sql, values } : { name, text: sql, values }
  return rowMode === undefined ? client.query(query) : client.query({ ...query, rowMode })
}

const toDriver = (value: Parameter): unknown =>
  typeof value === 'bigint'
    ? value.toString()
    : value instanceof Uint8Array
      ? Buffer.from(value.buffer, value.byteOffset, value.length)
      : value
