import type { StatedRows } from '#server/ledger/index.ts'
import { hostFact } from './facts.ts'
import { selectLiving } from './records.ts'

/** Hosts. Join tokens are looked at when somebody comes with one, and end by themselves. */
export const hostRows: StatedRows = {
  kinds: ['host:'],
  read: async on => (await selectLiving(on)).map(hostFact),
}
