import { type Ledger, RECORD_KINDS, type RecordKind, type StoredRecord } from '#server/ledger/index.ts'
import { int8 } from '#shared/api/fields.ts'
import { api } from '#shared/api/index.ts'
import { toHex } from '#shared/bytes.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { parseCheckpoint } from '#shared/merkle/index.ts'
import { type Handled, handle } from './handle.ts'

export type AuditRoutesDeps = {
  readonly ledger: Pick<Ledger, 'list' | 'show' | 'checkpoint' | 'inclusionProof' | 'consistencyProof'>
}

/** The audit log with its proofs, for whoever checks it without trusting this server. */
export function auditRoutes({ ledger }: AuditRoutesDeps): Handled[] {
  return [
    handle(api.auditTrail.list, async ({ query }) => {
      const records = await ledger.list({
        limit: query.limit,
        ...(query.from === undefined ? {} : { from: BigInt(query.from) }),
        ...(query.before === undefined ? {} : { before: BigInt(query.before) }),
        ...(query.kind === undefined ? {} : { kind: kindOf(query.kind) }),
        ...(query.actor === undefined ? {} : { actor: query.actor }),
        ...(query.since === undefined ? {} : { since: new Date(query.since) }),
        ...(query.until === undefined ? {} : { until: new Date(query.until) }),
        names: [query.person, query.host].filter(name => name !== undefined),
      })
      return { records: records.map(answer) }
    }),
    handle(api.auditTrail.show, async ({ params }) => {
      const index = indexOf(params.index ?? '')
      const record = await ledger.show(index)
      if (!record) throw new KeymanError('not-found', `the audit log has no record ${index}`)
      const checkpoint = await ledger.checkpoint()
      const proof = await ledger.inclusionProof(index, parseCheckpoint(checkpoint).size)
      return { ...answer(record), checkpoint, proof: proof.map(toHex) }
    }),
    handle(api.auditTrail.checkpoint, async () => ({ checkpoint: await ledger.checkpoint() })),
    handle(api.auditTrail.consistency, async ({ query }) => {
      const proof = await ledger.consistencyProof(BigInt(query.from), BigInt(query.to))
      return { proof: proof.map(toHex) }
    }),
  ]
}

const answer = ({ index, record, leafHash }: StoredRecord) => ({
  index: index.toString(),
  record,
  leafHash: toHex(leafHash),
})

function kindOf(text: string): RecordKind {
  const kind = RECORD_KINDS.find(known => known === text)
  if (kind) return kind
  throw invalid('kind', `must be one of ${RECORD_KINDS.join(', ')}`)
}

function indexOf(text: string): bigint {
  const parsed = int8.safeParse(text)
  if (parsed.success) return BigInt(parsed.data)
  throw invalid('index', parsed.error.issues[0]?.message ?? 'must be a whole number')
}
