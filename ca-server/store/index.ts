/**
 * The store: opening PGlite (embedded) or PostgreSQL, transactions, notifications, following what others change, and whose turn it is. It
 * knows the rows of no room: each room describes its tables in its own `tables.ts`, as `migrations/` make them, and keeps its statements in
 * `records.ts`.
 *
 * Write in one statement where possible: it is atomic by itself, the fastest shape, and safe to try again by its key.
 */
import { openPGlite } from './pglite/pglite.ts'
import type { Store, StoreConfig } from './port.ts'
import { openPostgres } from './postgresql/postgresql.ts'

export { StoreError, type StoreErrorKind } from './errors.ts'
export { type Following, follow } from './follow.ts'
export { incarnationId, incarnationNumber } from './incarnation.ts'
export { insist } from './insist.ts'
export { type Fence, LEASE_MS, type Lease, LeaseLost, openLease } from './lease.ts'
export type { Parameter, Queryable, RowParser, Store, StoreConfig } from './port.ts'
export { type CheckedPostgres, checkPostgres } from './postgresql/check-postgresql.ts'
export * from './tables/columns.ts'
export { recordset } from './tables/recordset.ts'
export { builder, eachRow, prepared, rows, run } from './tables/statement.ts'
export { afterCommit, assertOutsideTransaction, unlessCommitted } from './transaction-guard.ts'

/**
 * Applies missing migrations, checks and opens the database. Throws `KeymanError`: `conflict` where the folder is in use by
 * another process, `unavailable` where the roles or migrations are not as they must be, `invalid-input` for a
 * connection string that is none; and `StoreError` where the database is not reached. No message holds a password.
 * `onError` hears what a listener of notifications throws; without it, whoever reads stderr.
 */
export function openStore(
  config: StoreConfig,
  onError = (error: unknown) => process.emitWarning(error instanceof Error ? error : String(error)),
): Promise<Store> {
  return config.engine === 'pglite'
    ? openPGlite(config.folder, onError)
    : openPostgres(config.url, config.migrationUrl, onError)
}
