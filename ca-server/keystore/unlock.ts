import { argon2, createSecretKey, hkdf, type KeyObject, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { fromBase64, fromUtf8, toBase64, toHex, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { KeystoreConfig } from './port.ts'
import { unavailable } from './port.ts'
import { createPrivateFile, readPrivateFile } from './private-files.ts'
import { seal, unseal } from './sealed.ts'

/**
 * The key that seals the software keystore's files, from what the operator holds. `unlock.json` keeps the salt and a
 * check value, so that a wrong passphrase is told at once and never taken for a damaged key.
 */
export type Unlock = Extract<KeystoreConfig, { kind: 'software' }>['unlock']

/** OWASP's Password Storage Cheat Sheet asks for less; this takes some 150 ms, once at each start. */
const ARGON2 = { memory: 65_536, passes: 3, parallelism: 4 } as const
const CHECK = utf8('keyman-keystore-v1')
const SECRET_BYTES = 32

const schema = z.strictObject({
  version: z.literal(1),
  method: z.enum(['keyFile', 'passphrase', 'credential']),
  salt: z.base64().length(44),
  check: z.base64().max(200),
})

const deriveByHkdf = promisify(hkdf)
const deriveByArgon2 = promisify(argon2)

/** Throws `denied` for a wrong secret, `unavailable` for a missing or unsafe file. Derives once: no second guess. */
export async function unlockKey(folder: string, unlock: Unlock, hasKeys: boolean): Promise<KeyObject> {
  const path = join(folder, 'unlock.json')
  const method = 'keyFile' in unlock ? 'keyFile' : 'passphrase' in unlock ? 'passphrase' : 'credential'
  let stored = await readPrivateFile(path, 'alone')
  if (!stored) {
    if (hasKeys)
      throw unavailable(`${path} is missing and the keys beside it can't be opened without`, { hint: RESTORE })
    const salt = new Uint8Array(randomBytes(32))
    const key = await derive(await secretOf(unlock, true), salt, method)
    const check = seal(key, CHECK, checkData(method, salt))
    const content = { version: 1, method, salt: toBase64(salt), check: toBase64(check) }
    if (await createPrivateFile(path, utf8(`${JSON.stringify(content)}\n`))) return key
    stored = await readPrivateFile(path, 'alone') // another process was first
    if (!stored) throw unavailable(`${path} went away while it was read`)
  }
  const parsed = parse(stored, path)
  if (parsed.method !== method) {
    throw new KeymanError(
      'denied',
      `${folder} was made to be opened by ${NAMES[parsed.method]}, not by ${NAMES[method]}`,
    )
  }
  const salt = fromBase64(parsed.salt)
  const key = await derive(await secretOf(unlock, false), salt, method)
  try {
    unseal(key, fromBase64(parsed.check), checkData(method, salt))
  } catch {
    throw new KeymanError('denied', `${NAMES[method]} does not open the keystore in ${folder}`)
  }
  return key
}

const RESTORE = 'restore it from a backup of the whole folder'
const NAMES = { keyFile: 'the key file', passphrase: 'the passphrase', credential: 'the systemd credential' } as const
type Method = keyof typeof NAMES

function parse(stored: Uint8Array, path: string): z.infer<typeof schema> {
  try {
    return schema.parse(JSON.parse(fromUtf8(stored)))
  } catch (cause) {
    throw unavailable(`${path} is damaged`, { hint: RESTORE, cause })
  }
}

const checkData = (method: Method, salt: Uint8Array) => utf8(JSON.stringify([1, 'unlock', method, toBase64(salt)]))

async function secretOf(unlock: Unlock, first: boolean): Promise<Uint8Array> {
  if ('passphrase' in unlock) {
    // Only to catch an empty variable or file: how good a passphrase is, nobody can see from its length.
    if (unlock.passphrase.length < 8) throw new KeymanError('denied', 'the passphrase has fewer than 8 characters')
    return utf8(unlock.passphrase.normalize('NFC'))
  }
  if ('keyFile' in unlock) {
    const path = unlock.keyFile
    let content = await readPrivateFile(path, 'alone')
    if (!content && first) {
      await createPrivateFile(path, utf8(`${toHex(new Uint8Array(randomBytes(SECRET_BYTES)))}\n`))
      content = await readPrivateFile(path, 'alone')
    }
    if (!content) throw unavailable(`${path}, which opens the keystore, is missing`, { hint: RESTORE })
    return longEnough(content, path)
  }
  const content = await readPrivateFile(unlock.credential, 'managed')
  if (!content) throw unavailable(`the systemd credential ${unlock.credential} is missing`)
  return longEnough(content, unlock.credential)
}

function longEnough(content: Uint8Array, path: string): Uint8Array {
  if (content.length >= SECRET_BYTES) return content
  throw unavailable(`${path} holds ${content.length} bytes; at least ${SECRET_BYTES} random ones are needed`, {
    hint: 'openssl rand -hex 32',
  })
}

async function derive(secret: Uint8Array, salt: Uint8Array, method: Method): Promise<KeyObject> {
  const bytes =
    method === 'passphrase'
      ? await deriveByArgon2('argon2id', { message: secret, nonce: salt, tagLength: 32, ...ARGON2 })
      : new Uint8Array(await deriveByHkdf('sha256', secret, salt, CHECK, 32))
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}
