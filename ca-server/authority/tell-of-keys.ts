import type { HeldKeys } from './held-keys.ts'
import type { KeyRow } from './records.ts'

/**
 * Tells of rows that are no authority keys and of keystores that are away, each once, since both are looked at again and again. What one that is away
 * holds by now nobody knows: of a row that may be its key it is said so, and no more.
 */
export function tellOfKeys(
  held: Pick<HeldKeys, 'away'>,
  alarm: (message: string) => void,
): (refused: readonly KeyRow[]) => void {
  const told = new Set<string>()
  const unsure = new Set<string>()
  let before: readonly string[] = []
  return refused => {
    const away = held.away()
    for (const { name, why, held } of away)
      if (!before.includes(name))
        alarm(`${name} does not answer: ${why}${held ? `. It held ${held.join(', ') || 'no key'}` : ''}`)
    before = away.map(({ name }) => name)
    for (const { label, purpose, state } of refused) {
      const row = `authority_key has a row ${JSON.stringify(label)} (${purpose}, ${state})`
      if (told.has(label)) continue
      if (away.length === 0) {
        told.add(label)
        alarm(
          `ALARM: ${row} that is no key of this server's keystores nor of the root of trust: somebody changed the database; it counts for nothing`,
        )
      } else if (!unsure.has(label)) {
        unsure.add(label)
        alarm(
          `${row} that may be a key or none, while ${before.join(' and ')} does not answer: until then it counts for nothing`,
        )
      }
    }
  }
}
