import type { Fact, Ledger, NewerLog } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { allEnded, goneWorkload, workloadFact, workloadId } from './facts.ts'
import { endAllIn, selectLiving, setRemoved } from './records.ts'

/**
 * A backup was put back: sessions may have ended since, and their keys are others by now, so all of them end, and all tokens. What was removed
 * after it, by an export of the log, is removed again. Gives what the record has to say.
 */
export async function takeWorkloadsIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  newer: NewerLog | undefined,
  at: Date,
): Promise<{ readonly gone: readonly Fact[]; readonly ended: readonly Fact[] }> {
  await endAllIn(t, at, 'a backup was put back')
  const isGone = (id: string) => newer?.facts.isGone(id) === true
  const rows = (await selectLiving(t)).filter(row => ledger.facts.holds(workloadFact(row)))
  const removed = rows.filter(row => isGone(workloadId(row.id)))
  for (const { id } of removed) await setRemoved(t, id, at)
  return { gone: removed.flatMap(goneWorkload), ended: allEnded(ledger.facts) }
}
