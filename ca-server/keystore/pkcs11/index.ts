import type { Keystore, KeystoreConfig } from '../port.ts'
import { unavailable } from '../port.ts'
export async function openPkcs11Keystore(_config: Extract<KeystoreConfig, { kind: 'pkcs11' }>): Promise<Keystore> {
  throw unavailable('PKCS#11 is not there yet')
}
