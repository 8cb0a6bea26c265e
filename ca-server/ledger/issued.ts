import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { isSealed } from './log/seal.ts'
import { type CertificateSelector, type IssuedCertificate, selectSealed } from './records.ts'

const integer = z.string().transform(BigInt)
const issuedRecord = z.object({
  certificate: z.object({
    authority: z.string(),
    serial: integer,
    keyId: z.string(),
    subjectKey: z.string(),
    person: z.string().nullish(),
    session: z.string().nullish(),
    host: z.string().nullish(),
    validAfter: integer,
    validBefore: integer,
  }),
})

/**
 * Of the certificates that the database names those that their own records say were issued, as these say it, and that are what was asked
 * for: another's in the place of one that is to be revoked would have it said that it was. `size`: of the log as it was followed;
 * `unproven`: which of these are not what was read there. A record from before records were sealed has no other proof.
 */
export async function asRecorded(
  t: Queryable,
  {
    sealKey,
    size,
    unproven,
    alarm,
  }: {
    readonly sealKey: Uint8Array
    readonly size: bigint
    readonly unproven: (rows: readonly { readonly index: bigint; readonly record: string }[]) => Promise<bigint[]>
    readonly alarm: (message: string) => void
  },
  by: CertificateSelector,
  named: readonly IssuedCertificate[],
): Promise<IssuedCertificate[]> {
  if (named.length === 0) return []
  const rows = await selectSealed(
    t,
    named.map(({ record }) => record),
  )
  const said = new Map<bigint, IssuedCertificate>()
  const unsealed = rows.filter(({ seal }) => seal === null)
  const strange = unsealed.length === 0 ? [] : await unproven(unsealed)
  for (const row of rows) {
    const isOurs =
      row.seal === null
        ? row.index < size && !strange.includes(row.index)
        : isSealed(sealKey, { ...row, at: row.at.toISOString(), proof: row.proof ?? undefined }, row.seal)
    const issued = isOurs ? issuedRecord.safeParse(JSON.parse(row.record)) : undefined
    if (!issued?.success) continue
    const { person = null, session = null, host = null, ...rest } = issued.data.certificate
    said.set(row.index, { ...rest, person, session, host, record: row.index })
  }
  const found = new Map<string, IssuedCertificate>()
  for (const each of named) {
    const issued = said.get(each.record)
    if (issued && isAsked(by, issued)) found.set(`${issued.authority} ${issued.serial}`, issued)
    else
      alarm(
        `the database names the certificate ${each.serial} of ${each.authority} where another was to be revoked: somebody changed it; it counts for nothing`,
      )
  }
  return [...found.values()]
}

function isAsked(by: CertificateSelector, issued: IssuedCertificate): boolean {
  if ('session' in by) return issued.session === by.session && (by.person === undefined || issued.person === by.person)
  if ('person' in by) return issued.person === by.person
  if ('host' in by) return issued.host === by.host
  if ('keyId' in by) return issued.keyId === by.keyId
  if ('subjectKey' in by) return issued.subjectKey === by.subjectKey
  return issued.authority === by.authority && issued.serial === by.serial
}
