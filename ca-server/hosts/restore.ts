import type { Fact, Ledger, NewerLog } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { goneHost } from './facts.ts'
import { setRemoved } from './records.ts'

/** The same of hosts that were taken out after the backup: see `access/restore.ts`. Their certificates are revoked with the rest. */
export async function takeHostsIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  { facts }: NewerLog,
  at: Date,
): Promise<readonly Fact[]> {
  const gone = [...ledger.facts.ids('host:')].filter(id => !facts.has(id))
  for (const id of gone) await setRemoved(t, id.slice('host:'.length), at)
  return gone.flatMap(id => goneHost(ledger.facts, id.slice('host:'.length)))
}
