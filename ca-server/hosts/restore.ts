import type { Fact, Ledger, NewerLog } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { changedNameFacts, goneHost, hostFact, hostId } from './facts.ts'
import { selectLiving, setRemoved, updateHost } from './records.ts'

/**
 * The same of hosts that were taken out after the backup: see `access/restore.ts`. Their certificates are revoked with the rest. One that was
 * changed comes back without labels, place and further names: the log has what they are now by a digest alone, and by the backup's somebody
 * might get in who was to get in no more.
 */
export async function takeHostsIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  { facts, changed }: NewerLog,
  at: Date,
): Promise<{ readonly gone: readonly Fact[]; readonly bare: readonly Fact[]; readonly bareNames: readonly string[] }> {
  const vouched = (await selectLiving(t)).filter(row => ledger.facts.holds(hostFact(row)))
  const rows = new Map(vouched.map(row => [hostId(row.id), row]))
  // A row that is not shown could come back as it was.
  const isGone = (id: string) => !facts.has(id) || (changed.has(id) && !rows.has(id))
  const gone = [...ledger.facts.ids('host:')].filter(isGone)
  for (const id of gone) await setRemoved(t, id.slice('host:'.length), at)
  const others = vouched.filter(row => !isGone(hostId(row.id)) && !facts.holds(hostFact(row)))
  const bare: Fact[] = []
  for (const row of others) {
    const after = { ...row, labels: {}, place: undefined, aliases: [] }
    await updateHost(t, row.id, after)
    bare.push(hostFact(after), ...changedNameFacts(ledger.facts, row.id, { added: [], lost: row.aliases }))
  }
  return {
    gone: gone.flatMap(id => goneHost(ledger.facts, id.slice('host:'.length))),
    bare,
    bareNames: others.map(({ name }) => name),
  }
}
