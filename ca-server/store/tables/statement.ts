import { Column, getTableName, is, Param, Placeholder, type Query, SQL, sql } from 'drizzle-orm'
import {
  type PgColumn,
  PgDatabase,
  PgDialect,
  PgPreparedQuery,
  type PgQueryResultHKT,
  PgSession,
  type PreparedQueryConfig,
  type SelectedFieldsOrdered,
} from 'drizzle-orm/pg-core'
import type { Parameter, Queryable, RowParser } from '../port.ts'

/**
 * Drizzle writes statements and runs none: it has no connection here. What it wrote goes the way of every other statement, so
 * deadlines, transactions and errors are the store's; drizzle's own error, which carries SQL and values, is never made.
 */

/** What is to be run, of `builder` or of `prepared`. */
type Statement<Result = unknown> = {
  prepare(name: string): { execute(): Promise<Result> }
  readonly given?: Values
}
type Values = Readonly<Record<string, unknown>>

/** Runs a `select`, or what ends in `returning`; each value is parsed by its column. Throws `StoreError`, and `TypeError` for a row that does not fit. */
export function rows<Row>(on: Queryable, statement: Statement<Row[]>): Promise<Row[]>
export async function rows(on: Queryable, statement: Statement): Promise<unknown[]> {
  const written = writtenOf(statement)
  return on.query(written.text, written.parameters(statement.given), written.row(wholeRow))
}

/** The same, where a row that does not fit must not keep the others from being read. `fits`: of each row what fits of it. */
export function eachRow<Row>(on: Queryable, statement: Statement<Row[]>): Promise<EachRow<Row>[]>
export async function eachRow(on: Queryable, statement: Statement): Promise<unknown[]> {
  const written = writtenOf(statement)
  return on.query(written.text, written.parameters(statement.given), written.row(partOfRow))
}
export type EachRow<Row> = { readonly row: Row | undefined; readonly fits: Partial<Row> }

/** Runs a statement for what it does, and gives the number of rows that it changed. Throws `StoreError`. */
export async function run(on: Queryable, statement: Statement): Promise<number> {
  const written = writtenOf(statement)
  return on.execute(written.text, written.parameters(statement.given))
}

/** What a column holds, as code sees it. */
export type Held<C extends PgColumn> = C['_']['data'] | (C['_']['notNull'] extends true ? never : null)
export type Columns = Readonly<Record<string, PgColumn>>
/** Expressions that stand for what goes into, or comes out of, these columns. */
export type Expressions<Of extends Columns> = { [Name in keyof Of]: SQL<Held<Of[Name]>> }

/**
 * A statement that runs often: written once, at its first use. `columns` say what it is given each time, and how that goes into the
 * database.
 */
export function prepared<Of extends Columns, Result>(
  columns: Of,
  write: (given: Expressions<Of>) => Statement<Result>,
): (given: { readonly [Name in keyof Of]: Held<Of[Name]> }) => Statement<Result> {
  let first: { execute(): Promise<Result> } | undefined
  const prepare = () => {
    first ??= write(placeholders(columns)).prepare('')
    return first
  }
  return given => ({ prepare, given })
}

const placeholders = <Of extends Columns>(columns: Of) =>
  expressions(columns, (name, column) => sql`${new Param(new Placeholder(name), column)}`)

/** One for each of these columns; what comes out of it is parsed as what comes out of its column. */
export function expressions<Of extends Columns>(
  columns: Of,
  write: (name: string, column: PgColumn) => SQL,
): Expressions<Of>
export function expressions(
  columns: Columns,
  write: (name: string, column: PgColumn) => SQL,
): Record<string, SQL<unknown>> {
  const all = Object.entries(columns).map(([name, column]) => [name, write(name, column).mapWith(readerOf(column))])
  return Object.fromEntries(all)
}
const readerOf = (column: PgColumn) => (value: unknown) =>
  value === null && !column.notNull ? null : column.mapFromDriverValue(value)

/** Of a field. `known`: what it is called for whoever has to find a row that does not fit. */
type Reader = {
  readonly name: string
  readonly known: string
  readonly nullable: boolean
  read(value: unknown): unknown
}

