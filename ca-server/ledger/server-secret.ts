import type { Keystore } from '#server/keystore/index.ts'
import type { Store } from '#server/store/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { insertSecret, selectSecret } from './records.ts'
import { headSize } from './tree-store.ts'

const MASTER = 'master'

export type ServerSecretDeps = {
  readonly store: Store
  /** One that wraps data keys. */
  readonly keystore: Pick<Keystore, 'wrapDataKey' | 'unwrapDataKey'>
  readonly random: (bytes: number) => Uint8Array
  readonly now: () => Date
}

/**
 * A key of the server itself that several servers share: 32 random bytes, in the database as the keystore's master key wrapped
 * it. Made at first use.
 */
export async function serverSecret(deps: ServerSecretDeps, name: string): Promise<Uint8Array> {
  const kept = await read(deps, name)
  if (kept) return kept
  const { store, keystore, random, now } = deps
  const wrapped = await keystore.wrapDataKey(MASTER, random(32), associatedData(name))
  await insertSecret(store, name, wrapped, now())
  const made = await read(deps, name)
  if (!made) throw new TypeError('server_secret lost a row')
  return made
}

const SEAL = 'record seal'

/**
 * The key by which records are sealed (`seal.ts`). Where there are records already it is never made anew: whoever takes its row
 * away would have the whole log taken for one that was never sealed. Throws `unavailable`.
 */
export async function openSealKey(deps: ServerSecretDeps): Promise<Uint8Array> {
  const kept = await read(deps, SEAL)
  if (kept) return kept
  if ((await headSize(deps.store)) > 0n)
    throw new KeymanError(
      'unavailable',
      "the key that seals the audit log's records is not in the database, but records are",
      {
        hint: 'of an earlier release? Take its data over: keyman-server adopt. Else somebody changed the database: restore it from a backup',
      },
    )
  return serverSecret(deps, SEAL)
}

/**
 * The same for the operator who takes over the log of an earlier release, once it was read and has no seal (`adopt.ts`). A key
 * that an adoption left behind which was interrupted is taken: the keystore has wrapped it, for just this.
 */
export const makeSealKey = (deps: ServerSecretDeps): Promise<Uint8Array> => serverSecret(deps, SEAL)

async function read({ store, keystore }: ServerSecretDeps, name: string): Promise<Uint8Array | undefined> {
  const wrapped = await selectSecret(store, name)
  return wrapped && keystore.unwrapDataKey(MASTER, wrapped, associatedData(name))
}

const associatedData = (name: string): Uint8Array => utf8(`keyman server_secret ${name}`)
