/** The door: where authority keys and master keys live. The one way to a private key, and none out. */
import type { Keystore, KeystoreConfig } from './port.ts'
import { openSoftwareKeystore } from './software.ts'

export type { AwayKeystore, KeyAlgorithm, Keystore, KeystoreConfig, KeystoreKey } from './port.ts'
export { QUEUE_BOUND } from './port.ts'

/**
 * Opens a keystore: checks that it can be unlocked, logs in, probes what it can do. Throws `denied` for a wrong
 * passphrase, key or PIN (tried once: tokens lock themselves), `unavailable` if it is not there or not installed.
 */
export async function openKeystore(config: KeystoreConfig): Promise<Keystore> {
  if (config.kind === 'software') return openSoftwareKeystore(config)
  // Loaded when asked for: nobody without an HSM loads a native module.
  const { openPkcs11Keystore } = await import('./pkcs11/index.ts')
  return openPkcs11Keystore(config)
}
