import { createHash } from 'node:crypto'
import { equalBytes, fromBase64, toBase64, utf8 } from '../bytes.ts'
import { invalid } from '../errors.ts'
import { decodePublicKey, type SshPublicKey } from './public-key.ts'
import { verifySignature } from './signature.ts'
import { SshReader, SshWriter } from './wire.ts'

/** Pure: SSHSIG, OpenSSH's signatures of files and messages (PROTOCOL.sshsig). Made with SHA-512, read with SHA-256 too. */
const MAGIC = utf8('SSHSIG')
const VERSION = 1
const BEGIN = '-----BEGIN SSH SIGNATURE-----'
const END = '-----END SSH SIGNATURE-----'

export type Sshsig = {
  readonly publicKey: SshPublicKey
  readonly namespace: string
  readonly hash: 'sha256' | 'sha512'
  /** A signature blob, see `signature.ts`. */
  readonly signature: Uint8Array
}

/** The bytes that the key signs. A namespace of its own for each use keeps a signature from serving another. */
export function sshsigSignedData(namespace: string, message: Uint8Array, hash: Sshsig['hash'] = 'sha512'): Uint8Array {
  const digest = new Uint8Array(createHash(hash).update(message).digest())
  return new SshWriter().raw(MAGIC).string(namespace).string('').string(hash).string(digest).bytes()
}

/** `signature`: blob over `sshsigSignedData(namespace, message)`. */
export const encodeSshsig = (parts: {
  publicKey: SshPublicKey
  namespace: string
  signature: Uint8Array
}): Uint8Array =>
  new SshWriter()
    .raw(MAGIC)
    .uint32(VERSION)
    .string(parts.publicKey.blob)
    .string(parts.namespace)
    .string('')
    .string('sha512')
    .string(parts.signature)
    .bytes()

/** Lines of 70 characters, as ssh-keygen writes them. */
export const armorSshsig = (blob: Uint8Array): string =>
  `${BEGIN}\n${toBase64(blob).replace(/.{1,70}/g, '$&\n')}${END}\n`

/** Throws `invalid-input`. */
export function parseSshsig(armored: string, field = 'signature'): Sshsig {
  if (armored.length > 20_000) throw invalid(field, 'the signature is longer than any that is taken')
  const text = armored.trim().replaceAll('\r\n', '\n')
  if (!text.startsWith(`${BEGIN}\n`) || !text.endsWith(`\n${END}`))
    throw invalid(field, `it is not a signature that begins with ${BEGIN}`)
  const encoded = text.slice(BEGIN.length + 1, -END.length - 1).replaceAll('\n', '')
  let blob: Uint8Array
  try {
    blob = fromBase64(encoded)
  } catch {
    throw invalid(field, 'what stands between the lines is not base64')
  }
  return decodeSshsig(blob, field)
}

export function decodeSshsig(blob: Uint8Array, field = 'signature'): Sshsig {
  const reader = new SshReader(blob, field)
  if (!equalBytes(reader.bytes(MAGIC.length), MAGIC)) reader.fail('it is not an SSHSIG')
  if (reader.uint32() !== VERSION) reader.fail('its version is not 1')
  const publicKey = decodePublicKey(reader.string(), field)
  const namespace = reader.text()
  if (namespace === '') reader.fail('its namespace is empty')
  reader.string() // Reserved: ignored by readers, says the specification.
  const hash = reader.text()
  if (hash !== 'sha256' && hash !== 'sha512') return reader.fail('its hash is neither sha256 nor sha512')
  const signature = reader.string()
  reader.end()
  return { publicKey, namespace, hash, signature }
}

/** True only for this key, byte for byte, this namespace and this message. */
export function verifySshsig(
  sig: Sshsig,
  expected: { namespace: string; message: Uint8Array; publicKey: SshPublicKey },
): boolean {
  return (
    sig.namespace === expected.namespace &&
    equalBytes(sig.publicKey.blob, expected.publicKey.blob) &&
    verifySignature(expected.publicKey, sshsigSignedData(sig.namespace, expected.message, sig.hash), sig.signature)
  )
}

/** The same by one of several keys, of which each would do. */
export const verifySshsigByAny = (
  sig: Sshsig,
  { publicKeys, ...expected }: { namespace: string; message: Uint8Array; publicKeys: readonly SshPublicKey[] },
): boolean => publicKeys.some(publicKey => verifySshsig(sig, { ...expected, publicKey }))
