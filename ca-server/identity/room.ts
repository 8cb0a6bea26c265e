import type { Queryable } from '#server/store/index.ts'
import type { IdentityDeps } from './port.ts'
import type { Sessions } from './sessions.ts'
import type { RelyingParty } from './webauthn.ts'

/** What the services of this room share. */
export type Room = {
  readonly deps: IdentityDeps
  readonly rp: RelyingParty
  readonly sessions: Sessions
}

/** One transaction of this room. */
export const inTransaction = <T>({ deps }: Room, name: string, work: (t: Queryable) => Promise<T>): Promise<T> =>
  deps.store.transaction({ name, deadlineMs: 10_000 }, work)

export const addSeconds = (date: Date, seconds: number): Date => new Date(date.getTime() + seconds * 1000)
