import type { Fact, Ledger } from '#server/ledger/index.ts'
import { incarnationNumber, type Queryable } from '#server/store/index.ts'
import { revokedFact } from '#shared/audit/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { TrustBundle } from '#shared/trust/index.ts'
import type { HeldKeys } from '../held-keys.ts'
import { refuseMissing, sortKeys } from '../known-keys.ts'
import { insertBlock, selectHighestNext, selectKeys } from '../records.ts'
import { FIRST_SERIAL, givers, SPAN, serialsFact } from '../serials.ts'
import { raiseKrl } from './raise-krl.ts'

/**
 * A backup was put back. Whatever was issued before is revoked, up to where the new history begins: what was issued after the
 * backup stands in no record, what was revoked after it in no list, and nobody who signs in anew needs any of it. Host
 * certificates stay: hosts could not be reached without. Gives what the records have to say, `raised` the last of them.
 * Throws `conflict` or `denied` where the database lacks an authority that has given serials, or that `bundle` names: what that issued would stay good.
 */
export async function beginSerialsIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  {
    incarnation,
    held,
    bundle,
    at,
  }: {
    readonly incarnation: string
    readonly held: Pick<HeldKeys, 'find' | 'labelsOf'>
    /** The newest that was verified. */
    readonly bundle?: TrustBundle | undefined
    readonly at: Date
  },
): Promise<{ readonly krlVersion: bigint; readonly facts: readonly Fact[]; readonly raised: readonly Fact[] }> {
  const base = BigInt(incarnationNumber(incarnation) - 1) * SPAN
  const { version, facts: raised } = await raiseKrl({ ledger }, t, at, base)
  const facts: Fact[] = []
  const rows = await selectKeys(t)
  // Those of a keystore that was lost are known by the bundle.
  const { known } = sortKeys(rows, held, bundle, ledger.facts)
  refuseMissing(known, bundle)
  for (const authority of givers(ledger.facts.ids))
    if (!rows.some(({ label, purpose }) => label === authority && label.startsWith(`${purpose}-`)))
      throw new KeymanError('conflict', `the database lacks the authority key ${authority}, by which it has issued`, {
        hint: 'somebody changed the table authority_key, or the backup is not whole: put the row back, then try again',
      })
  // A row that somebody wrote is no key of ours.
  for (const { label, purpose } of known) {
    if (purpose === 'machines') continue
    const given = (await selectHighestNext(t, label)) ?? 0n
    const next = given < base ? base : (given / SPAN + 1n) * SPAN
    await insertBlock(t, { authority: label, incarnation, next })
    facts.push(serialsFact({ authority: label, incarnation, next }))
    if (purpose === 'ssh-user') facts.push(revokedFact({ authority: label, from: FIRST_SERIAL, to: next - 1n }))
  }
  return { krlVersion: version, facts, raised }
}
