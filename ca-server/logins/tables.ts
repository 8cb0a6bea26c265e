import { sql } from 'drizzle-orm'
import { check, pgTable, primaryKey } from 'drizzle-orm/pg-core'
import { z } from 'zod'
import { bigintAsNumber, boolean, integer, text, textOf, timestamptz } from '#server/store/index.ts'
import { LOGIN_METHODS } from '#shared/api/resources/host-stream.ts'
import { isHostName, isLogin, isSubjectPrincipal } from '#shared/names.ts'

/** The tables of this room, as the migrations make them; what a column is for stands there. */

const hostName = textOf(z.string().refine(isHostName))

export const hostLogin = pgTable(
  'host_login',
  {
    host: hostName('host').notNull(),
    record: text('record').notNull(),
    number: bigintAsNumber('number').notNull(),
    login: textOf(z.string().refine(isLogin))('login').notNull(),
    method: textOf(z.enum(LOGIN_METHODS))('method').notNull(),
    key: text('key'),
    keyId: text('key_id'),
    serial: text('serial'),
    authority: text('authority'),
    subject: textOf(z.string().refine(isSubjectPrincipal))('subject'),
    recorded: boolean('recorded'),
    address: text('address').notNull(),
    port: integer('port').notNull(),
    openedAt: timestamptz('opened_at').notNull(),
    closedAt: timestamptz('closed_at'),
    endedBy: text('ended_by'),
  },
  table => [
    primaryKey({ columns: [table.host, table.record, table.number] }),
    check('host_login_number_check', sql`${table.number} > 0`),
    check('host_login_port_check', sql`${table.port} between 1 and 65535`),
  ],
)

export const hostLoginTold = pgTable('host_login_told', {
  host: hostName('host').primaryKey(),
  record: text('record').notNull(),
  number: bigintAsNumber('number').notNull(),
})
