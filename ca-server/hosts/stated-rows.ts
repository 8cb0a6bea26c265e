import { type StatedRows, UNREADABLE, WHOLE } from '#server/ledger/index.ts'
import { hostFact, hostId } from './facts.ts'
import { selectLivingPage } from './records.ts'

/** Hosts. Join tokens are looked at when somebody comes with one, and end by themselves. */
export const hostRows: readonly StatedRows[] = [
  {
    kind: 'host',
    read: async (on, page = WHOLE) =>
      (await selectLivingPage(on, page)).map(({ id, host }) =>
        host ? hostFact(host) : { id: hostId(id), is: UNREADABLE },
      ),
  },
]
