import { type Queryable, StoreError } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import type { IdentityDeps } from './port.ts'
import type { Sessions } from './sessions/sessions.ts'
import type { RelyingParty } from './webauthn.ts'

/** What the services of this room share. */
export type Room = {
  readonly deps: IdentityDeps
  readonly rp: RelyingParty
  readonly sessions: Sessions
  /** Of `nonce.ts`. */
  readonly ceremonyKey: Uint8Array
}

/** One transaction of this room. Throws `unavailable` where the database asks to try again, and what `work` threw. */
export async function inTransaction<T>(
  { deps }: Room,
  name: string,
  deadlineMs: number | undefined,
  work: (t: Queryable) => Promise<T>,
): Promise<T> {
  try {
    return await deps.store.transaction({ name, deadlineMs: deadlineMs ?? 10_000 }, work)
  } catch (error) {
    if (error instanceof StoreError && (error.kind === 'retryable' || error.kind === 'ambiguous'))
      throw new KeymanError('unavailable', 'the database cannot do this now', {
        retryAfter: 1,
        hint: 'look whether it was done; if not, try again in a moment',
        cause: error,
      })
    throw error
  }
}

export const addSeconds = (date: Date, seconds: number): Date => new Date(date.getTime() + seconds * 1000)
