import { StoreError } from './errors.ts'
import type { Queryable } from './port.ts'

/** Of a statement outside a transaction, the wait for a connection included. */
export const STATEMENT_DEADLINE_MS = 10_000

/** A statement that begins with `select` writes nothing that a second run would double; `with` may. */
export const isPlainRead = (sql: string): boolean => /^\s*select\b/i.test(sql)

/** A channel's name goes into LISTEN as it is, so it is an allow-list. */
export function parseChannel(channel: string): string {
  if (!/^[a-z][a-z0-9_]{0,62}$/.test(channel)) throw new StoreError('fatal', 'a channel is a lower-case identifier')
  return channel
}

/** The id with the highest number. */
export async function currentIncarnation(on: Queryable): Promise<string> {
  const [id] = await on.query('select id from incarnation order by number desc limit 1', [], {
    parse: row => String(typeof row === 'object' && row !== null ? Reflect.get(row, 'id') : ''),
  })
  if (!id) throw new StoreError('fatal', 'the table incarnation is empty')
  return id
}
