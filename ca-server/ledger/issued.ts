import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { isSealed } from './log/seal.ts'
import type { CertificateSelector, IssuedCertificate } from './records.ts'

const sealedRow = z
  .object({
    index: z.bigint(),
    request_id: z.string(),
    kind: z.string(),
    part: z.int(),
    actor: z.string(),
    at: z.date(),
    record: z.string(),
    proof: z.string().nullable(),
    seal: z.instanceof(Uint8Array).nullable(),
  })
  .transform(({ request_id, at, proof, ...rest }) => ({
    ...rest,
    requestId: request_id,
    at: at.toISOString(),
    proof: proof ?? undefined,
  }))

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
  const rows = await t.query(
    `select index, request_id, kind, part, actor, at, record, proof, seal from ledger_record
       where index in (select i::bigint from jsonb_array_elements_text($1::jsonb) as i)`,
    [JSON.stringify(named.map(({ record }) => record.toString()))],
    sealedRow,
  )
  const said = new Map<bigint, IssuedCertificate>()
  const unsealed = rows.filter(({ seal }) => seal === null)
  const strange = unsealed.length === 0 ? [] : await unproven(unsealed)
  for (const row of rows) {
    const { index, seal } = row
    const isOurs = seal === null ? index < size && !strange.includes(index) : isSealed(sealKey, row, seal)
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
