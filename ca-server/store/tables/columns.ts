import { customType } from 'drizzle-orm/pg-core'
import { z } from 'zod'
import type { Parameter, RowParser } from '../port.ts'

/**
 * The types of columns. A column knows what its values are: `schema` parses each that is read, since a database may hold what
 * somebody else wrote, and `toDriver` says what goes in. So a value's type, its check and its column are named once, in `tables.ts`.
 */
const column = <T>(type: string, schema: RowParser<T>, toDriver: (value: T) => Parameter) =>
  customType<{ data: T; driverData: unknown }>({
    dataType: () => type,
    fromDriver: value => schema.parse(value),
    toDriver,
  })

/** Text that is more than that: a name, one of a few words. */
export const textOf = <T extends string>(schema: RowParser<T>) => column('text', schema, value => value)
export const text = textOf(z.string())
export const boolean = column('boolean', z.boolean(), value => value)
export const integer = column('integer', z.int(), value => value)
export const bigint = column('bigint', z.bigint(), value => value)
/** A bigint that stays far below 2^53. */
export const bigintAsNumber = column('bigint', z.bigint().transform(Number).pipe(z.int()), value => value)
/** Integers that no bigint holds, of up to so many digits. */
export const numericOf = (digits: number) =>
  column(`numeric(${digits},0)`, z.string().transform(BigInt), value => value.toString())
export const bytea = column<Uint8Array>('bytea', z.instanceof(Uint8Array), value => value)
export const timestamptz = column('timestamp with time zone', z.date(), value => value.toISOString())
/** The schema is what the column holds: there is no JSON that is read as it is. */
export const jsonbOf = <T>(schema: RowParser<T>) => column('jsonb', schema, value => JSON.stringify(value))
