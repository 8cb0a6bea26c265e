import { z } from 'zod'
import { utf8 } from '#shared/bytes.ts'
import type { IdentityDeps } from './port.ts'

const MASTER = 'master'

const row = z.object({ wrapped: z.instanceof(Uint8Array) })

/**
 * A key of the server itself that several servers share: random, in the database as the keystore's master key wrapped it. Made
 * at first use. Where the keystore wraps nothing, it is this process's alone: what was made with it ends with a restart, and
 * another server refuses it. That the keystore wraps nothing is said at the start (`capabilities.cannot`).
 */
export async function serverSecret(
  { store, keystore, random, now }: Pick<IdentityDeps, 'store' | 'keystore' | 'random' | 'now'>,
  name: string,
): Promise<Uint8Array> {
  const secret = random(32)
  if (!keystore.capabilities.wrapsDataKeys) return secret
  const associatedData = utf8(`keyman server_secret ${name}`)
  const read = () => store.query('select wrapped from server_secret where name = $1', [name], row)
  if ((await read()).length === 0) {
    const wrapped = await keystore.wrapDataKey(MASTER, secret, associatedData)
    // Of two servers that start together the first one's is kept.
    await store.execute(
      `insert into server_secret (name, wrapped, created_at) values ($1, $2, $3::timestamptz) on conflict do nothing`,
      [name, wrapped, now().toISOString()],
    )
  }
  const [kept] = await read()
  if (!kept) throw new TypeError('server_secret lost a row')
  return keystore.unwrapDataKey(MASTER, kept.wrapped, associatedData)
}
