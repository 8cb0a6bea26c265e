import { sql } from 'drizzle-orm'
import { check, pgTable, primaryKey } from 'drizzle-orm/pg-core'
import { z } from 'zod'
import { bigint, boolean, bytea, integer, jsonbOf, text, textOf, timestamptz } from '#server/store/index.ts'

/** The tables of this room, as the migrations make them; what a column is for stands there. */

export const AUTHORITY_PURPOSES = ['ssh-user', 'ssh-host', 'machines'] as const
const purpose = z.enum(AUTHORITY_PURPOSES)
export type Purpose = z.infer<typeof purpose>
const state = z.enum(['active', 'standby', 'retired'])
export type KeyState = z.infer<typeof state>

export const authorityKey = pgTable(
  'authority_key',
  {
    label: text('label').primaryKey(),
    purpose: textOf(purpose)('purpose').notNull(),
    state: textOf(state)('state').notNull(),
    spki: bytea('spki').notNull(),
    certificate: text('certificate'),
    incarnation: text('incarnation').notNull(),
    createdAt: timestamptz('created_at').notNull(),
  },
  key => [
    check('authority_key_purpose_check', sql`${key.purpose} in ('ssh-user', 'ssh-host', 'machines')`),
    check('authority_key_state_check', sql`${key.state} in ('active', 'standby', 'retired')`),
    check('authority_key_check', sql`(${key.purpose} = 'ssh-host') = (${key.certificate} is null)`),
  ],
)

export const serialBlock = pgTable(
  'serial_block',
  {
    authority: text('authority')
      .notNull()
      .references(() => authorityKey.label),
    incarnation: text('incarnation').notNull(),
    next: bigint('next').notNull(),
  },
  block => [
    primaryKey({ columns: [block.authority, block.incarnation] }),
    check('serial_block_next_check', sql`${block.next} > 0`),
  ],
)

export const krlState = pgTable(
  'krl_state',
  {
    singleton: boolean('singleton').primaryKey().default(sql`true`),
    version: bigint('version').notNull(),
    at: timestamptz('at').notNull(),
  },
  krl => [check('krl_state_singleton_check', sql`${krl.singleton}`)],
)

export const revocation = pgTable('revocation', {
  id: text('id').primaryKey(),
  target: text('target').notNull(),
  reason: text('reason'),
  certificates: integer('certificates').notNull(),
  sessions: integer('sessions').notNull(),
  krlVersion: bigint('krl_version').notNull(),
  at: timestamptz('at').notNull(),
  byActor: text('by_actor').notNull(),
})

export const revokedCertificate = pgTable(
  'revoked_certificate',
  {
    authority: text('authority')
      .notNull()
      .references(() => authorityKey.label),
    serial: bigint('serial').notNull(),
    keyId: text('key_id').notNull(),
    until: bigint('until'),
    revocation: text('revocation').references(() => revocation.id),
  },
  revoked => [
    primaryKey({ columns: [revoked.authority, revoked.serial] }),
    check('revoked_certificate_serial_check', sql`${revoked.serial} > 0`),
  ],
)

export const revokedKey = pgTable('revoked_key', {
  fingerprint: text('fingerprint').primaryKey(),
  revocation: text('revocation')
    .notNull()
    .references(() => revocation.id),
})

export const trustBundle = pgTable('trust_bundle', {
  version: integer('version').primaryKey(),
  document: text('document').notNull(),
  signatures: jsonbOf(z.array(z.string()))('signatures').notNull(),
  changesRoots: boolean('changes_roots').notNull(),
  publishedAt: timestamptz('published_at').notNull(),
})
