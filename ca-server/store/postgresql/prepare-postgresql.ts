import type pg from 'pg'
import { parseDatabaseUrl } from '#server/config/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { told } from '#shared/told.ts'
import { StoreError } from '../errors.ts'
import { assertMigrated, type MigrationConnection, migrate, readMigrations } from '../migrate.ts'
import type { Parameter } from '../port.ts'
import { connectPrimary, targetsOf } from './connect.ts'

/** Applies migrations by their own role where one is given, and checks what the runtime role may do and how durable a commit is. */
export async function preparePostgres(
  url: string,
  migrationUrl: string | undefined,
): Promise<{ incarnation: string; remarks: string[] }> {
  const migrations = readMigrations()
  if (migrationUrl !== undefined) {
    const owner = await openFor('database.migration_url', migrationUrl)
    try {
      await migrate(migrationConnection(owner), migrations)
      await giveRuntimeRole(owner, parseDatabaseUrl(url).user)
    } finally {
      await owner.end()
    }
  }
  const runtime = await openFor('database.url', url)
  try {
    // Without a role for migrations the runtime role may own everything (a small installation): then it applies them.
    if (migrationUrl === undefined && (await mayCreate(runtime)))
      await migrate(migrationConnection(runtime), migrations)
    await assertMigrated(
      migrationConnection(runtime),
      migrations,
      'give the role that owns the tables as database.migration_url: the server applies what is missing when it starts',
    )
    const remarks = [
      ...(await checkPrivileges(runtime, migrationUrl !== undefined)),
      ...(await durabilityRemarks(runtime)),
      ...linkRemarks(url),
    ]
    const { rows } = await runtime.query('select id from incarnation order by number desc limit 1')
    const incarnation: unknown = rows[0]?.id
    if (typeof incarnation !== 'string') throw new StoreError('fatal', 'the table incarnation is empty')
    return { incarnation, remarks }
  } finally {
    await runtime.end()
  }
}

export type UrlSetting = 'database.url' | 'database.migration_url'

/** Connects; throws an error that names the setting, and says what it is about it. */
export async function openFor(setting: UrlSetting, url: string): Promise<pg.Client> {
  try {
    return await connectPrimary(targetsOf(url, setting))
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    const { message, hint } = told(error)
    throw new KeymanError('unavailable', message, {
      fields: [{ field: setting, message }],
      ...(hint === undefined ? {} : { hint: setting === 'database.url' ? hint : ofMigration(hint) }),
    })
  }
}

const ofMigration = (hint: string): string =>
  hint.replaceAll('database.url', 'database.migration_url').replaceAll('.password_file', '.migration_password_file')

export const migrationConnection = (client: pg.Client): MigrationConnection => ({
  run: async sql => void (await client.query(sql)),
  rows: async (sql, parameters: readonly Parameter[]) => (await client.query(sql, [...parameters])).rows,
})

/** The tables' grants go to the group `keyman_runtime`; whoever runs the server has to be in it. */
async function giveRuntimeRole(owner: pg.Client, user: string | undefined): Promise<void> {
  if (user === undefined) return
  const { rows } = await owner.query(
    "select pg_has_role(rolname, 'keyman_runtime', 'usage') as member, quote_ident(rolname) as role from pg_roles where rolname = $1 and rolname <> current_user",
    [user],
  )
  const role: unknown = rows[0]?.role
  if (typeof role !== 'string' || rows[0]?.member === true) return
  try {
    await owner.query(`grant keyman_runtime to ${role}`)
  } catch {
    throw new KeymanError('unavailable', `the database role ${role} is not a member of keyman_runtime`, {
      hint: `as an administrator of the database: grant keyman_runtime to ${role}`,
    })
  }
}

async function mayCreate(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query("select has_schema_privilege(current_schema(), 'create') as may")
  return rows[0]?.may === true
}

/** Invariant 17: the ledger is append-only for the server's own role. Asserted where there are two roles, else said. */
export async function checkPrivileges(client: pg.Client, separate: boolean): Promise<string[]> {
  const { rows } = await client.query(
    `select current_user::text as role, bool_or(has_table_privilege(oid, 'update, delete, truncate')
       or pg_has_role(relowner, 'member')) as may
     from pg_class where oid = to_regclass('ledger_record')`,
  )
  if (rows[0]?.may !== true) return []
  const role = String(rows[0]?.role)
  if (separate)
    throw new KeymanError('unavailable', `the database role ${role} can change the audit log: it must only append`, {
      hint: 'let database.url name a role that owns no table and is no superuser; migration_url names the owner',
      fields: [{ field: 'database.url', message: `the database role ${role} can change the audit log` }],
    })
  return [`the database role ${role} can change the audit log; use two roles: database.url and database.migration_url`]
}

/** Whoever stands between could be the database. */
export function linkRemarks(url: string): string[] {
  const { hosts, sslmode } = parseDatabaseUrl(url)
  const far = hosts.find(({ host }) => !/^(\/|localhost$|127\.|::1$)/.test(host))
  return far === undefined || sslmode === 'verify-full'
    ? []
    : [
        `nothing proves that ${far.host} is the database: let database.url say sslmode=verify-full, with sslrootcert=FILE for an authority of your own`,
      ]
}

async function durabilityRemarks(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query(
    `select current_setting('fsync') = 'off' as nosync, current_setting('synchronous_commit') as commit,
       current_setting('synchronous_standby_names') as standbys, (select count(*)::int from pg_stat_replication) as replicas`,
  )
  const { nosync, commit, standbys, replicas } = rows[0] ?? {}
  const remarks: string[] = []
  if (nosync === true)
    remarks.push('the database runs with fsync = off: a power cut loses records and can lose everything')
  if (commit === 'off') remarks.push('the database runs with synchronous_commit = off: a crash loses the last records')
  // Asynchronous replication lost acknowledged rows in one of four failovers when tried.
  if (standbys === '' && typeof replicas === 'number' && replicas > 0)
    remarks.push(
      'the database has standbys, but synchronous_standby_names is empty: a failover loses the last records; set it, for instance to ANY 1 (a, b)',
    )
  return remarks
}
