import type { Fact, Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { krlVersions, versionFact } from './facts.ts'
import { raiseKrlVersion } from './records.ts'

/**
 * Takes the lock under which the KRL's versions and contents go forward together, until the commit, and tells the other servers at
 * it. Gives the new version, above all that the log knows and above `atLeast`, and the facts that the change's first record has to say.
 */
export async function raiseKrl(
  { ledger }: { readonly ledger: Pick<Ledger, 'facts'> },
  t: Queryable,
  now: Date,
  atLeast = 0n,
): Promise<{ version: bigint; facts: Fact[] }> {
  const { newest, all } = krlVersions(ledger.facts.ids)
  const known = newest?.version ?? 0n
  const { version, at } = await raiseKrlVersion(t, { above: known > atLeast ? known : atLeast, at: now })
  await t.execute(`select pg_notify('revocations', $1)`, [version.toString()])
  return { version, facts: [versionFact(version, at), ...all.map(id => ({ id, is: null, until: now }))] }
}
