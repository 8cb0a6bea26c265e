import type { z } from 'zod'
import type { HostCaller } from '#server/identity/index.ts'
import type { Ledger } from '#server/ledger/index.ts'
import type { Fence, Store } from '#server/store/index.ts'
import type { hostStream, schemas } from '#shared/api/index.ts'
import type { HostName } from '#shared/names.ts'
import type { LoginFilter } from './records.ts'

/** The types of this room's door, `index.ts`. */

export type LoginView = z.infer<typeof schemas.hostLogin>
export type LoginReport = { readonly record: string; readonly events: readonly hostStream.LoginEvent[] }
export type { LoginFilter }

export type LoginsDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'appendIn' | 'certificate'>
  /** The label of a user authority by its key's fingerprint, whatever its state. */
  readonly authorityOf: (fingerprint: string) => string | undefined
  readonly now: () => Date
  /** By host: how many events it may tell of. Throws `too-many-requests`. */
  readonly limiter: { take(key: string, cost?: number): void }
  /** By host: how often it is worth an alarm. */
  readonly alarmLimiter: { take(key: string): void }
  readonly alarm: (message: string) => void
}

export interface Logins {
  /**
   * What a host tells of its logins, in order; what was told before is passed over. Recorded, each event, with what becomes of it. Gives the number of the last
   * event that is known. Throws `invalid-input` for numbers that are not in order, `too-many-requests`.
   */
  report(
    caller: HostCaller,
    report: LoginReport,
    at: { readonly requestId: string; readonly from: string },
  ): Promise<number>
  /** The newest first. */
  list(filter: LoginFilter): Promise<LoginView[]>
  /** How many sessions each host has said that it ended by the order of this number. */
  endedBy(order: bigint): Promise<ReadonlyMap<HostName, number>>
  /** Forgets rows that are older than a year: the log does not. */
  sweep(fence: Fence): Promise<void>
}
