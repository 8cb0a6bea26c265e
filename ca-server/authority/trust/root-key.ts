import { sign } from 'node:crypto'
import { lstat, mkdir, open, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { TRUST_NAMESPACE } from '#shared/namespaces.ts'
import {
  armorSshsig,
  decodeOpensshPrivateKey,
  type Ed25519Private,
  encodeOpensshPrivateKey,
  encodeSignature,
  encodeSshsig,
  publicKeyOf,
  type SshPublicKey,
  sshsigSignedData,
  toPrivateKeyObject,
} from '#shared/ssh/index.ts'

/**
 * The software root key that the first start makes: an OpenSSH private key file, so that it can be moved to where it
 * belongs (offline, or into a hardware key's place) with the tools of OpenSSH. It signs trust bundles and nothing else;
 * where the file is not there any more the server can't sign one, and must not.
 */
export type RootKey = { readonly publicKey: SshPublicKey; sign(document: string): string }

export const rootKeyFileIn = (dataFolder: string): string => join(dataFolder, 'root', 'root_key')

/** `undefined` where there is no file. Throws `unavailable` for a file that others can read. */
export async function readRootKey(path: string): Promise<RootKey | undefined> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (!found) return undefined
  if (!found.isFile() || (found.mode & 0o077) !== 0)
    throw new KeymanError('unavailable', `the root key ${path} must be a file of mode 0600`, {
      hint: `chmod 600 ${path}`,
    })
  const text = await readFile(path, 'utf8')
  try {
    return rootKey(decodeOpensshPrivateKey(text, 'root_key'))
  } catch (cause) {
    throw new KeymanError('unavailable', `${path} is not a root key: it is no Ed25519 key in OpenSSH's format`, {
      hint: 'put it back from a backup; or, if the root key lies elsewhere by now, remove the file',
      cause,
    })
  }
}

/** Makes the file, in a folder of mode 0700; never replaces one. */
export async function makeRootKey(path: string, random: (bytes: number) => Uint8Array): Promise<RootKey> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  // RFC 8032 section 5.1.5: an Ed25519 private key is 32 random bytes.
  const seed = random(32)
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(encodeOpensshPrivateKey({ seed, comment: 'keyman root of trust' }))
    await file.sync()
  } finally {
    await file.close()
  }
  const folder = await open(dirname(path), 'r')
  await folder.sync().finally(() => folder.close())
  return rootKey({ seed, publicKey: publicKeyOf(seed) })
}

function rootKey({ seed, publicKey }: Pick<Ed25519Private, 'seed' | 'publicKey'>): RootKey {
  const key = toPrivateKeyObject(seed)
  return {
    publicKey,
    sign(document) {
      const raw = new Uint8Array(sign(undefined, sshsigSignedData(TRUST_NAMESPACE, utf8(document)), key))
      const signature = encodeSignature(publicKey, raw)
      return armorSshsig(encodeSshsig({ publicKey, namespace: TRUST_NAMESPACE, signature }))
    },
  }
}
