import { asc, gt, sql } from 'drizzle-orm'
import { type StatedRows, UNREADABLE, WHOLE } from '#server/ledger/index.ts'
import { builder, eachRow, rows } from '#server/store/index.ts'
import { revokedKeyFact, versionFact } from '#shared/audit/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { selectKrlState } from './revocation/records.ts'
import { serialRows } from './serials.ts'
import { authorityKey, revocation, revokedCertificate, revokedKey, trustBundle } from './tables.ts'

/** A bundle may be 40 kB long. */
const BUNDLES_AT_ONCE = 10

/**
 * Authority keys, trust bundles and what is revoked, for whoever audits. Nothing that counts is read from the tables of what is revoked; they
 * are an index of what the log says. (What a bundle states stands in `verified.ts`.)
 */
export const authorityRows: readonly StatedRows[] = [
  ...serialRows,
  {
    kind: 'authority-key',
    async read(on, { after, limit } = WHOLE) {
      const { label } = authorityKey
      const page = builder.select().from(authorityKey).where(gt(label, after)).orderBy(asc(label)).limit(limit)
      return (await eachRow(on, page)).map(({ row, fits }) => ({
        id: `authority-key:${fits.label}`,
        is: row
          ? { purpose: row.purpose, state: row.state, spki: toBase64(row.spki), certificate: row.certificate }
          : UNREADABLE,
      }))
    },
  },
  {
    kind: 'trust-bundle',
    async read(on, { after, limit } = WHOLE) {
      const { version, document } = trustBundle
      const page = builder
        .select({ version, document })
        .from(trustBundle)
        .where(gt(version, /^[0-9]{1,9}$/.test(after) ? Number(after) : 0))
        .orderBy(asc(version))
        .limit(Math.min(limit, BUNDLES_AT_ONCE))
      return (await rows(on, page)).map(row => ({ id: `trust-bundle:${row.version}`, is: row.document }))
    },
  },
  {
    kind: 'revocation',
    async read(on, { after, limit } = WHOLE) {
      const { id } = revocation
      const page = builder.select().from(revocation).where(gt(id, after)).orderBy(asc(id)).limit(limit)
      return (await rows(on, page)).map(({ id, target, certificates, sessions, krlVersion }) => ({
        id: `revocation:${id}`,
        is: { target, certificates, sessions, krlVersion: krlVersion.toString() },
      }))
    },
  },
  {
    kind: 'revoked',
    async read(on, { after, limit } = WHOLE) {
      const { authority, serial, until } = revokedCertificate
      const [from = '', above = ''] = after.split(' ')
      const page = builder
        .select({ authority, serial, until })
        .from(revokedCertificate)
        .where(sql`(${authority}, ${serial}) > (${from}, ${/^[0-9]{1,18}$/.test(above) ? above : '0'}::bigint)`)
        .orderBy(asc(authority), asc(serial))
        .limit(limit)
      return (await rows(on, page)).map(({ authority, serial, until }) => ({
        id: `revoked:${authority} ${serial}`,
        is: until === null ? 'ever' : until.toString(),
      }))
    },
  },
  {
    kind: 'revoked-key',
    async read(on, { after, limit } = WHOLE) {
      const { fingerprint } = revokedKey
      const page = builder
        .select({ fingerprint })
        .from(revokedKey)
        .where(gt(fingerprint, after))
        .orderBy(asc(fingerprint))
        .limit(limit)
      return (await rows(on, page)).map(row => revokedKeyFact(row.fingerprint))
    },
  },
  {
    kind: 'krl-version',
    async read(on, { after } = WHOLE) {
      const state = after === '' ? await selectKrlState(on) : undefined
      return state ? [versionFact(state.version, state.at)] : []
    },
  },
]
