import {
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPair,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { equalBytes, fromBase64, fromUtf8, toBase64, utf8 } from '#shared/bytes.ts'
import { KEY_ALGORITHMS, type KeyAlgorithm, type KeystoreKey, unavailable } from './port.ts'
import { createPrivateFile, readPrivateFile } from './private-files.ts'
import { seal, unseal } from './sealed.ts'

/**
 * One sealed file a key: `LABEL.signing.json`, `LABEL.master.json`. All that stands in the clear is bound as associated
 * data, so a public key, label or algorithm that was changed, or a file that was renamed, does not open.
 */
export type SigningKey = { readonly key: KeystoreKey; readonly privateKey: KeyObject }

const SIGNING = '.signing.json'
const MASTER = '.master.json'

const schema = z.strictObject({
  version: z.literal(1),
  label: z.string().max(63),
  algorithm: z.enum([...KEY_ALGORITHMS, 'aes-256']),
  spki: z.base64().max(2000),
  sealed: z.base64().max(8000),
})
type Header = Omit<z.infer<typeof schema>, 'sealed'>

const bound = (header: Header) => utf8(JSON.stringify([header.version, header.label, header.algorithm, header.spki]))

/** The labels of the signing keys in the folder, sorted, and whether it holds any key at all. */
export async function readLabels(folder: string): Promise<{ signing: string[]; any: boolean }> {
  const names = await readdir(folder)
  const signing = names.filter(name => name.endsWith(SIGNING)).map(name => name.slice(0, -SIGNING.length))
  return { signing: signing.sort(), any: signing.length > 0 || names.some(name => name.endsWith(MASTER)) }
}

/** `undefined` if the label is taken. The private key is in this process's memory unsealed, and nowhere else. */
export async function createSigningKey(
  folder: string,
  wrapping: KeyObject,
  label: string,
  algorithm: KeyAlgorithm,
): Promise<SigningKey | undefined> {
  const { privateKey, publicKey } = await generate(algorithm)
  const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' })
  const header: Header = { version: 1, label, algorithm, spki: toBase64(spki) }
  const created = await write(join(folder, label + SIGNING), header, wrapping, pkcs8)
  pkcs8.fill(0)
  return created ? { key: { label, algorithm, spki }, privateKey } : undefined
}

/** `undefined` if there is none; throws `unavailable` if the file is not what was written. */
export async function loadSigningKey(
  folder: string,
  wrapping: KeyObject,
  label: string,
): Promise<SigningKey | undefined> {
  const path = join(folder, label + SIGNING)
  const found = await read(path, label, wrapping)
  if (!found) return undefined
  const { algorithm } = found.header
  if (algorithm === 'aes-256') throw damaged(path)
  const privateKey = createPrivateKey({ key: found.plaintext, format: 'der', type: 'pkcs8' })
  found.plaintext.fill(0)
  const spki = fromBase64(found.header.spki)
  const own = new Uint8Array(createPublicKey(privateKey).export({ format: 'der', type: 'spki' }))
  if (!equalBytes(own, spki)) throw damaged(path)
  return { key: { label, algorithm, spki }, privateKey }
}

/** Makes the master key where `create` says so and there is none. */
export async function loadMasterKey(
  folder: string,
  wrapping: KeyObject,
  label: string,
  create: boolean,
): Promise<KeyObject | undefined> {
  const path = join(folder, label + MASTER)
  let found = await read(path, label, wrapping)
  if (!found && create) {
    const bytes = randomBytes(32)
    // Where another process was first, its key counts.
    await write(path, { version: 1, label, algorithm: 'aes-256', spki: '' }, wrapping, bytes)
    bytes.fill(0)
    found = await read(path, label, wrapping)
  }
  if (!found) return undefined
  if (found.header.algorithm !== 'aes-256' || found.plaintext.length !== 32) throw damaged(path)
  const key = createSecretKey(found.plaintext)
  found.plaintext.fill(0)
  return key
}

const damaged = (path: string, cause?: unknown) =>
  unavailable(`${path} was changed or damaged and is not used`, {
    hint: 'restore it from a backup of the whole folder',
    ...(cause === undefined ? {} : { cause }),
  })

function write(path: string, header: Header, wrapping: KeyObject, plaintext: Uint8Array): Promise<boolean> {
  const content = { ...header, sealed: toBase64(seal(wrapping, plaintext, bound(header))) }
  return createPrivateFile(path, utf8(`${JSON.stringify(content)}\n`))
}

async function read(path: string, label: string, wrapping: KeyObject) {
  const content = await readPrivateFile(path, 'alone')
  if (!content) return undefined
  try {
    const { sealed, ...header } = schema.parse(JSON.parse(fromUtf8(content)))
    if (header.label !== label) throw new Error(`holds the key ${header.label}`)
    return { header, plaintext: Buffer.from(unseal(wrapping, fromBase64(sealed), bound(header))) }
  } catch (cause) {
    throw damaged(path, cause)
  }
}

const makePair = promisify(generateKeyPair)

function generate(algorithm: KeyAlgorithm): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> {
  switch (algorithm) {
    case 'ed25519':
      return makePair('ed25519')
    case 'ecdsa-p256':
      return makePair('ec', { namedCurve: 'P-256' })
    case 'ecdsa-p384':
      return makePair('ec', { namedCurve: 'P-384' })
    case 'rsa-3072':
      return makePair('rsa', { modulusLength: 3072 })
    case 'rsa-4096':
      return makePair('rsa', { modulusLength: 4096 })
  }
}
