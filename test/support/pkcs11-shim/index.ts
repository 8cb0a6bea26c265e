import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { fromHex, toHex } from '#shared/bytes.ts'

/** The counting PKCS#11 module: see `shim.c` for its variables. */
const SOURCE = fileURLToPath(new URL('./shim.c', import.meta.url))
const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

/** Compiles it where it is not yet, and gives its path. Throws where there is no C compiler. */
export async function buildShim(): Promise<string> {
  const digest = createHash('sha256')
    .update(await readFile(SOURCE))
    .digest('hex')
    .slice(0, 16)
  const path = join(ROOT, 'node_modules', '.cache', 'keyman', `pkcs11-shim-${digest}.so`)
  if (existsSync(path)) return path
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}`
  const headers = join(ROOT, 'node_modules', 'pkcs11js', 'includes')
  const flags = ['-shared', '-fPIC', '-O2', '-Wall', `-I${headers}`, '-o', temporary, SOURCE, '-ldl', '-lpthread']
  await promisify(execFile)(process.env.CC || 'cc', flags)
  await rename(temporary, path)
  return path
}

export type ShimEnv = {
  readonly KEYMAN_SHIM_MODULE: string
  readonly KEYMAN_SHIM_LOG: string
  readonly KEYMAN_SHIM_LOGINS: string
  readonly KEYMAN_SHIM_FAULT: string
}

/** Variables for a process that opens the shim as its module, with files in `folder`. */
export const shimEnv = (module: string, folder: string): ShimEnv => ({
  KEYMAN_SHIM_MODULE: module,
  KEYMAN_SHIM_LOG: join(folder, 'signatures.log'),
  KEYMAN_SHIM_LOGINS: join(folder, 'logins.log'),
  KEYMAN_SHIM_FAULT: join(folder, 'fault'),
})

/** `data` is what C_Sign got: the text itself for Ed25519, its digest for ECDSA, a DigestInfo for RSA. */
export type CountedSignature = { readonly keyId: Uint8Array; readonly data: Uint8Array }

/** All signatures so far. A last line without its end (the machine stopped in the middle) throws. */
export async function readSignatures(log: string): Promise<readonly CountedSignature[]> {
  const lines = (await readFile(log, 'latin1')).split('\n')
  if (lines.pop() !== '') throw new Error(`${log} ends in the middle of a line`)
  return lines.map(line => {
    const [keyId = '', data = ''] = line.split(' ')
    return { keyId: fromHex(keyId), data: fromHex(data) }
  })
}

/** CKA_ID under which the PKCS#11 keystore keeps the key of this label, in hex as the log has it. */
export const shimKeyId = (label: string): string =>
  toHex(new Uint8Array(createHash('sha256').update(label).digest()).subarray(0, 20))
