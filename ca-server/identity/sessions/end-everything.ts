import type { Queryable } from '#server/store/index.ts'
import { endAllLinks } from '../records/link-records.ts'
import { refuseAllLogins } from '../records/login-records.ts'
import { endAllSessions } from '../records/session-records.ts'

/** Whatever somebody could come in by without touching a passkey: sessions, links, logins and actions under way. */
export async function endEverything(t: Queryable, at: Date): Promise<void> {
  await endAllSessions(t, at)
  await endAllLinks(t, at)
  await refuseAllLogins(t)
}
