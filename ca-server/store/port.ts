/** The store's types: see `index.ts`, the room's door. */

/**
 * A statement's parameter. Times go in as ISO 8601 strings, bytes as Uint8Array, JSON as a string that is cast in the
 * statement (`$1::jsonb`); so both engines see the same text.
 */
export type Parameter = string | number | bigint | boolean | null | Uint8Array

/**
 * Turns a raw row into a typed one or throws. A zod schema is one; a hot path may hand in its own. It gets an object, or with
 * `rowMode` an array in the order of the statement's columns.
 */
export type RowParser<Row> = { parse(value: unknown): Row; readonly rowMode?: 'array' }

/**
 * Rows come back the same from both engines: int8 as bigint, int2, int4 and float8 as number, numeric as string, bytea as Uint8Array,
 * timestamptz as Date, jsonb parsed, int8[] as bigint[], text[] as string[].
 */
export interface Queryable {
  /** Throws `StoreError`, and whatever the row's parser throws. */
  query<Row>(sql: string, parameters: readonly Parameter[], row: RowParser<Row>): Promise<Row[]>
  /** The number of rows that the statement returned or changed. Throws `StoreError`. */
  execute(sql: string, parameters: readonly Parameter[]): Promise<number>
}

export interface Store extends Queryable {
  readonly engine: 'pglite' | 'postgresql'
  /** A random id of this database's history; a restored backup takes a new one. */
  readonly incarnation: string
  /** What an operator should know of this database's set-up, a sentence each; empty when all is well. */
  readonly remarks: readonly string[]
  /**
   * Runs `work` in one READ COMMITTED transaction: committed when `work` resolves, rolled back when it throws. Inside,
   * only the handle `t` works: any use of the store itself, a second transaction too, throws at once (on PGlite it would
   * wait for ever). The deadline counts from the call, with the wait for a connection, and holds where the driver hangs.
   * Never wait for an HSM or the network inside. Throws `StoreError`, or what `work` threw.
   */
  transaction<T>(options: { name: string; deadlineMs: number }, work: (t: Queryable) => Promise<T>): Promise<T>
  /**
   * A notification is a hint only: look at the rows. `onNotification` gets `''` after each lost connection was
   * replaced, because notifications may have been missed. Resolves, once listening, to a function that ends it.
   * Inside a transaction notify by `select pg_notify($1, $2)`, which is delivered at its commit.
   */
  listen(channel: string, onNotification: (payload: string) => void): Promise<() => Promise<void>>
  notify(channel: string, payload: string): Promise<void>
  /**
   * Waits until no other server holds the lock of this name, and takes it: what is outside of the database, such as an
   * HSM's keys, can be made by one at a time. Resolves to what gives it back; it also ends with this process. A lock lost
   * with its connection is not noticed: it keeps two apart who mean well, and protects no row. Throws `StoreError`.
   */
  lock(name: string, deadlineMs: number): Promise<() => Promise<void>>
  /** Resolves when a statement came back from a database that can be written to. */
  ping(): Promise<void>
  close(): Promise<void>
}

export type StoreConfig =
  | { engine: 'pglite'; folder: string }
  | {
      engine: 'postgresql'
      /** `postgresql://user:password@host:port[,host:port…]/database`: the runtime role. Of several hosts the primary is used. */
      url: string
      /** The role that owns the tables and applies migrations; it must not be the runtime role. */
      migrationUrl?: string
    }
