import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from 'node:crypto'
import { concat, equalBytes, fromBase64, fromBase64Url, toBase64, utf8 } from '../bytes.ts'
import { invalid } from '../errors.ts'
import type { PrivateFields } from './private-fields.ts'
import { ed25519Key, type SshPublicKey } from './public-key.ts'
import { SshReader, SshWriter } from './wire.ts'

/** Pure: OpenSSH's own private key format (PROTOCOL.key) without a passphrase: what a session's key is written as, and a software root, which is Ed25519. */
const MAGIC = utf8('openssh-key-v1\0')
const BEGIN = '-----BEGIN OPENSSH PRIVATE KEY-----'
const END = '-----END OPENSSH PRIVATE KEY-----'
/** Without encryption the private part is padded to 8 bytes, with 1, 2, 3 … */
const BLOCK = 8
/** RFC 8410: the header of a PKCS#8 Ed25519 key, before its 32 bytes. */
const PKCS8_HEADER = Uint8Array.of(
  0x30,
  0x2e,
  0x02,
  0x01,
  0x00,
  0x30,
  0x05,
  0x06,
  0x03,
  0x2b,
  0x65,
  0x70,
  0x04,
  0x22,
  0x04,
  0x20,
)

export type Ed25519Private = {
  readonly seed: Uint8Array
  readonly publicKey: Extract<SshPublicKey, { type: 'ssh-ed25519' }>
  readonly comment: string
}

/** The seed (32 bytes of RFC 8032) as a key of `node:crypto`. */
export const toPrivateKeyObject = (seed: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.from(concat(PKCS8_HEADER, seed)), format: 'der', type: 'pkcs8' })

export function publicKeyOf(seed: Uint8Array): Ed25519Private['publicKey'] {
  const { x } = createPublicKey(toPrivateKeyObject(seed)).export({ format: 'jwk' })
  return ed25519Key(fromBase64Url(x ?? ''))
}

export function encodeOpensshPrivateKey({ seed, comment }: { seed: Uint8Array; comment: string }): string {
  const publicKey = publicKeyOf(seed)
  const plain = new SshWriter().string(publicKey.point).string(concat(seed, publicKey.point)).bytes()
  return encodePrivateKeyFile({ publicKey, plain }, comment)
}

export function encodePrivateKeyFile(
  { publicKey, plain }: Pick<PrivateFields, 'publicKey' | 'plain'>,
  comment: string,
): string {
  // Equal on both sides shows, in the encrypted form, that the passphrase was right; here it is only form.
  const check = new Uint8Array(randomBytes(4))
  const inner = new SshWriter().raw(check).raw(check).string(publicKey.type).raw(plain).string(comment).bytes()
  const padding = Uint8Array.from({ length: (BLOCK - (inner.length % BLOCK)) % BLOCK }, (_, i) => i + 1)
  const blob = new SshWriter()
    .raw(MAGIC)
    .string('none')
    .string('none')
    .string('')
    .uint32(1)
    .string(publicKey.blob)
    .string(concat(inner, padding))
    .bytes()
  return `${BEGIN}\n${toBase64(blob).replace(/.{1,70}/g, '$&\n')}${END}\n`
}

/** Throws `invalid-input`, never with any of the key in its message. */
export function decodeOpensshPrivateKey(pem: string, field = 'privateKey'): Ed25519Private {
  const { type, inner, outer } = openPrivateKeyFile(pem, field)
  if (type !== 'ssh-ed25519') inner.fail('it is not an Ed25519 key; use it through ssh-keygen')
  const point = inner.string()
  const both = inner.string()
  const comment = endOf(inner)
  const seed = both.subarray(0, 32)
  if (both.length !== 64 || point.length !== 32) inner.fail('its parts have the wrong size')
  const publicKey = publicKeyOf(seed)
  if (
    !equalBytes(publicKey.point, point) ||
    !equalBytes(both.subarray(32), point) ||
    !equalBytes(publicKey.blob, outer)
  )
    inner.fail(NOT_TOGETHER)
  return { seed, publicKey, comment }
}

export const NOT_TOGETHER = 'its public and private parts do not belong together'

/** The private part of a file, read up to the key's type, and the public key's blob before it. Throws as `decodeOpensshPrivateKey`. */
export function openPrivateKeyFile(pem: string, field: string): { type: string; inner: SshReader; outer: Uint8Array } {
  const text = pem.trim().replaceAll('\r\n', '\n')
  if (text.length > 20_000 || !text.startsWith(`${BEGIN}\n`) || !text.endsWith(`\n${END}`))
    throw invalid(field, `it is not a key that begins with ${BEGIN}`)
  let blob: Uint8Array
  try {
    blob = fromBase64(text.slice(BEGIN.length + 1, -END.length - 1).replaceAll('\n', ''))
  } catch {
    throw invalid(field, 'what stands between the lines is not base64')
  }
  const reader = new SshReader(blob, field)
  if (!equalBytes(reader.bytes(MAGIC.length), MAGIC)) reader.fail('it is not of the form openssh-key-v1')
  if (reader.text() !== 'none' || reader.text() !== 'none')
    reader.fail('it has a passphrase; use it through ssh-keygen')
  reader.string()
  if (reader.uint32() !== 1) reader.fail('it holds more than one key')
  const outer = reader.string()
  const inner = new SshReader(reader.string(), field)
  reader.end()
  if (!equalBytes(inner.bytes(4), inner.bytes(4))) inner.fail('its check numbers differ')
  return { type: inner.text(), inner, outer }
}

/** The comment, behind which is nothing but padding. */
export function endOf(inner: SshReader): string {
  const comment = inner.text()
  for (let expected = 1; inner.remaining > 0; expected++)
    if (inner.byte() !== expected || expected >= BLOCK) inner.fail('its padding is wrong')
  return comment
}
