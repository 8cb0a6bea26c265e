import { z } from 'zod'
import { type StatedRows, UNREADABLE, WHOLE } from '#server/ledger/index.ts'
import { grantFact, grantId, memberFact, placeFact } from './facts.ts'
import { selectGrantPage, selectPlacePage } from './records.ts'

const memberRow = z
  .object({ team: z.string(), person: z.string() })
  .transform(({ team, person }) => memberFact(team, person))

/** Grants, members of teams, projects and environments. */
export const accessRows: readonly StatedRows[] = [
  {
    kind: 'grant',
    read: async (on, page = WHOLE) =>
      (await selectGrantPage(on, page)).map(({ id, grant }) =>
        grant ? grantFact(grant) : { id: grantId(id), is: UNREADABLE },
      ),
  },
  {
    kind: 'place',
    read: async (on, page = WHOLE) => (await selectPlacePage(on, page)).map(({ name }) => placeFact(name)),
  },
  {
    kind: 'member',
    read(on, { after, limit } = WHOLE) {
      const [team = '', person = ''] = after.split(' ')
      return on.query(
        'select team, person from team_member where (team, person) > ($1, $2) order by team, person limit $3::int',
        [team, person, limit],
        memberRow,
      )
    },
  },
]
