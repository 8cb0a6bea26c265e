/**
 * Checkpoints (C2SP tlog-checkpoint) in signed notes (C2SP signed-note). Pure but for the caller's `sign`.
 * https://c2sp.org/tlog-checkpoint · https://c2sp.org/signed-note
 */
import { createPublicKey, hash, verify } from 'node:crypto'
import { concat, equalBytes, fromBase64, toBase64, toBase64Url, toHex, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { HASH_SIZE } from './tree.ts'

/** Ed25519 signatures of a log or witness over the note's text. */
const ED25519 = new Uint8Array([1])
const MAX_NOTE = 64 * 1024
const MAX_SIGNATURES = 64

export type Checkpoint = {
  /** Who keeps the log: a name as in a URL without scheme. */ origin: string
  size: bigint
  /** The tree head, 32 bytes. */ root: Uint8Array
}
export type NoteSignature = { name: string; keyId: Uint8Array; signature: Uint8Array }
export type NoteSigner = { name: string; keyId: Uint8Array; sign(text: Uint8Array): Promise<Uint8Array> }

/** SHA-256(name || 0x0A || 0x01 || public key), the first four bytes. `publicKey` is the 32 bytes of Ed25519. */
export const noteKeyId = (name: string, publicKey: Uint8Array): Uint8Array =>
  new Uint8Array(hash('sha256', concat(utf8(`${name}\n`), ED25519, publicKey), 'buffer')).slice(0, 4)

const isLine = (text: string): boolean => text !== '' && !/[\u0000-\u001f\u007f]/.test(text)
const isKeyName = (name: string): boolean => isLine(name) && !/[\s+]/.test(name)

/** The text that is signed: origin, size in decimal, root in base64, a line each. */
export function encodeCheckpoint({ origin, size, root }: Checkpoint): string {
  if (!isLine(origin)) throw new TypeError("a log's origin is one line of text")
  if (size < 0n || root.length !== HASH_SIZE) throw new TypeError('a tree head has a size and 32 bytes')
  return `${origin}\n${size}\n${toBase64(root)}\n`
}

/** The text, an empty line, and a line for the signature. Throws a TypeError for a text that does not end in a newline. */
export async function signedNote(text: string, { name, keyId, sign }: NoteSigner): Promise<string> {
  return encodeNote(text, { name, keyId, signature: await sign(utf8(text)) })
}

/** The same of a text that was signed already. */
export function encodeNote(text: string, { name, keyId, signature }: NoteSignature): string {
  if (!text.endsWith('\n') || /[\u0000-\u0009\u000b-\u001f\u007f]/.test(text))
    throw new TypeError('not the text of a note')
  if (!isKeyName(name)) throw new TypeError('a key name has no blank and no plus')
  return `${text}\n— ${name} ${toBase64(concat(keyId, signature))}\n`
}

const refused = (why: string): KeymanError =>
  new KeymanError('invalid-input', `this is not a signed checkpoint: ${why}`)

/** Reads without verifying. Throws `invalid-input` for anything that is not exactly such a note. */
export function parseCheckpoint(note: string): Checkpoint & { text: string; signatures: NoteSignature[] } {
  if (note.length > MAX_NOTE) throw refused('it is too long')
  // The last empty line parts text and signatures.
  const split = note.lastIndexOf('\n\n')
  if (split < 0 || !note.endsWith('\n')) throw refused('it has no signatures')
  const text = note.slice(0, split + 1)
  const lines = note.slice(split + 2, -1).split('\n')
  if (lines.length > MAX_SIGNATURES) throw refused('it has too many signatures')
  const [origin = '', decimal = '', base64 = '', ...extensions] = text.slice(0, -1).split('\n')
  if (![origin, decimal, base64, ...extensions].every(isLine))
    throw refused('a line is empty or holds control characters')
  if (!/^(0|[1-9][0-9]{0,18})$/.test(decimal)) throw refused('the size is not a decimal number')
  const root = bytesOf(base64)
  if (root.length !== HASH_SIZE) throw refused('the tree head is not 32 bytes')
  return { origin, size: BigInt(decimal), root, text, signatures: lines.map(parseSignature) }
}

function parseSignature(line: string): NoteSignature {
  const [, name = '', base64 = ''] = /^— ([^ ]+) ([^ ]+)$/.exec(line) ?? []
  if (!isKeyName(name)) throw refused('a signature line is malformed')
  const bytes = bytesOf(base64)
  if (bytes.length < 5) throw refused('a signature is too short')
  return { name, keyId: bytes.slice(0, 4), signature: bytes.slice(4) }
}

function bytesOf(base64: string): Uint8Array {
  try {
    return fromBase64(base64)
  } catch {
    throw refused('a value is not base64')
  }
}

/**
 * Verifies that one of the log's keys signed this very text for this origin. Signatures of keys that are not asked about are
 * passed over, as the specification demands (witnesses add theirs). `name` is the name of each of the keys, where it is not the
 * origin; the key itself is told by its ID. Throws `invalid-input`.
 */
export function verifyCheckpoint(
  note: string,
  { origin, logKeys, name = origin }: { origin: string; logKeys: readonly Uint8Array[]; name?: string },
): { size: bigint; root: Uint8Array } {
  const checkpoint = parseCheckpoint(note)
  if (checkpoint.origin !== origin) throw refused(`it is of another log than ${origin}`)
  const keys = logKeys.map(key => ({ key, id: noteKeyId(name, key) }))
  // An ID is four bytes: two keys may have the same.
  const ours = checkpoint.signatures
    .filter(each => each.name === name)
    .map(({ keyId, signature }) => ({ keyId, signature, by: keys.filter(({ id }) => equalBytes(id, keyId)) }))
    .filter(({ by }) => by.length > 0)
  if (ours.length === 0) {
    const asked = keys.map(({ id }) => `${name}+${toHex(id)}`).join(' or ')
    throw refused(`it is not signed by the key ${asked}`)
  }
  const text = utf8(checkpoint.text)
  for (const { keyId, signature, by } of ours)
    if (!by.some(({ key }) => signature.length === 64 && verify(null, text, ed25519Key(key), signature)))
      throw refused(`the signature of the key ${name}+${toHex(keyId)} is wrong`)
  return { size: checkpoint.size, root: checkpoint.root }
}

// RFC 8037: the JWK of an Ed25519 key holds the same 32 bytes.
const ed25519Key = (bytes: Uint8Array) =>
  createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(bytes) }, format: 'jwk' })
