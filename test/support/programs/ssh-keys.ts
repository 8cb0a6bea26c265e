import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { concat, fromBase64Url } from '#shared/bytes.ts'
import {
  decodePublicKey,
  encodeOpensshPrivateKey,
  encodeSignature,
  publicKeyFromSpki,
  type SshKeyType,
  type SshPublicKey,
  SshWriter,
} from '#shared/ssh/index.ts'

/** A key pair made for a test: the public half as ours, the private half as a signer and as a file for OpenSSH. */
export type TestKey = {
  readonly publicKey: SshPublicKey
  /** A signature blob over the message. */
  readonly sign: (message: Uint8Array) => Uint8Array
  /** What `ssh-keygen -s` and `-Y sign` take; a security key has none. */
  readonly privateFile: string | undefined
}

const CURVES = { nistp256: 'prime256v1', nistp384: 'secp384r1', nistp521: 'secp521r1' } as const
const HASHES = { nistp256: 'sha256', nistp384: 'sha384', nistp521: 'sha512' } as const
export const PLAIN_TYPES = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'ssh-rsa',
] as const
export const SECURITY_KEY_TYPES = ['sk-ssh-ed25519@openssh.com', 'sk-ecdsa-sha2-nistp256@openssh.com'] as const
export const ALL_TYPES: readonly SshKeyType[] = [...PLAIN_TYPES, ...SECURITY_KEY_TYPES]

const spki = (key: KeyObject): Uint8Array => new Uint8Array(key.export({ format: 'der', type: 'spki' }))
const bytes = (buffer: Uint8Array): Uint8Array => new Uint8Array(buffer)
const sha256 = (data: Uint8Array | string): Uint8Array => bytes(createHash('sha256').update(data).digest())

const made = new Map<SshKeyType, TestKey>()
/** One key of each type for a whole file of tests: an RSA key takes a while. */
export function keyOf(type: SshKeyType): TestKey {
  const known = made.get(type)
  if (known) return known
  const key = newKey(type)
  made.set(type, key)
  return key
}

export function newKey(type: SshKeyType): TestKey {
  switch (type) {
    case 'ssh-ed25519':
      return newEd25519()
    case 'ssh-rsa':
      return newRsa(3072)
    case 'ecdsa-sha2-nistp256':
    case 'ecdsa-sha2-nistp384':
    case 'ecdsa-sha2-nistp521': {
      const curve =
        type === 'ecdsa-sha2-nistp256' ? 'nistp256' : type === 'ecdsa-sha2-nistp384' ? 'nistp384' : 'nistp521'
      const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: CURVES[curve] })
      const ours = publicKeyFromSpki(spki(publicKey))
      const raw = (message: Uint8Array) =>
        bytes(sign(HASHES[curve], message, { key: privateKey, dsaEncoding: 'ieee-p1363' }))
      return {
        publicKey: ours,
        sign: message => encodeSignature(ours, raw(message)),
        privateFile: privateKey.export({ format: 'pem', type: 'sec1' }).toString(),
      }
    }
    default:
      return newSecurityKey(type)
  }
}

function newEd25519(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const ours = publicKeyFromSpki(spki(publicKey))
  const seed = fromBase64Url(privateKey.export({ format: 'jwk' }).d ?? '')
  return {
    publicKey: ours,
    sign: message => encodeSignature(ours, bytes(sign(null, message, privateKey))),
    privateFile: encodeOpensshPrivateKey({ seed, comment: 'test' }),
  }
}

/** Also for a key that is too short to be taken: then `publicKey` throws, so the blob is there by itself. */
export function rsaBlob(bits: number): { blob: Uint8Array; privateKey: KeyObject } {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: bits })
  const { e = '', n = '' } = publicKey.export({ format: 'jwk' })
  return { blob: new SshWriter().string('ssh-rsa').mpint(fromBase64Url(e)).mpint(fromBase64Url(n)).bytes(), privateKey }
}

function newRsa(bits: number): TestKey {
  const { blob, privateKey } = rsaBlob(bits)
  const ours = decodePublicKey(blob)
  return {
    publicKey: ours,
    sign: message => encodeSignature(ours, bytes(sign('sha512', message, privateKey))),
    privateFile: privateKey.export({ format: 'pem', type: 'pkcs1' }).toString(),
  }
}

/** A security key by hand, as PROTOCOL.u2f has it: it signs SHA-256 of the application, flags, counter, SHA-256 of the message. */
export function newSecurityKey(
  type: (typeof SECURITY_KEY_TYPES)[number],
  { flags = 0x01, application = 'ssh:' } = {},
): TestKey {
  const isEd25519 = type === 'sk-ssh-ed25519@openssh.com'
  const { privateKey, publicKey } = isEd25519
    ? generateKeyPairSync('ed25519')
    : generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const inner = publicKeyFromSpki(spki(publicKey))
  const writer = new SshWriter().string(type)
  if ('curve' in inner) writer.string(inner.curve)
  if ('point' in inner) writer.string(inner.point)
  const ours = decodePublicKey(writer.string(application).bytes())
  return {
    publicKey: ours,
    privateFile: undefined,
    sign(message) {
      const counter = new SshWriter().uint32(7).bytes()
      const signed = concat(sha256(application), Uint8Array.of(flags), counter, sha256(message))
      if (isEd25519) {
        const raw = bytes(sign(null, signed, privateKey))
        return concat(new SshWriter().string(type).string(raw).bytes(), Uint8Array.of(flags), counter)
      }
      const raw = bytes(sign('sha256', signed, { key: privateKey, dsaEncoding: 'ieee-p1363' }))
      const numbers = new SshWriter().mpint(raw.subarray(0, 32)).mpint(raw.subarray(32)).bytes()
      return concat(new SshWriter().string(type).string(numbers).bytes(), Uint8Array.of(flags), counter)
    },
  }
}

/** Of a certificate (PROTOCOL.certkeys): random, so that two are never signed alike. */
export const newNonce = (): Uint8Array => new Uint8Array(randomBytes(32))
