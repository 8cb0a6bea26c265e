import type { Queryable } from '#server/store/index.ts'
import type { Line } from '#shared/api/index.ts'
import { openTokenIds, tokenFact, tokenId } from './facts.ts'
import type { WorkloadsDeps } from './port.ts'
import { selectOpenTokens, type WorkloadRow } from './records.ts'

/**
 * By which tokens somebody may still become it, for whoever gives it something: whoever made one may have kept it, and gets what is given
 * meanwhile. Of one that the log has and the database does not show, that.
 */
export async function openTokens(
  { ledger, now }: Pick<WorkloadsDeps, 'ledger' | 'now'>,
  on: Queryable,
  { id, name }: WorkloadRow,
): Promise<Line[]> {
  const rows = await selectOpenTokens(on, id)
  const shown = new Set(rows.map(({ hash }) => tokenId(name, hash)))
  const open = rows
    .filter(token => token.endsAt > now() && ledger.facts.holds(tokenFact(name, { ...token, workload: id })))
    .map(({ maker, endsAt }) => `made by ${maker ?? 'the operator'}, good until ${endsAt.toISOString()}`)
    .sort()
  const hidden = openTokenIds(ledger.facts, name)
    .filter(id => !shown.has(id))
    .map(() => 'one that the database does not show')
  const all = [...open, ...hidden]
  return all.length === 0 ? [] : [{ name: 'Who has this token becomes it', value: all.join('; ') }]
}
