import type { Fact, Ledger, NewerLog } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { isPersonIdentity, isTeamName } from '#shared/names.ts'
import { grantFact, grantId, roleId } from './facts.ts'
import { deleteGrant, deleteMember, deleteRole, selectGrants } from './records.ts'

/**
 * A backup was put back, and an export of the log says what was taken away after it: grants and members of teams are taken away again. So is
 * a grant or an own role that was changed: the log has what it is now by a digest alone, and the backup's may give more; with a role go the grants
 * of it, which would give whatever the next one of that name does. Gives what the record has to say, and the places that were removed, which come back, since somebody's rows may hold them.
 */
export async function takeAccessIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  { facts, changed }: NewerLog,
): Promise<{ readonly gone: readonly Fact[]; readonly changed: readonly Fact[]; readonly places: readonly string[] }> {
  const gone = (kind: string) => [...ledger.facts.ids(kind)].filter(id => !facts.has(id))
  const narrowed = (kind: string) => [...ledger.facts.ids(kind)].filter(id => facts.has(id) && changed.has(id))
  const members = gone('member:')
  const roles = { gone: gone(roleId('')), changed: narrowed(roleId('')) }
  const isOfThese = new Set([...roles.gone, ...roles.changed])
  const given = (await selectGrants(t)).flatMap(grant =>
    grant.kind === 'role' && isOfThese.has(roleId(grant.role)) && ledger.facts.holds(grantFact(grant))
      ? [grantId(grant.id)]
      : [],
  )
  const grants = [...new Set([...gone(grantId('')), ...given])]
  const changedGrants = narrowed(grantId('')).filter(id => !grants.includes(id))
  for (const id of isOfThese) await deleteRole(t, id.slice(roleId('').length))
  for (const id of [...grants, ...changedGrants]) await deleteGrant(t, id.slice(grantId('').length))
  for (const id of members) {
    const [team = '', person = ''] = id.slice('member:'.length).split(' ')
    if (isTeamName(team) && isPersonIdentity(person)) await deleteMember(t, team, person)
  }
  const ended = (ids: readonly string[]) => ids.map(id => ({ id, is: null }))
  const places = gone('place:').map(id => id.slice('place:'.length))
  return {
    gone: ended([...grants, ...roles.gone, ...members]),
    changed: ended([...changedGrants, ...roles.changed]),
    places,
  }
}
