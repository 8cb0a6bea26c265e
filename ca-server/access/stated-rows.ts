import { type StatedRows, UNREADABLE, WHOLE } from '#server/ledger/index.ts'
import { grantFact, grantId, memberFact, placeFact, roleFact, roleId } from './facts.ts'
import { selectGrantPage, selectMemberPage, selectPlacePage, selectRolePage } from './records.ts'

/** Projects and environments, before all that is in them; grants, own roles, members of teams. */
export const accessRows: readonly StatedRows[] = [
  {
    kind: 'place',
    read: async (on, page = WHOLE) => (await selectPlacePage(on, page)).map(({ name }) => placeFact(name)),
  },
  {
    kind: 'grant',
    read: async (on, page = WHOLE) =>
      (await selectGrantPage(on, page)).map(({ id, grant }) =>
        grant ? grantFact(grant) : { id: grantId(id), is: UNREADABLE },
      ),
  },
  {
    kind: 'role',
    read: async (on, page = WHOLE) =>
      (await selectRolePage(on, page)).map(({ name, role }) =>
        role ? roleFact(role) : { id: roleId(name), is: UNREADABLE },
      ),
  },
  {
    kind: 'member',
    async read(on, { after, limit } = WHOLE) {
      const [team = '', person = ''] = after.split(' ')
      return (await selectMemberPage(on, { team, person }, limit)).map(row => memberFact(row.team, row.person))
    },
  },
]
