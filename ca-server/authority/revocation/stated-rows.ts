import type { StatedRows } from '#server/ledger/index.ts'
import { builder, rows } from '#server/store/index.ts'
import { revokedFact, revokedIntervals, revokedKeyFact, versionFact } from '#shared/audit/index.ts'
import { revokedCertificate, revokedKey } from '../tables.ts'
import { selectKrlState } from './records.ts'

/**
 * What is revoked, as the tables of an earlier release say it, to be taken over. From then on the tables are an index, which
 * nothing is read from that counts.
 */
export const revokedRows: Pick<StatedRows, 'read'> = {
  async read(on) {
    const { authority, serial, until } = revokedCertificate
    const certificates = await rows(on, builder.select({ authority, serial, until }).from(revokedCertificate))
    const keys = await rows(on, builder.select({ fingerprint: revokedKey.fingerprint }).from(revokedKey))
    const state = await selectKrlState(on)
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
      ...(state ? [versionFact(state.version, state.at)] : []),
    ]
  },
}
