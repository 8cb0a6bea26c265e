import type { StatedRows } from '#server/ledger/index.ts'
import { grantFact, memberFact } from './facts.ts'
import { selectGrants, selectTeamRows } from './records.ts'

/** Grants and members of teams. */
export const accessRows: StatedRows = {
  kinds: ['grant:', 'member:'],
  async read(on) {
    const members = (await selectTeamRows(on)).flatMap(({ name, person }) =>
      person === null ? [] : [memberFact(name, person)],
    )
    return [...(await selectGrants(on)).map(grantFact), ...members]
  },
}
