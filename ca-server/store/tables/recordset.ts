import { sql } from 'drizzle-orm'
import type { PgColumn } from 'drizzle-orm/pg-core'
import { toHex } from '#shared/bytes.ts'
import { type Columns, expressions, type Held } from './statement.ts'

/**
 * Rows that one statement is given to work on, whatever their number: `jsonb_to_recordset`, which both engines know. `columns` name the
 * fields of a row, and what each is in the database.
 */
export function recordset<Of extends Columns>(
  alias: string,
  columns: Of,
  rows: readonly { readonly [Name in keyof Of]: Held<Of[Name]> }[],
) {
  const entries = Object.entries(columns)
  const json = rows.map(row => Object.fromEntries(entries.map(([name, column]) => [name, toJson(row[name], column)])))
  const types = entries.map(([name, column]) => sql`${sql.identifier(name)} ${sql.raw(column.getSQLType())}`)
  return {
    from: sql`jsonb_to_recordset(${JSON.stringify(json)}::jsonb) as ${sql.identifier(alias)} (${sql.join(types, sql`, `)})`,
    fields: expressions(columns, name => sql`${sql.identifier(alias)}.${sql.identifier(name)}`),
  }
}

/** As text that the database reads as the column's type; JSON stays JSON. */
function toJson(value: unknown, column: PgColumn): unknown {
  if (value === null || column.getSQLType() === 'jsonb') return value
  const parameter = column.mapToDriverValue(value)
  return typeof parameter === 'bigint'
    ? parameter.toString()
    : parameter instanceof Uint8Array
      ? `\\x${toHex(parameter)}`
      : parameter
}
