import { sql } from 'drizzle-orm'
import { check, pgTable } from 'drizzle-orm/pg-core'
import { z } from 'zod'
import { place } from '#server/access/index.ts'
import {
  bigint,
  bigintAsNumber,
  boolean,
  bytea,
  integer,
  jsonbOf,
  text,
  textOf,
  timestamptz,
} from '#server/store/index.ts'
import { finding } from '#shared/api/fields.ts'
import { isHostName, isPlace, isSubjectPrincipal } from '#shared/names.ts'

/** The tables of this room, as the migrations make them; what a column is for stands there. */

const hostName = z.string().refine(isHostName)
const placeName = z.string().refine(isPlace)

export const host = pgTable(
  'host',
  {
    id: text('id').primaryKey(),
    name: textOf(hostName)('name').notNull(),
    aliases: jsonbOf(z.array(hostName))('aliases').notNull().default(sql`'[]'`),
    labels: jsonbOf(z.record(z.string(), z.string()))('labels').notNull(),
    port: integer('port').notNull(),
    address: text('address'),
    createdAt: timestamptz('created_at').notNull(),
    joinedAt: timestamptz('joined_at'),
    removedAt: timestamptz('removed_at'),
    clientSpki: bytea('client_spki'),
    revision: bigintAsNumber('revision').notNull().default(sql`0`),
    contentHash: bytea('content_hash'),
    krlVersion: bigint('krl_version').notNull().default(sql`0`),
    inForce: bigintAsNumber('in_force').notNull().default(sql`0`),
    inForceKrl: bigint('in_force_krl').notNull().default(sql`0`),
    inForceSeal: bytea('in_force_seal'),
    inForceHash: bytea('in_force_hash'),
    connected: boolean('connected').notNull().default(sql`false`),
    lastSeenAt: timestamptz('last_seen_at'),
    message: text('message'),
    failedRevision: bigintAsNumber('failed_revision'),
    streamId: text('stream_id'),
    agentVersion: text('agent_version'),
    sshdVersion: text('sshd_version'),
    place: textOf(placeName)('place').references(() => place.name),
    // What nobody understands is nothing that is found: a row must not keep its host from being read.
    findings: jsonbOf(z.array(finding).catch([]))('findings'),
    seesLogins: boolean('sees_logins').notNull().default(sql`false`),
  },
  table => [
    check('host_port_check', sql`${table.port} between 1 and 65535`),
    check('host_revision_check', sql`${table.revision} >= 0`),
    check('host_in_force_check', sql`${table.inForce} >= 0`),
  ],
)

export const joinToken = pgTable(
  'join_token',
  {
    hash: bytea('hash').primaryKey(),
    host: text('host')
      .notNull()
      .references(() => host.id),
    createdAt: timestamptz('created_at').notNull(),
    endsAt: timestamptz('ends_at').notNull(),
    usedAt: timestamptz('used_at'),
    madeBy: textOf(z.string().refine(isSubjectPrincipal))('made_by'),
  },
  table => [check('join_token_hash_check', sql`length(${table.hash}) = 32`)],
)

export const hostChange = pgTable(
  'host_change',
  {
    singleton: boolean('singleton').primaryKey().default(sql`true`),
    version: bigint('version').notNull(),
  },
  table => [check('host_change_singleton_check', sql`${table.singleton}`)],
)
