import type { Keystore, KeystoreKey } from '#server/keystore/index.ts'
import type { LogKeys } from '#server/ledger/index.ts'
import { equalBytes, toBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { publicKeyFromSpki } from '#shared/ssh/index.ts'
import { told } from '#shared/told.ts'
import { logKeysOf, MAX_LOG_KEYS, type TrustBundle } from '#shared/trust/index.ts'
import { ensureKey } from './keys.ts'

/**
 * The keys that sign heads of the log and revocation lists: one in each keystore, so that the loss of one keeps neither from being signed. Hosts
 * and laptops believe all that the trust bundle names, so none of them is the active one: whichever can, signs.
 */
export type HeldLogKey = {
  /** Which keystore it is in, as the configuration names it. */
  readonly at: string
  /** 32 bytes, Ed25519. */
  readonly publicKey: Uint8Array
  sign(data: Uint8Array): Promise<Uint8Array>
}
export type LogKeystore = { readonly name: string; readonly keystore: Keystore }

/** The same in each keystore. */
const LOG_KEY = 'log-1'
/** Milliseconds. A keystore that hangs is not waited for where another could sign. */
const PATIENCE = 5_000

/** That of each of these keystores; made where there is none. */
export const openLogKeys = (keystores: readonly LogKeystore[]): Promise<HeldLogKey[]> =>
  Promise.all(
    keystores.map(async ({ name, keystore }) => heldKey(name, keystore, await ensureKey(keystore, LOG_KEY, 'ed25519'))),
  )

/** The same of a log that there is already. Throws `unavailable` where none is there: a new one would help nobody. */
export async function findLogKeys(keystores: readonly LogKeystore[]): Promise<HeldLogKey[]> {
  const found: HeldLogKey[] = []
  for (const { name, keystore } of keystores) {
    const key = (await keystore.listKeys()).find(({ label }) => label === LOG_KEY)
    if (key) found.push(heldKey(name, keystore, key))
  }
  if (found.length > 0) return found
  throw new KeymanError('unavailable', `no keystore holds a log key (${LOG_KEY}): without one no history goes on`, {
    hint: 'give this server a keystore that a log key is in, from its backup: docs/server.md',
  })
}

function heldKey(at: string, keystore: Keystore, { label, spki }: KeystoreKey): HeldLogKey {
  const key = publicKeyFromSpki(spki)
  if (key.type !== 'ssh-ed25519') throw new KeymanError('internal', 'the log key is not Ed25519')
  return { at, publicKey: key.point, sign: data => keystore.sign(label, data, spki) }
}

/** `held`: the public keys of this server's keystores. */
export type ServerLogKeys = LogKeys & { readonly held: readonly Uint8Array[] }

/**
 * `name`: as checkpoints and the trust bundle have it. `bundle`: the newest that was verified. A key that it does not name yet signs nothing
 * while there is one that it names, since nobody would believe it. `alarm` hears when another one signs, once each time.
 */
export function createLogKeys({
  name,
  held,
  bundle,
  alarm = () => {},
}: {
  readonly name: string
  readonly held: readonly HeldLogKey[]
  readonly bundle: () => TrustBundle | undefined
  readonly alarm?: (message: string) => void
}): ServerLogKeys {
  /** That which signed last goes on: one that is away would be waited for at each signature. */
  let last: HeldLogKey | undefined
  const inTurn = (): HeldLogKey[] => {
    const named = namedIn(bundle())
    const believed = held.filter(({ publicKey }) => named.some(key => equalBytes(key, publicKey)))
    const may = believed.length > 0 ? believed : held
    return may.toSorted((a, b) => Number(b === last) - Number(a === last))
  }
  return {
    name,
    held: held.map(({ publicKey }) => publicKey),
    believed: () => distinct([...namedIn(bundle()), ...held.map(({ publicKey }) => publicKey)]),
    async sign(data) {
      const keys = inTurn()
      let failed: KeymanError | undefined
      for (const [n, key] of keys.entries()) {
        try {
          const signing = key.sign(data)
          const signature = await (n < keys.length - 1 ? inTime(signing) : signing)
          const [first] = keys
          if (failed && first && last !== key)
            alarm(
              `the log key in ${first.at} does not sign: ${failed.message}. That in ${key.at} signs heads of the log and revocation lists from now on; hosts and laptops believe it as well`,
            )
          last = key
          return { publicKey: key.publicKey, signature }
        } catch (error) {
          failed ??= told(error)
        }
      }
      throw failed ?? new KeymanError('unavailable', 'no keystore of this server has a log key')
    },
  }
}

const namedIn = (bundle: TrustBundle | undefined): Uint8Array[] => (bundle ? logKeysOf(bundle) : [])

async function inTime<T>(work: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new KeymanError('unavailable', 'the keystore does not answer')), PATIENCE)
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

/**
 * What the next trust bundle says of them. Each that the one before names stays, held or not: what it has signed has to be believed for ever. Only
 * where there are too many the oldest go that no keystore holds.
 */
export function logKeysToName(
  { name, held }: Pick<ServerLogKeys, 'name' | 'held'>,
  before: TrustBundle | undefined,
): Pick<TrustBundle, 'logKey' | 'otherLogKeys'> {
  const keys = distinct([...namedIn(before), ...held])
  while (keys.length > MAX_LOG_KEYS) {
    const oldest = keys.findIndex(key => !held.some(own => equalBytes(own, key)))
    keys.splice(Math.max(oldest, 0), 1)
  }
  const [key, ...others] = keys.map(toBase64)
  if (key === undefined) throw new KeymanError('unavailable', 'no keystore of this server has a log key')
  return { logKey: { name, key }, ...(others.length > 0 ? { otherLogKeys: others } : {}) }
}

const distinct = (keys: readonly Uint8Array[]): Uint8Array[] =>
  keys.filter((key, n) => keys.findIndex(other => equalBytes(other, key)) === n)
