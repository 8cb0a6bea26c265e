import type { Entry } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { isPersonIdentity, type PersonIdentity, type TeamName } from '#shared/names.ts'
import { memberFact, memberId } from '../facts.ts'
import type { By, Team, TeamChange } from '../port.ts'
import { deleteMember, insertMember, selectMembers } from '../records.ts'
import { personSubject, withMember } from '../snapshot.ts'
import { type ChangeDeps, change } from './change.ts'

/** All of it or nothing. */
export async function changeTeam(deps: ChangeDeps, team: TeamName, members: TeamChange, by: By): Promise<Team> {
  const { add, remove } = members
  deps.assertFits(now => add.reduce((before, person) => withMember(before, team, person), now), 'persons')
  const touched = { teams: [`team:${team}`], changes: [...add, ...remove].map(personSubject) }
  return change(deps, 'team change', touched, by, async t => {
    const entries: Entry[] = []
    for (const person of new Set(add))
      if (await insertMember(t, team, person, deps.now())) entries.push(teamEntry(team, person, 'added', by))
    for (const person of new Set(remove)) {
      if (!(await deleteMember(t, team, person)) && !deps.ledger.facts.has(memberId(team, person)))
        throw new KeymanError('not-found', `${person} is not in a team ${team}`, { hint: 'see `keyman team list`' })
      entries.push(teamEntry(team, person, 'removed', by))
    }
    await deps.ledger.appendIn(t, entries)
    return readTeam(t, team)
  })
}

async function readTeam(t: Queryable, name: TeamName): Promise<Team> {
  const members = (await selectMembers(t, name)) ?? []
  return { name, members: members.filter(isPersonIdentity) }
}

const teamEntry = (team: TeamName, person: PersonIdentity, change: 'added' | 'removed', by: By): Entry => ({
  ...by,
  kind: 'team-changed',
  target: team,
  details: { person, change },
  facts: [change === 'added' ? memberFact(team, person) : { id: memberId(team, person), is: null }],
})
