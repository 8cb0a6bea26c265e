import { randomUUID } from 'node:crypto'
import { KeymanError } from '#shared/errors.ts'
import { withDeadline } from '../deadline.ts'
import type { Store } from '../port.ts'

const WAIT_MS = 5_000

/**
 * Throws `unavailable` where a notification to oneself does not arrive. A pooler in transaction mode takes LISTEN and answers
 * that all is well; nothing is heard ever after, and a lock of a connection keeps nobody out.
 */
export async function tryNotifications(store: Pick<Store, 'listen' | 'notify'>): Promise<void> {
  const payload = randomUUID()
  const { promise: heard, resolve } = Promise.withResolvers<void>()
  const stop = await store.listen('keyman_try', said => {
    if (said === payload) resolve()
  })
  try {
    await store.notify('keyman_try', payload)
    await withDeadline(heard, WAIT_MS, () => {
      const message =
        'the database sends no notifications to this server, as behind a pooler in transaction mode: what another server revokes would be heard late, and the locks that keep two servers apart would not hold'
      return new KeymanError('unavailable', message, {
        hint: 'let database.url lead to the database itself, or to a pooler in session mode (PgBouncer: pool_mode = session)',
        fields: [{ field: 'database.url', message }],
      })
    })
  } finally {
    await stop()
  }
}
