import { randomBytes, randomInt } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildPkcs11 } from '../../../scripts/build-pkcs11.mjs'

/** A token of SoftHSM of one's own, made in code in some 25 ms. One test file is one process, and has its own. */
export type SoftHsm = {
  readonly module: string
  readonly token: string
  readonly pin: string
  /** Its SOFTHSM2_CONF, set in this process's environment, which child processes inherit. */
  readonly configFile: string
  readonly folder: string
  /** For children that are started with an environment of their own. */
  readonly env: { readonly SOFTHSM2_CONF: string }
  /** Removes the token. Close keystores first. */
  close(): Promise<void>
}

const MODULES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
]

/** The module's path, or why tests with it must be skipped: SoftHSM or the PKCS#11 binding is missing. */
export function findSoftHsm(): { readonly module: string } | { readonly missing: string } {
  const module = MODULES.find(existsSync)
  if (module === undefined) return { missing: 'SoftHSM is not installed (apt-get install softhsm2)' }
  const { built, message } = buildPkcs11()
  return built ? { module } : { missing: message }
}

/**
 * Throws where `findSoftHsm` says that something is missing, and while a keystore of this process has the module open:
 * SoftHSM reads its configuration once, at C_Initialize. `module` may be the counting shim in front of SoftHSM.
 */
export async function startSoftHsm(token = 'keyman-test'): Promise<SoftHsm> {
  const found = findSoftHsm()
  if ('missing' in found) throw new Error(found.missing)
  const folder = await mkdtemp(join(tmpdir(), 'keyman-softhsm-')) // mode 0700
  const configFile = join(folder, 'softhsm2.conf')
  await mkdir(join(folder, 'tokens'), { mode: 0o700 })
  const lines = [`directories.tokendir = ${folder}/tokens`, 'objectstore.backend = file', 'log.level = ERROR']
  await writeFile(configFile, `${lines.join('\n')}\n`, { mode: 0o600 })
  process.env.SOFTHSM2_CONF = configFile
  const pin = String(randomInt(10_000_000, 99_999_999))
  await initToken(found.module, token, pin)
  const close = () => rm(folder, { recursive: true, force: true })
  return { module: found.module, token, pin, configFile, folder, env: { SOFTHSM2_CONF: configFile }, close }
}

/** Another token beside those of the SOFTHSM2_CONF in force. */
export async function initToken(module: string, token: string, pin: string): Promise<void> {
  const { default: pkcs11 } = await import('pkcs11js')
  const p11 = new pkcs11.PKCS11()
  p11.load(module)
  p11.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK })
  try {
    // SoftHSM always shows one more slot with a token that is not initialised: the last.
    const slot = p11.C_GetSlotList(true).at(-1)
    if (!slot) throw new Error('SoftHSM shows no slot')
    const soPin = randomBytes(8).toString('hex')
    p11.C_InitToken(slot, soPin, token.padEnd(32, ' ')) // pkcs11js does not pad the label
    const session = p11.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
    p11.C_Login(session, pkcs11.CKU_SO, soPin)
    p11.C_InitPIN(session, pin)
    p11.C_Logout(session)
  } finally {
    p11.C_Finalize()
  }
}
