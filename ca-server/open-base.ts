import { join } from 'node:path'
import { type Keystore, openKeystore } from '#server/keystore/index.ts'
import { openStore, type Store } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { told } from '#shared/told.ts'
import type { KeystoreSettings, ServerConfig } from './config/index.ts'

/** What everything else stands on: the keystores and the database, as the configuration names them. */
export type Base = {
  readonly keystore: Keystore
  readonly standbyKeystore: Keystore | undefined
  /** Where the log key is. */
  readonly logKeystore: Keystore
  /** What wraps the servers' own secrets. */
  readonly wrappingKeystore: Keystore
  readonly store: Store
  /** What an operator should know of this, a sentence each. */
  readonly remarks: readonly string[]
  close(): Promise<void>
}

/**
 * Throws `unavailable` where a keystore is away; with `hearAway` one of two may be, which it hears of: for the operator, who works with what is left
 * until the configuration names the lost one no more.
 */
export async function openBase(
  config: ServerConfig,
  onError: (error: unknown) => void,
  hearAway?: (message: string) => void,
): Promise<Base> {
  const opened: { close(): Promise<void> }[] = []
  const close = async () => {
    for (const part of opened.toReversed()) await part.close().catch(onError)
  }
  const keep = <Part extends { close(): Promise<void> }>(part: Part): Part => {
    opened.push(part)
    return part
  }
  try {
    const { keystore, standbyKeystore } = await openKeystores(config, keep, hearAway)
    const { software, ...helpers } = await openHelperKeystore(config, keystore)
    if (software) keep(software)
    const store = keep(await openStore(storeConfig(config), onError))
    return { keystore, standbyKeystore, store, ...helpers, close }
  } catch (error) {
    await close()
    throw error
  }
}

async function openKeystores(
  { keystore: first, standbyKeystore: second }: ServerConfig,
  keep: (keystore: Keystore) => Keystore,
  hearAway: ((message: string) => void) | undefined,
): Promise<Pick<Base, 'keystore' | 'standbyKeystore'>> {
  const orAway = async (at: 'keystore' | 'keystore.standby', settings: KeystoreSettings) => {
    try {
      return keep(await openConfigured(at, settings))
    } catch (error) {
      if (!hearAway || !(error instanceof KeymanError) || error.code !== 'unavailable') throw error
      hearAway(`${at} is away: ${error.message}`)
      return error
    }
  }
  if (!second) return { keystore: keep(await openConfigured('keystore', first)), standbyKeystore: undefined }
  const [one, two] = [await orAway('keystore', first), await orAway('keystore.standby', second)]
  if (!(one instanceof KeymanError))
    return { keystore: one, standbyKeystore: two instanceof KeymanError ? undefined : two }
  if (two instanceof KeymanError) throw one
  return { keystore: two, standbyKeystore: undefined }
}

/** Opens a keystore; what it throws names the setting that is to blame. */
export async function openConfigured(
  at: 'keystore' | 'keystore.standby',
  settings: KeystoreSettings,
): Promise<Keystore> {
  try {
    return await openKeystore(keystoreConfig(settings))
  } catch (error) {
    const { code, message, hint, fields } = told(error)
    const blamed = fields[0]?.field ?? (settings.kind === 'pkcs11' ? 'module' : unlockSetting(settings))
    const field = blamed === 'algorithm' ? 'authority.algorithm' : `${at}.${blamed === 'pin' ? 'pin_file' : blamed}`
    throw new KeymanError(code, message, {
      fields: [{ field, message }],
      ...(hint === undefined ? {} : { hint: hint.replaceAll('keystore.', `${at}.`) }),
      cause: error,
    })
  }
}

const unlockSetting = ({ unlock }: Extract<KeystoreSettings, { kind: 'software' }>): string =>
  'passphrase' in unlock ? 'passphrase_file' : 'credential' in unlock ? 'credential' : 'key_file'

export function keystoreConfig(settings: KeystoreSettings) {
  if (settings.kind === 'pkcs11') return { ...settings, pin: settings.pin.reveal() }
  const { unlock } = settings
  return { ...settings, unlock: 'passphrase' in unlock ? { passphrase: unlock.passphrase.reveal() } : unlock }
}

export function storeConfig({ database }: ServerConfig) {
  if (database.engine === 'pglite') return database
  const { engine, url, migrationUrl } = database
  return { engine, url: url.reveal(), ...(migrationUrl ? { migrationUrl: migrationUrl.reveal() } : {}) }
}

/**
 * Checkpoints are Ed25519 (C2SP), and the servers' own secrets are wrapped: where the HSM has not both, a software keystore
 * does what is missing, and no authority key is ever in it. Which is said.
 */
export async function openHelperKeystore(config: ServerConfig, keystore: Keystore) {
  const signs = keystore.capabilities.algorithms.includes('ed25519')
  const wraps = keystore.capabilities.wrapsDataKeys
  const folder = join(config.dataFolder, 'log-keystore')
  const software =
    signs && wraps
      ? undefined
      : await openKeystore({ kind: 'software', folder, unlock: { keyFile: join(folder, 'unlock.key') } })
  const remarks = signs ? [] : ['the HSM makes no Ed25519 keys: the log key, and no other, is a software key']
  return {
    software,
    logKeystore: signs ? keystore : (software ?? keystore),
    wrappingKeystore: wraps ? keystore : (software ?? keystore),
    remarks,
  }
}
