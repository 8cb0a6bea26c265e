import { type StatedRows, UNREADABLE, WHOLE } from '#server/ledger/index.ts'
import { workloadFact, workloadId } from './facts.ts'
import { selectLivingPage } from './records.ts'

/** Workloads. Their sessions and tokens are looked at when somebody comes with one, and end by themselves. */
export const workloadRows: readonly StatedRows[] = [
  {
    kind: 'workload',
    read: async (on, page = WHOLE) =>
      (await selectLivingPage(on, page)).map(({ id, workload }) =>
        workload ? workloadFact(workload) : { id: workloadId(id), is: UNREADABLE },
      ),
  },
]
