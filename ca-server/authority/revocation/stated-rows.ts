import { z } from 'zod'
import type { StatedRows } from '#server/ledger/index.ts'
import { revokedFact, revokedIntervals, revokedKeyFact, versionFact } from '#shared/audit/index.ts'

const certificateRow = z.object({ authority: z.string(), serial: z.bigint(), until: z.bigint().nullable() })
const keyRow = z.object({ fingerprint: z.string() })
const stateRow = z.object({ version: z.bigint(), at: z.date() })

/**
 * What is revoked, as the tables of an earlier release say it, to be taken over. From then on the tables are an index, which
 * nothing is read from that counts.
 */
export const revokedRows: Pick<StatedRows, 'read'> = {
  async read(on) {
    const certificates = await on.query('select authority, serial, until from revoked_certificate', [], certificateRow)
    const keys = await on.query('select fingerprint from revoked_key', [], keyRow)
    const [state] = await on.query('select version, at from krl_state', [], stateRow)
    const ending = certificates.flatMap(({ until, ...rest }) =>
      until === null ? [] : [{ ...rest, validBefore: until }],
    )
    return [
      ...certificates.flatMap(({ authority, serial, until }) =>
        until === null ? [revokedFact({ authority, from: serial, to: serial })] : [],
      ),
      ...[...Map.groupBy(ending, ({ authority }) => authority)].flatMap(([authority, of]) =>
        revokedIntervals(authority, of).map(revokedFact),
      ),
      ...keys.map(({ fingerprint }) => revokedKeyFact(fingerprint)),
      ...(state ? [versionFact(state.version, BigInt(Math.floor(state.at.getTime() / 1000)))] : []),
    ]
  },
}
