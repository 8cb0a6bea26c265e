import { sql } from 'drizzle-orm'
import { type AnyPgColumn, check, pgTable, primaryKey } from 'drizzle-orm/pg-core'
import { z } from 'zod'
import { boolean, integer, jsonbOf, text, textOf, timestamptz } from '#server/store/index.ts'
import { schemas } from '#shared/api/index.ts'
import { isPersonIdentity, isPlace, isRoleName, isTeamName } from '#shared/names.ts'

/** The tables of this room, as the migrations make them; what a column is for stands there. */

const teamName = z.string().refine(isTeamName)
const placeName = z.string().refine(isPlace)

export const team = pgTable('team', {
  name: textOf(teamName)('name').primaryKey(),
  createdAt: timestamptz('created_at').notNull(),
})

export const teamMember = pgTable(
  'team_member',
  {
    team: textOf(teamName)('team')
      .notNull()
      .references(() => team.name),
    person: textOf(z.string().refine(isPersonIdentity))('person').notNull(),
  },
  table => [primaryKey({ columns: [table.team, table.person] })],
)

export const place = pgTable(
  'place',
  {
    name: textOf(placeName)('name').primaryKey(),
    createdAt: timestamptz('created_at').notNull(),
    project: text('project')
      .generatedAlwaysAs(sql`case when position('/' in name) > 0 then split_part(name, '/', 1) end`)
      .references((): AnyPgColumn => place.name),
  },
  table => [check('place_name_check', sql`${table.name} ~ '^[a-z][a-z0-9-]{0,38}(/[a-z][a-z0-9-]{0,38})?$'`)],
)

export const role = pgTable(
  'role',
  {
    name: textOf(z.string().refine(isRoleName))('name').primaryKey(),
    of: textOf(schemas.roleOf)('of').notNull(),
    // Those too that a later release does not know any more.
    actions: jsonbOf(z.array(z.string().max(64)).max(200))('actions').notNull(),
    createdAt: timestamptz('created_at').notNull(),
    createdBy: text('created_by').notNull(),
  },
  table => [
    check('role_name_check', sql`${table.name} ~ '^[a-z][a-z0-9-]{0,38}$'`),
    check('role_of_check', sql`${table.of} in ('organisation', 'place')`),
  ],
)

/** What stands in a selector beside the place, which is a column. */
const selector = z.record(z.string(), z.unknown())

export const accessGrant = pgTable(
  'access_grant',
  {
    id: text('id').primaryKey(),
    who: text('who').notNull(),
    login: text('login'),
    hosts: jsonbOf(selector)('hosts'),
    options: jsonbOf(schemas.grantOptions)('options'),
    maxLifetime: integer('max_lifetime'),
    endsAt: timestamptz('ends_at'),
    createdAt: timestamptz('created_at').notNull(),
    createdBy: text('created_by').notNull(),
    kind: text('kind').notNull().default(sql`'login'`),
    role: text('role'),
    place: textOf(placeName)('place').references(() => place.name),
    names: jsonbOf(schemas.namePatterns)('names'),
    profile: textOf(schemas.tlsProfile)('profile'),
    wildcards: boolean('wildcards'),
  },
  table => [
    check('access_grant_max_lifetime_check', sql`${table.maxLifetime} > 0`),
    check(
      'access_grant_kind',
      sql`case ${table.kind}
        when 'login' then ${table.login} is not null and ${table.hosts} is not null and ${table.options} is not null
          and ${table.maxLifetime} is not null and ${table.role} is null and ${table.names} is null
          and ${table.profile} is null and ${table.wildcards} is null
        when 'role' then ${table.role} is not null and ${table.login} is null and ${table.hosts} is null
          and ${table.options} is null and ${table.maxLifetime} is null and ${table.names} is null
          and ${table.profile} is null and ${table.wildcards} is null
        when 'names' then ${table.names} is not null and ${table.profile} is not null and ${table.wildcards} is not null
          and ${table.maxLifetime} is not null and ${table.role} is null and ${table.login} is null
          and ${table.hosts} is null and ${table.options} is null
        else false end`,
    ),
  ],
)
