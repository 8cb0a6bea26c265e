import { z } from 'zod'
import { type StatedRows, WHOLE } from '#server/ledger/index.ts'
import { revokedKeyFact, versionFact } from '#shared/audit/index.ts'
import { toBase64 } from '#shared/bytes.ts'
import { serialRows } from './serials.ts'

/** A bundle may be 40 kB long. */
const BUNDLES_AT_ONCE = 10

const keyRow = z
  .object({
    label: z.string(),
    purpose: z.string(),
    state: z.string(),
    spki: z.instanceof(Uint8Array),
    certificate: z.string().nullable(),
  })
  .transform(({ label, purpose, state, spki, certificate }) => ({
    id: `authority-key:${label}`,
    is: { purpose, state, spki: toBase64(spki), certificate },
  }))
const bundleRow = z
  .object({ version: z.int(), document: z.string() })
  .transform(({ version, document }) => ({ id: `trust-bundle:${version}`, is: document }))
const revocationRow = z
  .object({ id: z.string(), target: z.string(), certificates: z.int(), sessions: z.int(), krl_version: z.bigint() })
  .transform(({ id, krl_version, ...is }) => ({
    id: `revocation:${id}`,
    is: { ...is, krlVersion: krl_version.toString() },
  }))
const certificateRow = z
  .object({ authority: z.string(), serial: z.bigint(), until: z.bigint().nullable() })
  .transform(({ authority, serial, until }) => ({
    id: `revoked:${authority} ${serial}`,
    is: until === null ? 'ever' : until.toString(),
  }))
const fingerprintRow = z.object({ fingerprint: z.string() }).transform(row => revokedKeyFact(row.fingerprint))
const versionRow = z
  .object({ version: z.bigint(), at: z.date() })
  .transform(({ version, at }) => versionFact(version, BigInt(Math.floor(at.getTime() / 1000))))

/**
 * Authority keys, trust bundles and what is revoked, for whoever audits. Nothing that counts is read from the tables of what is revoked; they
 * are an index of what the log says. (What a bundle states stands in `verified.ts`.)
 */
export const authorityRows: readonly StatedRows[] = [
  ...serialRows,
  {
    kind: 'authority-key',
    read: (on, { after, limit } = WHOLE) =>
      on.query(
        'select label, purpose, state, spki, certificate from authority_key where label > $1 order by label limit $2::int',
        [after, limit],
        keyRow,
      ),
  },
  {
    kind: 'trust-bundle',
    read: (on, { after, limit } = WHOLE) =>
      on.query(
        'select version, document from trust_bundle where version > $1::int order by version limit $2::int',
        [/^[0-9]{1,9}$/.test(after) ? Number(after) : 0, Math.min(limit, BUNDLES_AT_ONCE)],
        bundleRow,
      ),
  },
  {
    kind: 'revocation',
    read: (on, { after, limit } = WHOLE) =>
      on.query(
        `select id, target, certificates, sessions, krl_version from revocation where id > $1 order by id limit $2::int`,
        [after, limit],
        revocationRow,
      ),
  },
  {
    kind: 'revoked',
    read(on, { after, limit } = WHOLE) {
      const [authority = '', serial = ''] = after.split(' ')
      return on.query(
        `select authority, serial, until from revoked_certificate where (authority, serial) > ($1, $2::bigint)
         order by authority, serial limit $3::int`,
        [authority, /^[0-9]{1,18}$/.test(serial) ? serial : '0', limit],
        certificateRow,
      )
    },
  },
  {
    kind: 'revoked-key',
    read: (on, { after, limit } = WHOLE) =>
      on.query(
        'select fingerprint from revoked_key where fingerprint > $1 order by fingerprint limit $2::int',
        [after, limit],
        fingerprintRow,
      ),
  },
  {
    kind: 'krl-version',
    read: async (on, { after } = WHOLE) =>
      after === '' ? await on.query('select version, at from krl_state', [], versionRow) : [],
  },
]
