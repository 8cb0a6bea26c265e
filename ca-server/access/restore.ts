import type { Fact, Ledger, NewerLog } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { isPersonIdentity, isTeamName } from '#shared/names.ts'
import { deleteGrant, deleteMember } from './records.ts'

/**
 * A backup was put back, and an export of the log says what was taken away after it: grants and members of teams are taken away again. So is
 * a grant that was changed: the log has what it is now by a digest alone, and the backup's may give more. Gives what the record has to say, and
 * the places that were removed, which come back, since somebody's rows may hold them.
 */
export async function takeAccessIn(
  ledger: Pick<Ledger, 'facts'>,
  t: Queryable,
  { facts, changed }: NewerLog,
): Promise<{ readonly gone: readonly Fact[]; readonly changed: readonly Fact[]; readonly places: readonly string[] }> {
  const gone = (kind: string) => [...ledger.facts.ids(kind)].filter(id => !facts.has(id))
  const [grants, members] = [gone('grant:'), gone('member:')]
  const narrowed = [...ledger.facts.ids('grant:')].filter(id => facts.has(id) && changed.has(id))
  for (const id of [...grants, ...narrowed]) await deleteGrant(t, id.slice('grant:'.length))
  for (const id of members) {
    const [team = '', person = ''] = id.slice('member:'.length).split(' ')
    if (isTeamName(team) && isPersonIdentity(person)) await deleteMember(t, team, person)
  }
  const ended = (ids: readonly string[]) => ids.map(id => ({ id, is: null }))
  const places = gone('place:').map(id => id.slice('place:'.length))
  return { gone: ended([...grants, ...members]), changed: ended(narrowed), places }
}
