/** Pure: which key signs for a purpose, by what the sealed log says, and what that makes of the others. */
import type { Fact, Ledger } from '#server/ledger/index.ts'
import { AUTHORITY_PURPOSES, type KeyRow, type KeyState, type Purpose } from './records.ts'

type Facts = Pick<Ledger['facts'], 'holds' | 'has'>

/** Said at a switch; before the first one the key that is active by its row, and by the bundle, signs. */
export const signerFact = (purpose: Purpose, label: string): Fact => ({ id: `signer:${purpose}`, is: label })

export const isSignerFact = (id: string): boolean => AUTHORITY_PURPOSES.some(purpose => id === `signer:${purpose}`)

/** Whether this key was made the one that signs; undefined where there never was a switch. */
export function isSigner(facts: Facts, { purpose, label }: Pick<KeyRow, 'purpose' | 'label'>): boolean | undefined {
  const fact = signerFact(purpose, label)
  return facts.has(fact.id) ? facts.holds(fact) : undefined
}

/** The state of a key, whatever its row says of who signs. */
export function stateOf(facts: Facts, row: Pick<KeyRow, 'purpose' | 'label' | 'state'>): KeyState {
  const signs = isSigner(facts, row)
  if (signs === undefined) return row.state
  if (signs) return 'active'
  return row.state === 'active' ? 'retired' : row.state
}
