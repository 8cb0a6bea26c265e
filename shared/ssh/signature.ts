import { createHash, verify } from 'node:crypto'
import { concat } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { CURVES, type SshPublicKey, toKeyObject } from './public-key.ts'
import { SshReader, SshWriter } from './wire.ts'

/**
 * Pure: signature blobs: `string algorithm, string signature` (RFC 4253 section 6.6, RFC 5656 section 3.1.2, RFC 8332,
 * RFC 8709), for security keys followed by flags and counter (PROTOCOL.u2f). SHA-1 (`ssh-rsa`) is refused.
 */
const HASHES = { nistp256: 'sha256', nistp384: 'sha384', nistp521: 'sha512' } as const
const USER_PRESENT = 0x01

/** From what a keystore gives: Ed25519 its 64 bytes; ECDSA r || s (IEEE P1363); RSA PKCS#1 v1.5 over SHA-512. */
export function encodeSignature(key: SshPublicKey, raw: Uint8Array): Uint8Array {
  switch (key.type) {
    case 'ssh-ed25519':
      return new SshWriter().string(key.type).string(raw).bytes()
    case 'ssh-rsa':
      return new SshWriter().string('rsa-sha2-512').string(raw).bytes()
    case 'ecdsa-sha2-nistp256':
    case 'ecdsa-sha2-nistp384':
    case 'ecdsa-sha2-nistp521': {
      const half = CURVES[key.curve].bytes
      if (raw.length !== 2 * half)
        throw new TypeError(`an ECDSA signature on ${key.curve} has ${2 * half} bytes, not ${raw.length}`)
      const numbers = new SshWriter().mpint(raw.subarray(0, half)).mpint(raw.subarray(half)).bytes()
      return new SshWriter().string(key.type).string(numbers).bytes()
    }
    default:
      throw new TypeError('a security key signs by itself')
  }
}

type Check = { hash: string | null; message: Uint8Array; signature: Uint8Array; p1363: boolean }

/** False for every signature that is not exactly this key's over this message, and for a malformed one. */
export function verifySignature(key: SshPublicKey, message: Uint8Array, blob: Uint8Array): boolean {
  const check = prepare(key, message, blob)
  return check !== undefined && verify(check.hash, check.message, keyInput(key, check), check.signature)
}

const keyInput = (key: SshPublicKey, { p1363 }: Check) => ({
  key: toKeyObject(key),
  ...(p1363 ? { dsaEncoding: 'ieee-p1363' as const } : {}),
})

function prepare(key: SshPublicKey, message: Uint8Array, blob: Uint8Array): Check | undefined {
  try {
    const reader = new SshReader(blob, 'signature')
    const algorithm = reader.text()
    const signature = reader.string()
    const check = checkFor(key, algorithm, message, signature, reader)
    reader.end()
    return check
  } catch (error) {
    if (error instanceof KeymanError) return undefined
    throw error
  }
}

function checkFor(
  key: SshPublicKey,
  algorithm: string,
  message: Uint8Array,
  signature: Uint8Array,
  reader: SshReader,
): Check | undefined {
  switch (key.type) {
    case 'ssh-rsa': {
      const hash = algorithm === 'rsa-sha2-512' ? 'sha512' : algorithm === 'rsa-sha2-256' ? 'sha256' : undefined
      // OpenSSH pads a signature with fewer bytes; node:crypto wants the modulus' length.
      if (!hash || signature.length > key.modulus.length) return undefined
      return { hash, message, signature: leftPad(signature, key.modulus.length), p1363: false }
    }
    case 'ssh-ed25519':
      return algorithm === key.type && signature.length === 64
        ? { hash: null, message, signature, p1363: false }
        : undefined
    case 'ecdsa-sha2-nistp256':
    case 'ecdsa-sha2-nistp384':
    case 'ecdsa-sha2-nistp521':
      return algorithm === key.type
        ? { hash: HASHES[key.curve], message, signature: p1363(signature, CURVES[key.curve].bytes), p1363: true }
        : undefined
    case 'sk-ssh-ed25519@openssh.com':
      return algorithm === key.type && signature.length === 64
        ? { hash: null, message: skMessage(key.application, message, reader), signature, p1363: false }
        : undefined
    case 'sk-ecdsa-sha2-nistp256@openssh.com':
      return algorithm === key.type
        ? {
            hash: 'sha256',
            message: skMessage(key.application, message, reader),
            signature: p1363(signature, 32),
            p1363: true,
          }
        : undefined
  }
}

/** What a security key signs: SHA-256 of application, flags, counter, SHA-256 of the message. The person must have been there. */
function skMessage(application: string, message: Uint8Array, reader: SshReader): Uint8Array {
  const flags = reader.byte()
  const counter = reader.bytes(4)
  if (!(flags & USER_PRESENT)) reader.fail('the security key was not touched')
  const sha256 = (data: Uint8Array | string) => new Uint8Array(createHash('sha256').update(data).digest())
  return concat(sha256(application), Uint8Array.of(flags), counter, sha256(message))
}

/** Two mpints to fixed width. */
function p1363(signature: Uint8Array, half: number): Uint8Array {
  const reader = new SshReader(signature, 'signature')
  const r = reader.mpint()
  const s = reader.mpint()
  reader.end()
  if (r.length > half || s.length > half || r.length === 0 || s.length === 0) reader.fail('a number has the wrong size')
  return concat(leftPad(r, half), leftPad(s, half))
}

function leftPad(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes
  const out = new Uint8Array(length)
  out.set(bytes, length - bytes.length)
  return out
}
