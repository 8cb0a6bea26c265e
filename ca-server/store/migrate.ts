import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import type { Parameter } from './port.ts'

/** What the runner needs of either engine: one connection. */
export interface MigrationConnection {
  /** One or more statements without parameters. */
  run(sql: string): Promise<void>
  rows(sql: string, parameters: readonly Parameter[]): Promise<readonly unknown[]>
}

export type Migration = { name: string; sql: string; sha256: string }

/**
 * The one place that knows where the migrations lie: beside `ca-server/` in a checkout, beside the program in what is
 * shipped. Sorted by number.
 */
export function readMigrations(folder = defaultFolder()): Migration[] {
  return readdirSync(folder)
    .filter(name => /^[0-9]{4}_[a-z0-9_]+\.sql$/.test(name))
    .sort()
    .map(name => {
      const sql = readFileSync(join(folder, name), 'utf8')
      return { name, sql, sha256: createHash('sha256').update(sql).digest('hex') }
    })
}

function defaultFolder(): string {
  for (const folder of [
    join(import.meta.dirname, 'migrations'),
    join(import.meta.dirname, '..', 'migrations'),
    join(import.meta.dirname, '..', '..', 'migrations'),
  ]) {
    try {
      if (readdirSync(folder).includes('0001_base.sql')) return folder
    } catch {
      // Not there: the next place.
    }
  }
  throw new KeymanError('internal', 'the folder with the database migrations is missing from this installation')
}

// A number of our own for pg_advisory_xact_lock; any will do that nothing else in this database uses.
const LOCK = 'select pg_advisory_xact_lock(5281047)'

/**
 * Applies what is missing, in order, each file in a transaction of its own under a lock, so that two servers that start
 * together do it once. Throws `internal` where an applied file has been changed since.
 */
export async function migrate(connection: MigrationConnection, migrations: readonly Migration[]): Promise<void> {
  await inTransaction(connection, () =>
    connection.run(`create table if not exists schema_migration (
      name text primary key, sha256 text not null, applied_at timestamptz not null default now())`),
  )
  for (const migration of migrations) {
    await inTransaction(connection, async () => {
      if (isApplied(migration, await appliedMigrations(connection))) return
      await connection.run(migration.sql)
      await connection.rows('insert into schema_migration (name, sha256) values ($1, $2)', [
        migration.name,
        migration.sha256,
      ])
    })
  }
}

async function inTransaction(connection: MigrationConnection, work: () => Promise<void>): Promise<void> {
  await connection.run('begin')
  try {
    await connection.run(LOCK)
    await work()
    await connection.run('commit')
  } catch (error) {
    await connection.run('rollback').catch(() => {})
    throw error
  }
}

/** Throws `unavailable` where one is missing, for a role that can't apply it. */
export async function assertMigrated(
  connection: MigrationConnection,
  migrations: readonly Migration[],
  hint: string,
): Promise<void> {
  const [table] = await connection.rows("select to_regclass('schema_migration')::text as name", [])
  const exists = typeof table === 'object' && table !== null && Reflect.get(table, 'name') !== null
  const applied = exists ? await appliedMigrations(connection) : new Map<string, string>()
  for (const migration of migrations)
    if (!isApplied(migration, applied))
      throw new KeymanError('unavailable', `the database lacks the migration ${migration.name}`, { hint })
}

async function appliedMigrations(connection: MigrationConnection): Promise<Map<string, string>> {
  const rows = await connection.rows('select name, sha256 from schema_migration', [])
  return new Map(
    rows.map(row => {
      if (typeof row !== 'object' || row === null) throw new TypeError('a row is an object')
      return [String(Reflect.get(row, 'name')), String(Reflect.get(row, 'sha256'))] as const
    }),
  )
}

function isApplied(migration: Migration, applied: ReadonlyMap<string, string>): boolean {
  const digest = applied.get(migration.name)
  if (digest !== undefined && digest !== migration.sha256)
    throw new KeymanError('internal', `the migration ${migration.name} was changed after it had been applied`, {
      hint: 'an applied migration is never edited: restore the file and put the change into a new one',
    })
  return digest !== undefined
}
