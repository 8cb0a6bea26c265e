import type { Keystore } from '#server/keystore/index.ts'
import type { Store } from '#server/store/index.ts'
import { equalBytes, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { insertSecret, selectSecret, updateSecret, type WrappedSecret } from './records.ts'
import { headSize } from './tree-store.ts'

const MASTER = 'master'

type Wrapping = Pick<Keystore, 'wrapDataKey' | 'unwrapDataKey'>
export type ServerSecretDeps = {
  readonly store: Store
  /** Those that wrap data keys, one or two: each opens all by itself. */
  readonly keystores: readonly Wrapping[]
  readonly random: (bytes: number) => Uint8Array
  readonly now: () => Date
}

/**
 * A key of the server itself that several servers share: 32 random bytes, in the database as the master key of each keystore wrapped
 * it. Made at first use; a keystore that came since wraps it, too.
 */
export async function serverSecret(deps: ServerSecretDeps, name: string): Promise<Uint8Array> {
  const kept = await read(deps, name)
  if (kept) return kept
  const { store, keystores, random, now } = deps
  const secret = random(32)
  const [wrapped, wrappedToo = null] = await Promise.all(keystores.map(keystore => wrap(keystore, secret, name)))
  if (!wrapped) throw new TypeError('no keystore wraps data keys')
  await insertSecret(store, name, { wrapped, wrappedToo }, now())
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

const COLUMNS = ['wrapped', 'wrappedToo'] as const
type Column = (typeof COLUMNS)[number]

/**
 * Whichever keystore opens either column has it: what a keystore opens, it has wrapped for just this name. Throws `denied` where there is one
 * that none opens, and where the two are not the same.
 */
async function read({ store, keystores }: ServerSecretDeps, name: string): Promise<Uint8Array | undefined> {
  const row = await selectSecret(store, name)
  if (!row) return undefined
  const opened = new Map<Column, Uint8Array>()
  const without: Wrapping[] = []
  let failed: unknown
  for (const keystore of keystores) {
    const found = await open(keystore, row, name, opened).catch((error: unknown) => {
      failed ??= error
      return undefined
    })
    if (found) opened.set(found.column, found.secret)
    else without.push(keystore)
  }
  const [secret, other] = [...opened.values()]
  if (!secret) throw failed ?? doesNotOpen(name)
  if (other && !equalBytes(secret, other))
    throw new KeymanError(
      'denied',
      `the two keystores hold different secrets of the servers, ${JSON.stringify(name)}`,
      {
        hint: 'somebody changed the table server_secret: keep the database as it is, and restore it from a backup',
      },
    )
  for (const keystore of without) {
    const column = COLUMNS.find(each => !opened.has(each))
    // One that is away by now wraps it at the next start.
    const wrapped = column && (await wrap(keystore, secret, name).catch(() => undefined))
    if (!column || !wrapped) continue
    await updateSecret(store, name, { [column]: wrapped })
    opened.set(column, secret)
  }
  return secret
}

/** Nothing where this keystore has wrapped neither. */
async function open(
  keystore: Wrapping,
  row: WrappedSecret,
  name: string,
  opened: ReadonlyMap<Column, Uint8Array>,
): Promise<{ column: Column; secret: Uint8Array } | undefined> {
  for (const column of COLUMNS) {
    const wrapped = row[column]
    if (!wrapped || opened.has(column)) continue
    try {
      return { column, secret: await keystore.unwrapDataKey(MASTER, wrapped, associatedData(name)) }
    } catch (error) {
      // Of another keystore, or no wrapped key at all; a keystore that never wrapped anything has no master key.
      if (!(error instanceof KeymanError) || !['denied', 'not-found'].includes(error.code)) throw error
    }
  }
  return undefined
}

const wrap = (keystore: Wrapping, secret: Uint8Array, name: string): Promise<Uint8Array> =>
  keystore.wrapDataKey(MASTER, secret, associatedData(name))

const doesNotOpen = (name: string): KeymanError =>
  new KeymanError('denied', `no keystore of this server opens the servers' secret ${JSON.stringify(name)}`, {
    hint: 'give the server a keystore that belongs to this database, from its backup; or somebody changed the table server_secret: restore the database from a backup',
  })

const associatedData = (name: string): Uint8Array => utf8(`keyman server_secret ${name}`)
