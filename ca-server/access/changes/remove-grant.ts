import type { Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { type Line, schemas } from '#shared/api/index.ts'
import { grantText } from '#shared/grant-text.ts'
import { givenTo, grantFact, grantId, shownGrants } from '../facts.ts'
import type { By, Given } from '../port.ts'
import { deleteGrant, selectGrant, selectGrants } from '../records.ts'
import { type ChangeDeps, change, holders, noSuchGrant } from './change.ts'

/**
 * Takes a grant away that the log has, whatever became of its row: one that is hidden now would come back when it is put back. See
 * the door.
 */
export async function removeGrant(deps: ChangeDeps, id: string, by: By): Promise<Given | undefined> {
  const { ledger, store } = deps
  // Whose it is never changes; and it was recorded, so the log vouches for it.
  const [row] = await ledger.vouched(
    async () => {
      const row = await selectGrant(store, id)
      return row?.id === id ? [row] : []
    },
    row => [grantFact(row)],
  )
  if (!row && !ledger.facts.has(grantId(id))) throw noSuchGrant(id)
  const said = row ?? (await recordedGrant(ledger, store, id))
  await change(deps, 'grant remove', holders(ledger, said?.who), by, async t => {
    // By the log: a trigger may keep the row, which counts for nothing from now on.
    if (!(await deleteGrant(t, id)) && !ledger.facts.has(grantId(id))) throw noSuchGrant(id)
    const details = {
      ...(said ? { ...givenTo(said), words: `grant ${id}: ${grantText(said)}` } : {}),
      ...(row ? {} : { row: 'hidden or altered' }),
    }
    await ledger.appendIn(t, [
      { ...by, kind: 'grant-removed', target: id, details, facts: [{ id: grantId(id), is: null }] },
    ])
  })
  return said
}

/** What a grant gives that the database does not show as the log has it, by its record: `undefined` where that is not shown either. */
async function recordedGrant(
  { recordOf, facts }: Pick<Ledger, 'recordOf' | 'facts'>,
  on: Queryable,
  id: string,
): Promise<Given | undefined> {
  const details = (await recordOf(on, grantId(id)))?.details
  if (typeof details !== 'object' || details === null) return undefined
  // Beside what it gives there are words for whoever reads the log.
  const { words: _, before: __, ...said } = { words: undefined, before: undefined, ...details }
  const grant = schemas.newGrant.safeParse({ kind: 'role' in said ? 'role' : 'login', ...said }).data
  // The text is the database's word; what it says is the log's where this holds.
  return grant && facts.holds({ id: grantId(id), is: givenTo(grant) }) ? grant : undefined
}

/**
 * The IDs of what is given to somebody by that name, as the log says it: those too whose rows are hidden or altered, where their records name them
 * or nobody can tell.
 */
export async function grantIdsTo(
  ledger: Pick<Ledger, 'facts' | 'recordOf'>,
  on: Queryable,
  who: string,
): Promise<string[]> {
  const { vouched, hidden } = shownGrants(ledger.facts, await selectGrants(on))
  const ids = vouched.filter(grant => grant.who === who).map(({ id }) => id)
  for (const id of hidden)
    if (((await recordedGrant(ledger, on, id))?.who ?? who) === who) ids.push(`${id}, whose row is hidden`)
  return ids
}

/** What is taken away, for whoever is to touch a passkey for it. */
export async function removalInWords(
  ledger: Pick<Ledger, 'facts' | 'recordOf'>,
  on: Queryable,
  id: string,
): Promise<Line[]> {
  const row = await selectGrant(on, id)
  if (row?.id === id && ledger.facts.holds(grantFact(row)))
    return [
      { name: 'It gives', value: grantText(row) },
      { name: 'Made by', value: `${row.createdBy}, ${row.createdAt}` },
    ]
  if (!ledger.facts.has(grantId(id))) throw noSuchGrant(id)
  const said = await recordedGrant(ledger, on, id)
  return [
    { name: 'Grant', value: `${id}: the database does not say what the audit log says of it` },
    {
      name: 'It gives',
      value: said ? grantText(said) : 'unknown: the database does not show the record of it either',
    },
  ]
}
