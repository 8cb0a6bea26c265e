import type pg from 'pg'
import { parseDatabaseUrl } from '#server/config/index.ts'
import { type FieldError, KeymanError } from '#shared/errors.ts'
import { assertMigrated, readMigrations } from '../migrate.ts'
import { targetsOf } from './connect.ts'
import { Listener } from './listener.ts'
import { checkPrivileges, migrationConnection, openFor } from './prepare-postgresql.ts'
import { tryNotifications } from './try-notifications.ts'

export type CheckedPostgres = {
  /** By setting: `database.url` or `database.migration_url`. */
  readonly problems: readonly FieldError[]
  /** Seconds that this machine's clock is ahead of the database's; undefined where the database is not reached. */
  readonly clockAhead: number | undefined
  /** Whether a server has recorded something there. */
  readonly isInUse: boolean
}

/**
 * What the start would meet, without changing anything: both roles get in, the one may make and the other may use what the
 * migrations make, and a notification arrives.
 */
export async function checkPostgres(
  url: string,
  migrationUrl: string | undefined,
  now: () => Date,
): Promise<CheckedPostgres> {
  const problems: FieldError[] = []
  const trying = async <Result>(work: () => Promise<Result>): Promise<Result | undefined> => {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof KeymanError)) throw error
      const { message, hint, fields } = error
      const field = fields[0]?.field ?? 'database.url'
      problems.push({ field, message, ...(hint === undefined ? {} : { hint }) })
      return undefined
    }
  }
  const owner =
    migrationUrl === undefined ? undefined : await trying(() => openFor('database.migration_url', migrationUrl))
  const runtime = await trying(() => openFor('database.url', url))
  try {
    if (owner) problems.push(...(await ownerProblems(owner, parseDatabaseUrl(url).user)))
    if (runtime) {
      const isOne = migrationUrl === undefined
      if (isOne) await trying(() => mayMigrateAlone(runtime))
      else await trying(() => mayOnlyAppend(runtime))
      await trying(() => notifications(url, runtime))
      return { problems, clockAhead: await clockAhead(runtime, now), isInUse: await isInUse(runtime) }
    }
    return { problems, clockAhead: undefined, isInUse: false }
  } finally {
    await Promise.all([owner?.end(), runtime?.end()])
  }
}

type Row = Readonly<Record<string, unknown>>
const one = async (client: pg.Client, sql: string, values: readonly unknown[] = []): Promise<Row> =>
  (await client.query<Row>(sql, [...values])).rows[0] ?? {}

async function ownerProblems(owner: pg.Client, runtimeUser: string | undefined): Promise<FieldError[]> {
  const field = 'database.migration_url'
  const { name, create, roles, group, member, runtime } = await one(
    owner,
    `select current_user::text as name, current_user = $1 as runtime,
       has_schema_privilege(current_schema(), 'create') as create,
       (select rolcreaterole or rolsuper from pg_roles where rolname = current_user) as roles,
       exists (select from pg_roles where rolname = 'keyman_runtime') as "group",
       (select pg_has_role(rolname, 'keyman_runtime', 'usage') from pg_roles
        where rolname = $1 and exists (select from pg_roles where rolname = 'keyman_runtime')) as member`,
    [runtimeUser ?? ''],
  )
  const problems: FieldError[] = []
  if (runtime === true)
    problems.push({
      field,
      message: `it names the role of database.url, ${String(name)}, which then could change the audit log`,
      hint: 'make a second role, as docs/install.md says, which owns the tables',
    })
  if (create !== true)
    problems.push({
      field,
      message: `the role ${String(name)} may not make tables in this database`,
      hint: `as an administrator of the database: alter database … owner to ${String(name)}`,
    })
  if (group !== true && roles !== true)
    problems.push({
      field,
      message: `there is no role keyman_runtime, and ${String(name)} may not make it`,
      hint: 'as an administrator of the database: create role keyman_runtime nologin',
    })
  else if (runtime !== true && group === true && member === false && roles !== true)
    problems.push({
      field: 'database.url',
      message: `the role ${runtimeUser} is not a member of keyman_runtime`,
      hint: `as an administrator of the database: grant keyman_runtime to ${runtimeUser}`,
    })
  return problems
}

/** One role for both: it makes what is missing at the start, or all is there. */
async function mayMigrateAlone(runtime: pg.Client): Promise<void> {
  const { create } = await one(runtime, "select has_schema_privilege(current_schema(), 'create') as create")
  if (create !== true)
    await assertMigrated(
      migrationConnection(runtime),
      readMigrations(),
      'give the role that owns the tables as database.migration_url: the server applies what is missing when it starts',
    )
}

async function mayOnlyAppend(runtime: pg.Client): Promise<void> {
  const { mighty, name } = await one(
    runtime,
    'select rolsuper as mighty, rolname::text as name from pg_roles where rolname = current_user',
  )
  if (mighty === true)
    throw new KeymanError('unavailable', `the role ${String(name)} is a superuser, and could change the audit log`, {
      hint: 'let database.url name a role that owns no table and is no superuser',
    })
  await checkPrivileges(runtime, true)
}

async function notifications(url: string, runtime: pg.Client): Promise<void> {
  const listener = new Listener(targetsOf(url, 'database.url'), () => {})
  try {
    await tryNotifications({
      listen: (channel, onNotification) => listener.listen(channel, onNotification),
      notify: async (channel, payload) => void (await runtime.query('select pg_notify($1, $2)', [channel, payload])),
    })
  } finally {
    await listener.close()
  }
}

async function isInUse(runtime: pg.Client): Promise<boolean> {
  const { readable } = await one(
    runtime,
    "select has_table_privilege(oid, 'select') as readable from pg_class where oid = to_regclass('ledger_record')",
  )
  if (readable !== true) return false
  return (await one(runtime, 'select exists (select from ledger_record) as used')).used === true
}

async function clockAhead(runtime: pg.Client, now: () => Date): Promise<number> {
  const before = now().getTime()
  const { at } = await one(runtime, 'select extract(epoch from clock_timestamp())::float8 as at')
  // The answer was made somewhere between.
  const here = (before + now().getTime()) / 2000
  return here - Number(at)
}
