import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { LogKeystore } from '#server/authority/index.ts'
import { type AwayKeystore, type Keystore, openKeystore } from '#server/keystore/index.ts'
import { openStore, type Store } from '#server/store/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { told } from '#shared/told.ts'
import type { KeystoreSettings, ServerConfig } from './config/index.ts'

/** What everything else stands on: the keystores and the database, as the configuration names them. */
export type Base = {
  readonly keystore: Keystore
  readonly standbyKeystore: Keystore | undefined
  /** Of two the one that could not be opened; `keystore` is the other then. */
  readonly awayKeystore: AwayKeystore | undefined
  /** Where the log keys are. */
  readonly logKeystores: readonly LogKeystore[]
  /** What wraps the servers' own secrets: each opens all of them by itself. */
  readonly wrappingKeystores: readonly Keystore[]
  readonly store: Store
  /** What an operator should know of this, a sentence each. */
  readonly remarks: readonly string[]
  close(): Promise<void>
}

/** Throws `unavailable` where a keystore is away; with `mayBeAway` one of two may be: what is left goes on without. */
export async function openBase(
  config: ServerConfig,
  onError: (error: unknown) => void,
  mayBeAway: 'mayBeAway' | 'all' = 'all',
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
    const keystores = await openKeystores(config, keep, mayBeAway === 'mayBeAway')
    const helpers = await openHelpers(config, keystores, keep)
    const store = keep(await openStore(storeConfig(config), onError))
    return { ...keystores, store, ...helpers, close }
  } catch (error) {
    await close()
    throw error
  }
}

async function openKeystores(
  { keystore: first, standbyKeystore: second }: ServerConfig,
  keep: (keystore: Keystore) => Keystore,
  mayBeAway: boolean,
): Promise<Pick<Base, 'keystore' | 'standbyKeystore' | 'awayKeystore'>> {
  const orAway = async (name: AwayKeystore['name'], settings: KeystoreSettings) => {
    try {
      return { name, opened: keep(await openConfigured(name, settings)) }
    } catch (error) {
      if (!mayBeAway || !(error instanceof KeymanError) || error.code !== 'unavailable') throw error
      return { name, error }
    }
  }
  const open = async (name: AwayKeystore['name'], settings: KeystoreSettings) =>
    keep(await openConfigured(name, settings))
  if (!second) return { keystore: await open('keystore', first), standbyKeystore: undefined, awayKeystore: undefined }
  const [one, two] = [await orAway('keystore', first), await orAway('keystore.standby', second)]
  if (one.opened)
    return two.opened
      ? { keystore: one.opened, standbyKeystore: two.opened, awayKeystore: undefined }
      : { keystore: one.opened, standbyKeystore: undefined, awayKeystore: two }
  if (!two.opened) throw one.error
  return { keystore: two.opened, standbyKeystore: undefined, awayKeystore: one }
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
 * Checkpoints are Ed25519 (C2SP), and the servers' own secrets are wrapped: where a keystore has not both, a software keystore
 * does what is missing, and no authority key is ever in it. Which is said.
 */
async function openHelpers(
  config: ServerConfig,
  { keystore, standbyKeystore, awayKeystore }: Pick<Base, 'keystore' | 'standbyKeystore' | 'awayKeystore'>,
  keep: (keystore: Keystore) => Keystore,
): Promise<Pick<Base, 'logKeystores' | 'wrappingKeystores' | 'remarks'>> {
  const both = [
    { name: awayKeystore?.name === 'keystore' ? 'keystore.standby' : 'keystore', keystore },
    ...(standbyKeystore ? [{ name: 'keystore.standby', keystore: standbyKeystore }] : []),
  ]
  const signs = (of: Keystore) => of.capabilities.algorithms.includes('ed25519')
  const wraps = (of: Keystore) => of.capabilities.wrapsDataKeys
  const logKeystores = both.filter(each => signs(each.keystore))
  const wrappingKeystores = both.map(each => each.keystore).filter(wraps)
  if (logKeystores.length === both.length && wrappingKeystores.length === both.length)
    return { logKeystores, wrappingKeystores, remarks: [] }
  const software = keep(await openLogKeystore(config))
  const lacking = both.filter(each => !signs(each.keystore))
  if (lacking.length > 0) logKeystores.push({ name: 'log-keystore', keystore: software })
  if (wrappingKeystores.length < both.length) wrappingKeystores.push(software)
  return {
    logKeystores,
    wrappingKeystores,
    remarks: lacking.map(({ name }) =>
      name === 'keystore'
        ? 'the HSM makes no Ed25519 keys: the log key, and no other, is a software key'
        : `${name} makes no Ed25519 keys: the log key that stands in for it, and no other, is a software key`,
    ),
  }
}

const logKeystoreFolder = ({ dataFolder }: ServerConfig): string => join(dataFolder, 'log-keystore')
export const hasLogKeystore = (config: ServerConfig): boolean =>
  existsSync(join(logKeystoreFolder(config), 'unlock.json'))
/** The software keystore that stands in for what a keystore can't do. */
export function openLogKeystore(config: ServerConfig): Promise<Keystore> {
  const folder = logKeystoreFolder(config)
  return openKeystore({ kind: 'software', folder, unlock: { keyFile: join(folder, 'unlock.key') } })
}
