import { sql } from 'drizzle-orm'
import { check, pgTable } from 'drizzle-orm/pg-core'
import { z } from 'zod'
import { place } from '#server/access/index.ts'
import { boolean, bytea, integer, jsonbOf, text, textOf, timestamptz } from '#server/store/index.ts'
import { isPlace, isSubjectPrincipal, isWorkloadName } from '#shared/names.ts'

/** The tables of this room, as the migrations make them; what a column is for stands there. */

/** Client keys by their fingerprints, and until when nobody is alarmed by one. */
const replacedKeys = z.array(z.strictObject({ key: z.string(), until: z.iso.datetime() }))
export type ReplacedKeys = z.infer<typeof replacedKeys>

export const workload = pgTable(
  'workload',
  {
    id: text('id').primaryKey(),
    name: textOf(z.string().refine(isWorkloadName))('name').notNull(),
    place: textOf(z.string().refine(isPlace))('place').references(() => place.name),
    idle: integer('idle').notNull(),
    lifetime: integer('lifetime').notNull(),
    createdAt: timestamptz('created_at').notNull(),
    createdBy: text('created_by').notNull(),
    removedAt: timestamptz('removed_at'),
    session: text('session'),
    sshKey: bytea('ssh_key'),
    clientSpki: bytea('client_spki'),
    joinedAt: timestamptz('joined_at'),
    renewedAt: timestamptz('renewed_at'),
    renewedFrom: text('renewed_from'),
    replaced: jsonbOf(replacedKeys)('replaced').notNull().default(sql`'[]'`),
    ended: text('ended'),
  },
  table => [
    check('workload_has_place', sql`${table.place} is not null or ${table.removedAt} is not null`),
    check('workload_idle_check', sql`${table.idle} > 0`),
    check('workload_lifetime_check', sql`${table.lifetime} > 0`),
    check(
      'workload_session',
      sql`(${table.session} is null) = (${table.sshKey} is null) and (${table.session} is null) = (${table.clientSpki} is null)
        and (${table.session} is null) = (${table.joinedAt} is null) and (${table.session} is null) = (${table.renewedAt} is null)`,
    ),
  ],
)

export const workloadToken = pgTable(
  'workload_token',
  {
    hash: bytea('hash').primaryKey(),
    workload: text('workload')
      .notNull()
      .references(() => workload.id),
    createdAt: timestamptz('created_at').notNull(),
    endsAt: timestamptz('ends_at').notNull(),
    usedAt: timestamptz('used_at'),
    madeBy: textOf(z.string().refine(isSubjectPrincipal))('made_by'),
    again: boolean('again').notNull(),
  },
  table => [check('workload_token_hash_check', sql`length(${table.hash}) = 32`)],
)