class Written<T extends PreparedQueryConfig> extends PgPreparedQuery<T> {
  readonly text: string
  readonly #parameters: readonly unknown[]
  readonly #fields: SelectedFieldsOrdered
  #readers: Reader[] | undefined
  /** Drizzle sets it, of a `select` with joins: which of the tables have a row for certain. */
  joinsNotNullableMap: Readonly<Record<string, boolean>> | undefined

  constructor(query: Query, fields: SelectedFieldsOrdered) {
    super(query, undefined, undefined)
    this.text = query.sql
    this.#parameters = query.params
    this.#fields = fields
  }

  /** So that a statement which somebody awaits is no statement that was silently left out. */
  async execute(): Promise<never> {
    throw new TypeError('a statement is run by `rows` or `run`')
  }

  parameters(given: Values = {}): Parameter[] {
    return this.#parameters.map(value => {
      if (!is(value, Param) || !is(value.value, Placeholder)) return toParameter(value)
      const own = given[value.value.name]
      return own === null ? null : toParameter(value.encoder.mapToDriverValue(own))
    })
  }

  row(take: (fits: object, unfit: string | undefined) => unknown): RowParser<unknown> {
    this.#readers ??= this.#fields.map(({ path: [name = '', deeper], field }) => {
      // Two columns of a name would become one.
      if (deeper !== undefined)
        throw new TypeError(`a statement over several tables selects its fields by name, not ${name}`)
      return { name, ...this.#reader(field, name) }
    })
    const readers = this.#readers
    return {
      rowMode: 'array',
      parse(values) {
        if (!Array.isArray(values)) throw new TypeError('a row is an array')
        const fits: Record<string, unknown> = {}
        let unfit: string | undefined
        for (const [at, { name, known, nullable, read }] of readers.entries()) {
          const value: unknown = values[at]
          try {
            fits[name] = value === null && nullable ? null : read(value)
          } catch {
            // What the parser threw may hold the value.
            unfit = known
          }
        }
        return take(fits, unfit)
      },
    }
  }

  #reader(field: SelectedFieldsOrdered[number]['field'], name: string) {
    if (is(field, Column)) {
      const table = getTableName(field.table)
      const nullable = !field.notNull || this.joinsNotNullableMap?.[table] === false
      return { known: `${table}.${field.name}`, nullable, read: (value: unknown) => field.mapFromDriverValue(value) }
    }
    const expression = is(field, SQL.Aliased) ? field.sql : field
    const decoder: unknown = Reflect.get(expression, 'decoder')
    if (!isDecoder(decoder) || decoder === UNREAD) throw new TypeError(`what ${name} holds is not said: use mapWith`)
    return { known: name, nullable: false, read: (value: unknown) => decoder.mapFromDriverValue(value) }
  }
}

function wholeRow(fits: object, unfit: string | undefined): object {
  if (unfit !== undefined) throw new TypeError(`${unfit} of a row does not fit`)
  return fits
}
const partOfRow = (fits: object, unfit: string | undefined) => ({ row: unfit === undefined ? fits : undefined, fits })

/** What drizzle gives an expression by itself: it takes whatever comes. */
const UNREAD: unknown = Reflect.get(sql``, 'decoder')
const isDecoder = (value: unknown): value is { mapFromDriverValue(value: unknown): unknown } =>
  typeof value === 'object' && value !== null && typeof Reflect.get(value, 'mapFromDriverValue') === 'function'

function writtenOf(statement: Statement): Written<PreparedQueryConfig> {
  const written = statement.prepare('')
  if (!(written instanceof Written)) throw new TypeError('a statement of another builder')
  return written
}

function toParameter(value: unknown): Parameter {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'bigint':
    case 'boolean':
      return value
    default:
      if (value === null || value instanceof Uint8Array) return value
      throw new TypeError('a parameter that belongs to no column: say of which by sql.param')
  }
}

class WritingSession extends PgSession {
  override prepareQuery<T extends PreparedQueryConfig>(query: Query, fields: SelectedFieldsOrdered = []): Written<T> {
    return new Written(query, fields)
  }
  override transaction(): Promise<never> {
    throw new TypeError('transactions are of the store')
  }
}

interface Nothing extends PgQueryResultHKT {
  readonly type: never
}

/** Drizzle's `select`, `insert`, `update` and `delete`, over the tables of a room's `tables.ts`. */
const dialect = new PgDialect()
export const builder = new PgDatabase<Nothing>(dialect, new WritingSession(dialect), undefined)
