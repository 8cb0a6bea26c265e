import type { Authority } from '#server/authority/index.ts'
import { canonicalJson, type Ledger, type StatedRows, type StoredRecord } from '#server/ledger/index.ts'
import type { Store } from '#server/store/index.ts'
import { api } from '#shared/api/index.ts'
import { idsOf } from '#shared/audit/index.ts'
import { toBase64, toHex } from '#shared/bytes.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { parseCheckpoint } from '#shared/merkle/index.ts'
import { type Handled, handle } from '../handle.ts'

export type AuditRoutesDeps = {
  readonly store: Store
  readonly stated: readonly StatedRows[]
  readonly authority: Pick<Authority, 'currentKrl'>
  readonly ledger: Pick<Ledger, 'list' | 'show' | 'checkpoint' | 'inclusionProof' | 'consistencyProof'>
}

/** The audit log with its proofs, for whoever checks it without trusting this server. */
export function auditRoutes({ ledger, store, stated, authority }: AuditRoutesDeps): Handled[] {
  return [
    handle(api.auditTrail.list, async ({ query }) => {
      const records = await ledger.list({
        limit: query.limit,
        ...(query.from === undefined ? {} : { from: BigInt(query.from) }),
        ...(query.before === undefined ? {} : { before: BigInt(query.before) }),
        ...(query.kind === undefined ? {} : { kind: query.kind }),
        ...(query.actor === undefined ? {} : { actor: query.actor }),
        ...(query.since === undefined ? {} : { since: new Date(query.since) }),
        ...(query.until === undefined ? {} : { until: new Date(query.until) }),
        names: [query.person, query.host].filter(name => name !== undefined),
      })
      return { records: records.map(answer) }
    }),
    handle(api.auditTrail.show, async ({ params }) => {
      const index = BigInt(params.index ?? '')
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
    handle(api.auditTrail.state, async ({ query: { kind, after = '', limit } }) => {
      const prefix = idsOf(kind)
      if (after !== '' && !after.startsWith(prefix)) throw invalid('after', `must be the ID of a ${kind}`)
      const page = { after: after.slice(prefix.length) || after, limit }
      const rows = (await stated.find(table => table.kind === kind)?.read(store, page)) ?? []
      return { rows: rows.map(({ id, is }) => ({ id, row: canonicalJson(is) })) }
    }),
    handle(api.auditTrail.krl, async () => {
      const { bytes, signature } = await authority.currentKrl()
      return { base64: toBase64(bytes), signature }
    }),
  ]
}

const answer = ({ index, record, leafHash }: StoredRecord) => ({
  index: index.toString(),
  record,
  leafHash: toHex(leafHash),
})
