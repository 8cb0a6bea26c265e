import { randomUUID } from 'node:crypto'
import { withDeadline } from './deadline.ts'
import type { Store } from './port.ts'

const WAIT_MS = 2_000

/**
 * What an operator should know where a notification to oneself does not arrive. A pooler in transaction mode takes LISTEN and
 * answers that all is well; nothing is heard ever after, and a lock of a connection keeps nobody out.
 */
export async function tryNotifications(store: Pick<Store, 'listen' | 'notify'>): Promise<string[]> {
  const payload = randomUUID()
  const { promise: heard, resolve } = Promise.withResolvers<void>()
  const stop = await store.listen('keyman_try', said => {
    if (said === payload) resolve()
  })
  try {
    await store.notify('keyman_try', payload)
    return await withDeadline(heard, WAIT_MS, () => new Error()).then(
      () => [],
      () => [
        'the database sends no notifications to this server, as behind a pooler in transaction mode: changes are heard up to a second late, and the locks that keep two servers apart do not hold; let database.url lead to the database itself, or to a pooler in session mode',
      ],
    )
  } finally {
    await stop()
  }
}
