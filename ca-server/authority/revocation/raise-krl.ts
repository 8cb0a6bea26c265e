import type { Fact, Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { krlVersions, versionFact } from '#shared/audit/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { raiseKrlVersion } from './records.ts'

const HINT = 'somebody changed the table krl_state: see docs/audit.md; nothing was revoked by this'
/** Versions that other servers may have made since the log was followed. */
const AHEAD = 1_000_000n

/**
 * Takes the lock under which the KRL's versions and contents go forward together, until the commit, and tells the other servers at
 * it. Gives the new version and its time (seconds since 1970), above all that the log knows and above `atLeast`, and the facts that the change has to say last of all: whoever
 * reads the log knows of a version once all is known that it holds, and one version has one content.
 * Throws `internal` where the database names one that hosts would refuse, or after which there would soon be none, or a time that can't be.
 */
export async function raiseKrl(
  { ledger }: { readonly ledger: Pick<Ledger, 'facts'> },
  t: Queryable,
  now: Date,
  atLeast = 0n,
): Promise<{ version: bigint; at: bigint; facts: Fact[] }> {
  const { newest, all } = krlVersions(ledger.facts.ids)
  const known = newest?.version ?? 0n
  const above = known > atLeast ? known : atLeast
  const { version, at } = await raiseKrlVersion(t, { above, at: now })
  if (version <= above || version > above + AHEAD)
    throw new KeymanError('internal', `the database gives the KRL version ${version} after ${above}`, {
      hint: HINT,
    })
  // It stands in what the log says of the version, and before 1970 it would be read by nobody: hosts would hear of no version any more.
  if (at < (newest?.at ?? 0n))
    throw new KeymanError(
      'internal',
      `the database says that version ${version} of the KRL is older than the one before`,
      {
        hint: HINT,
      },
    )
  await t.execute(`select pg_notify('revocations', $1)`, [version.toString()])
  return { version, at, facts: [versionFact(version, at), ...all.map(id => ({ id, is: null, until: now }))] }
}
