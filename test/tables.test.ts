import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { is, SQL, sql } from 'drizzle-orm'
import { getTableConfig, PgDialect, PgTable } from 'drizzle-orm/pg-core'
import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { openStore } from '#server/store/index.ts'
import { anyRow } from '#test/support/contract/store.ts'
import { startPostgres } from '#test/support/programs/postgres.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { requires } from '#test/support/requires.ts'

/**
 * What the rooms' `tables.ts` say is what the migrations made, column by column and both ways. PostgreSQL itself compares: the tables as
 * the rooms tell them are made in a schema of their own, and the catalogues of both have to say the same.
 *
 * Not told in `tables.ts`, so not compared: indexes that are no constraint, rights, collations.
 */
const root = dirname(import.meta.dirname)
/** Of the store itself. */
const OF_THE_STORE = ['schema_migration', 'incarnation', 'lease']

const files = readdirSync(join(root, 'ca-server'), { recursive: true, encoding: 'utf8' }).filter(name =>
  /(^|\/)tables\.ts$/.test(name),
)
const modules: object[] = await Promise.all(files.map(file => import(join(root, 'ca-server', file))))
const tables = modules.flatMap(module => Object.values(module).filter((value): value is PgTable => is(value, PgTable)))

type Rows = (text: string) => Promise<Record<string, unknown>[]>

describe('tables.ts', () => {
  it('tells what the migrations made, on PGlite', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keyman-tables-'))
    const store = await openStore(await newPGlite(folder))
    try {
      await store.transaction({ name: 'tables', deadlineMs: 30_000 }, t => compare(text => t.query(text, [], anyRow)))
    } finally {
      await store.close()
      rmSync(folder, { recursive: true })
    }
  })

  it.skipIf(!requires('postgresql'))('tells what the migrations made, on PostgreSQL', async () => {
    const postgres = await startPostgres({ fsync: false })
    const admin = new pg.Client(postgres.adminUrl)
    try {
      await (await openStore({ engine: 'postgresql', url: postgres.url, migrationUrl: postgres.migrationUrl })).close()
      await admin.connect()
      await admin.query('begin')
      await compare(async text => (await admin.query(text)).rows)
    } finally {
      await admin.end()
      await postgres.close()
    }
  })
})

async function compare(query: Rows): Promise<void> {
  await query('create schema told')
  await query('set local search_path to told')
  for (const statement of tables.flatMap(tableSql).concat(tables.flatMap(referencesSql))) await query(statement)
  const told = await catalogue(query, 'told')
  await query('set local search_path to public')
  const made = await catalogue(query, 'public')
  expect(tables.length).toBeGreaterThan(0)
  expect(told).toEqual(made.filter(({ table }) => !OF_THE_STORE.includes(String(table))))
}

const dialect = new PgDialect()
const textOf = (value: SQL) => dialect.sqlToQuery(value.inlineParams()).sql
const names = (columns: readonly { readonly name: string }[]) => columns.map(({ name }) => `"${name}"`).join(', ')
const called = (name: string | undefined) => (name === undefined ? '' : `constraint "${name}" `)

function tableSql(table: PgTable): string {
  const { name, columns, checks, primaryKeys, uniqueConstraints } = getTableConfig(table)
  const parts = [
    ...columns.map(column => {
      const byItself =
        column.default === undefined
          ? ''
          : ` default ${textOf(is(column.default, SQL) ? column.default : sql`${column.default}`)}`
      const numbered = column.generatedIdentity
        ? ` generated ${column.generatedIdentity.type === 'always' ? 'always' : 'by default'} as identity`
        : ''
      const from = column.generated?.as
      const generated = is(from, SQL) ? ` generated always as (${textOf(from)}) stored` : ''
      const unique = column.isUnique ? ` ${called(column.uniqueName)}unique` : ''
      return `"${column.name}" ${column.getSQLType()}${byItself}${numbered}${generated}${column.notNull ? ' not null' : ''}${column.primary ? ' primary key' : ''}${unique}`
    }),
    ...primaryKeys.map(key => `${called(key.name)}primary key (${names(key.columns)})`),
    ...uniqueConstraints.map(unique => `${called(unique.getName())}unique (${names(unique.columns)})`),
    ...checks.map(check => `${called(check.name)}check (${textOf(check.value)})`),
  ]
  return `create table "${name}" (${parts.join(', ')})`
}

function referencesSql(table: PgTable): string[] {
  const { name, foreignKeys } = getTableConfig(table)
  return foreignKeys.map(({ reference, onDelete }) => {
    const { name: own, columns, foreignTable, foreignColumns } = reference()
    const to = `"${getTableConfig(foreignTable).name}" (${names(foreignColumns)})`
    return `alter table "${name}" add ${called(own)}foreign key (${names(columns)}) references ${to} on delete ${onDelete ?? 'no action'}`
  })
}

/** Each column and each constraint of a schema, as PostgreSQL says them. Of a null that is not allowed its columns tell. */
const catalogue = (query: Rows, schema: string) =>
  query(`
    select c.relname as table, a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
      a.attidentity as identity, a.attgenerated as generated, pg_get_expr(d.adbin, d.adrelid) as says
    from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = '${schema}'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
    union all
    select c.relname, k.conname, 'constraint ' || k.contype::text, null, null, null, pg_get_constraintdef(k.oid)
    from pg_class c join pg_constraint k on k.conrelid = c.oid
    where c.relnamespace = '${schema}'::regnamespace and k.contype <> 'n'
    order by 1, 3, 2`)
