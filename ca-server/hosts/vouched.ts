import type { HostName } from '#shared/names.ts'
import { hostFact, hostId } from './facts.ts'
import type { HostsDeps } from './port.ts'
import { type HostRow, selectByName, selectLiving } from './records.ts'

/** Hosts as the log says they are: a row that somebody else wrote or changed is none. */

type Deps = {
  readonly ledger: Pick<HostsDeps['ledger'], 'vouched'>
  readonly store: HostsDeps['store']
}

export const vouchedHosts = ({ ledger, store }: Deps): Promise<HostRow[]> =>
  ledger.vouched(
    () => selectLiving(store),
    row => [hostFact(row)],
    hostId(''),
  )

/** The one of this name, or none. */
export const vouchedHost = ({ ledger, store }: Deps, name: HostName): Promise<HostRow[]> =>
  ledger.vouched(
    async () => {
      const row = await selectByName(store, name)
      return row?.name === name ? [row] : []
    },
    host => [hostFact(host)],
  )
