import { sql } from 'drizzle-orm'
import { check, pgTable, primaryKey, unique } from 'drizzle-orm/pg-core'
import { bigint, boolean, bytea, integer, numericOf, text, timestamptz } from '#server/store/index.ts'

/** The tables of this room, as the migrations make them; what a column is for stands there. */

export const ledgerHead = pgTable(
  'ledger_head',
  {
    singleton: boolean('singleton').primaryKey().default(sql`true`),
    size: bigint('size').notNull(),
  },
  head => [
    check('ledger_head_singleton_check', sql`${head.singleton}`),
    check('ledger_head_size_check', sql`${head.size} >= 0`),
  ],
)

export const ledgerRecord = pgTable(
  'ledger_record',
  {
    index: bigint('index').primaryKey(),
    requestId: text('request_id').notNull(),
    kind: text('kind').notNull(),
    part: integer('part').notNull().default(sql`0`),
    actor: text('actor').notNull(),
    at: timestamptz('at').notNull(),
    record: text('record').notNull(),
    proof: text('proof'),
    seal: bytea('seal'),
  },
  record => [
    unique('ledger_record_request').on(record.requestId, record.kind, record.part),
    check('ledger_record_index_check', sql`${record.index} >= 0`),
    check('ledger_record_seal_check', sql`length(${record.seal}) = 32`),
  ],
)

export const issuedCertificate = pgTable(
  'issued_certificate',
  {
    authority: text('authority').notNull(),
    serial: numericOf(49)('serial').notNull(),
    keyId: text('key_id').notNull(),
    subjectKey: text('subject_key').notNull(),
    person: text('person'),
    session: text('session'),
    host: text('host'),
    validAfter: bigint('valid_after').notNull(),
    validBefore: bigint('valid_before').notNull(),
    record: bigint('record').notNull(),
  },
  issued => [
    primaryKey({ name: 'issued_certificate_serial', columns: [issued.authority, issued.serial] }),
    check('issued_certificate_serial_check', sql`${issued.serial} > 0`),
  ],
)

export const accessEpoch = pgTable(
  'access_epoch',
  {
    subject: text('subject').primaryKey(),
    epoch: bigint('epoch').notNull(),
  },
  epoch => [check('access_epoch_epoch_check', sql`${epoch.epoch} > 0`)],
)

export const ledgerTile = pgTable(
  'ledger_tile',
  {
    level: integer('level').notNull(),
    index: bigint('index').notNull(),
    hashes: bytea('hashes').notNull(),
  },
  tile => [
    primaryKey({ columns: [tile.level, tile.index] }),
    check('ledger_tile_level_check', sql`${tile.level} >= 0`),
    check('ledger_tile_index_check', sql`${tile.index} >= 0`),
    check(
      'ledger_tile_hashes_check',
      sql`length(${tile.hashes}) % 32 = 0 and length(${tile.hashes}) between 32 and 8192`,
    ),
  ],
)

export const ledgerTree = pgTable(
  'ledger_tree',
  {
    singleton: boolean('singleton').primaryKey().default(sql`true`),
    size: bigint('size').notNull(),
  },
  tree => [
    check('ledger_tree_singleton_check', sql`${tree.singleton}`),
    check('ledger_tree_size_check', sql`${tree.size} >= 0`),
  ],
)

export const ledgerCheckpoint = pgTable(
  'ledger_checkpoint',
  {
    size: bigint('size').primaryKey(),
    note: text('note').notNull(),
    at: timestamptz('at').notNull(),
  },
  checkpoint => [check('ledger_checkpoint_size_check', sql`${checkpoint.size} >= 0`)],
)

export const serverSecret = pgTable('server_secret', {
  name: text('name').primaryKey(),
  wrapped: bytea('wrapped').notNull(),
  wrappedToo: bytea('wrapped_too'),
  createdAt: timestamptz('created_at').notNull(),
})
