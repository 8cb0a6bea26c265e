import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { concat, fromBase64, fromBase64Url, toBase64, toBase64Url } from '../bytes.ts'
import { invalid } from '../errors.ts'
import { printable } from '../names.ts'
import { SshReader, SshWriter } from './wire.ts'

/**
 * Pure: public keys as OpenSSH writes them: RFC 4253 section 6.6 (RSA), RFC 5656 section 3.1 (ECDSA), RFC 8709
 * (Ed25519), OpenSSH's PROTOCOL.u2f (sk- keys).
 */
export type Curve = 'nistp256' | 'nistp384' | 'nistp521'
export type SshPublicKey =
  | { readonly type: 'ssh-ed25519'; readonly blob: Uint8Array; readonly point: Uint8Array }
  | {
      readonly type: `ecdsa-sha2-${Curve}`
      readonly blob: Uint8Array
      readonly curve: Curve
      readonly point: Uint8Array
    }
  | { readonly type: 'ssh-rsa'; readonly blob: Uint8Array; readonly exponent: Uint8Array; readonly modulus: Uint8Array }
  | {
      readonly type: 'sk-ssh-ed25519@openssh.com'
      readonly blob: Uint8Array
      readonly point: Uint8Array
      readonly application: string
    }
  | {
      readonly type: 'sk-ecdsa-sha2-nistp256@openssh.com'
      readonly blob: Uint8Array
      readonly curve: 'nistp256'
      readonly point: Uint8Array
      readonly application: string
    }
export type SshKeyType = SshPublicKey['type']

export const MIN_RSA_BITS = 3072
const MAX_RSA_BITS = 16_384
/** No key of ours is longer: a blob is measured before it is parsed (CVE-2018-3737). */
const MAX_BLOB = 8192
/** A certificate's blob of at most 64 KiB in base64, type and comment. */
const MAX_LINE = 90_000

export const CURVES: Readonly<Record<Curve, { readonly bytes: number; readonly jwk: string }>> = {
  nistp256: { bytes: 32, jwk: 'P-256' },
  nistp384: { bytes: 48, jwk: 'P-384' },
  nistp521: { bytes: 66, jwk: 'P-521' },
}

/** Throws `invalid-input`, naming `field`, for every other type, a certificate, a short RSA key, a point off its curve, trailing bytes. */
export function decodePublicKey(blob: Uint8Array, field = 'publicKey'): SshPublicKey {
  if (blob.length > MAX_BLOB) throw invalid(field, `a key of ${blob.length} bytes is longer than any that is taken`)
  const reader = new SshReader(blob, field)
  const key = readKey(reader, reader.text(), blob, field)
  reader.end()
  plainKeys.set(blob, key.type)
  return key
}

/** Blobs that `decodePublicKey` has taken, and as what: reading a curve's point again for each certificate costs more than the rest of it. */
const plainKeys = new WeakMap<Uint8Array, SshKeyType>()

/** Throws `invalid-input` unless the key's blob is that of a plain key of its type. */
export function demandPlainKey(key: SshPublicKey, field: string): void {
  if (plainKeys.get(key.blob) === key.type) return
  const { type } = decodePublicKey(key.blob, field)
  if (type !== key.type) throw invalid(field, `it says ${printable(key.type)}, but the key inside is ${type}`)
}

function readKey(reader: SshReader, type: string, blob: Uint8Array, field: string): SshPublicKey {
  switch (type) {
    case 'ssh-ed25519':
      return { type, blob, point: ed25519Point(reader) }
    case 'sk-ssh-ed25519@openssh.com':
      return { type, blob, point: ed25519Point(reader), application: application(reader) }
    case 'ecdsa-sha2-nistp256':
    case 'ecdsa-sha2-nistp384':
    case 'ecdsa-sha2-nistp521': {
      const curve = type.slice(11) as Curve
      return { type, blob, curve, point: ecPoint(reader, curve, field) }
    }
    case 'sk-ecdsa-sha2-nistp256@openssh.com':
      return {
        type,
        blob,
        curve: 'nistp256',
        point: ecPoint(reader, 'nistp256', field),
        application: application(reader),
      }
    case 'ssh-rsa':
      return rsa(reader, blob, field)
    case 'ssh-dss':
      throw invalid(field, 'DSA keys are not taken', 'make a new key: ssh-keygen -t ed25519')
    default:
      if (type.includes('-cert-v'))
        throw invalid(
          field,
          'this is a certificate, not a plain public key',
          'give the .pub file, not the -cert.pub file',
        )
      throw invalid(
        field,
        `${printable(type)} is not a type of key that is taken`,
        'make a new key: ssh-keygen -t ed25519',
      )
  }
}

function ed25519Point(reader: SshReader): Uint8Array {
  const point = reader.string()
  if (point.length !== 32) reader.fail(`an Ed25519 key has 32 bytes, not ${point.length}`)
  return point
}

function application(reader: SshReader): string {
  const text = reader.text()
  if (text.length === 0 || text.length > 256 || /[^\x21-\x7e]/.test(text))
    reader.fail('the application of the security key is not printable')
  return text
}

function ecPoint(reader: SshReader, curve: Curve, field: string): Uint8Array {
  if (reader.text() !== curve) reader.fail(`the curve named inside is not ${curve}`)
  const point = reader.string()
  const { bytes } = CURVES[curve]
  if (point.length !== 1 + 2 * bytes || point[0] !== 4) reader.fail('the point is not in its uncompressed form')
  // OpenSSL checks that the point lies on the curve; one that does not would leak the other side's key elsewhere.
  try {
    ecKeyObject(curve, point)
  } catch {
    throw invalid(field, `the point does not lie on ${curve}`)
  }
  return point
}

function rsa(reader: SshReader, blob: Uint8Array, field: string): SshPublicKey {
  const exponent = reader.mpint()
  const modulus = reader.mpint()
  const bits = bitLength(modulus)
  if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS)
    throw invalid(
      field,
      `an RSA key of ${bits} bits is not taken; it needs ${MIN_RSA_BITS} at least`,
      'make a new key: ssh-keygen -t ed25519',
    )
  const last = exponent.at(-1) ?? 0
  if (exponent.length === 0 || exponent.length > 8 || (exponent.length === 1 && last < 3) || (last & 1) === 0)
    throw invalid(field, 'the RSA exponent is not taken')
  if (((modulus.at(-1) ?? 0) & 1) === 0) throw invalid(field, 'the RSA modulus is even')
  return { type: 'ssh-rsa', blob, exponent, modulus }
}

export const bitLength = (number: Uint8Array): number =>
  number.length === 0 ? 0 : (number.length - 1) * 8 + (32 - Math.clz32(number[0] ?? 0))

/** A line as in a `.pub` file: type, base64, and perhaps a comment. Throws `invalid-input`. */
export function parsePublicKey(line: string, field = 'publicKey'): SshPublicKey & { readonly comment: string } {
  const { blob, type, comment } = splitLine(line, field)
  const key = decodePublicKey(blob, field)
  if (key.type !== type) throw invalid(field, `the line says ${printable(type)}, but the key inside is ${key.type}`)
  return { ...key, comment }
}

/** The three words of a line, its base64 decoded. Shared with certificates. A pasted private key is never repeated. */
export function splitLine(line: string, field: string): { type: string; blob: Uint8Array; comment: string } {
  if (/PRIVATE KEY|PuTTY-User-Key-File/.test(line))
    throw invalid(
      field,
      'this is a private key',
      'give the .pub file; and treat that private key as leaked: make a new one',
    )
  const text = line.replace(/\r?\n$/, '')
  // Measured before it is parsed (CVE-2018-3737); a comment's escape sequences would reach a terminal.
  if (text.length > MAX_LINE)
    throw invalid(field, `a line of ${text.length} characters is longer than any that is taken`)
  if (/[\0-\x1f\x7f-\x9f]/.test(text)) throw invalid(field, 'it must be one line as in a .pub file')
  const match = /^([a-z0-9@.-]{1,64}) ([A-Za-z0-9+/]{16,}={0,2})(?: (.*))?$/.exec(text.trim())
  if (!match) throw invalid(field, 'it is not a public key as in a .pub file: type, base64, comment')
  const [, type = '', encoded = '', comment = ''] = match
  try {
    return { type, blob: fromBase64(encoded), comment }
  } catch {
    throw invalid(field, 'the middle word is not base64')
  }
}

export const formatPublicKey = (key: SshPublicKey, comment?: string): string =>
  `${key.type} ${toBase64(key.blob)}${comment ? ` ${comment}` : ''}`

/** `SHA256:` and unpadded base64, as `ssh-keygen -l` prints it. */
export const fingerprint = (key: SshPublicKey | Uint8Array): string =>
  `SHA256:${createHash('sha256')
    .update(key instanceof Uint8Array ? key : key.blob)
    .digest('base64')
    .replace(/=+$/, '')}`

/** From DER SubjectPublicKeyInfo: Ed25519, ECDSA on the three NIST curves, RSA. Throws `invalid-input`. */
export function publicKeyFromSpki(der: Uint8Array, field = 'publicKey'): SshPublicKey {
  const jwk = readSpki(der, field)
  if (jwk.kty === 'OKP' && jwk.crv === 'Ed25519') return ed25519Key(jwkBytes(jwk.x))
  if (jwk.kty === 'RSA')
    return decodePublicKey(
      new SshWriter().string('ssh-rsa').mpint(jwkBytes(jwk.e)).mpint(jwkBytes(jwk.n)).bytes(),
      field,
    )
  const curve = (Object.keys(CURVES) as Curve[]).find(name => CURVES[name].jwk === jwk.crv)
  if (jwk.kty !== 'EC' || !curve) throw invalid(field, 'this kind of key has no place in SSH')
  const point = concat(Uint8Array.of(4), jwkBytes(jwk.x), jwkBytes(jwk.y))
  return decodePublicKey(new SshWriter().string(`ecdsa-sha2-${curve}`).string(curve).string(point).bytes(), field)
}

function readSpki(der: Uint8Array, field: string) {
  try {
    return createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' }).export({ format: 'jwk' })
  } catch {
    throw invalid(field, 'it is not a SubjectPublicKeyInfo of a kind that is known here')
  }
}

const jwkBytes = (value: unknown): Uint8Array => fromBase64Url(typeof value === 'string' ? value : '')

/** The 32 bytes of RFC 8032 as a key. */
export function ed25519Key(point: Uint8Array): Extract<SshPublicKey, { type: 'ssh-ed25519' }> {
  if (point.length !== 32) throw invalid('publicKey', `an Ed25519 key has 32 bytes, not ${point.length}`)
  const blob = new SshWriter().string('ssh-ed25519').string(point).bytes()
  plainKeys.set(blob, 'ssh-ed25519')
  return { type: 'ssh-ed25519', blob, point }
}

const keyObjects = new WeakMap<Uint8Array, KeyObject>()

/** For `node:crypto`; made once for each blob. A security key gives the key inside. */
export function toKeyObject(key: SshPublicKey): KeyObject {
  const known = keyObjects.get(key.blob)
  if (known) return known
  const made = makeKeyObject(key)
  keyObjects.set(key.blob, made)
  return made
}

function makeKeyObject(key: SshPublicKey): KeyObject {
  if (key.type === 'ssh-rsa')
    return createPublicKey({
      key: { kty: 'RSA', n: toBase64Url(key.modulus), e: toBase64Url(key.exponent) },
      format: 'jwk',
    })
  if ('curve' in key) return ecKeyObject(key.curve, key.point)
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(key.point) }, format: 'jwk' })
}

function ecKeyObject(curve: Curve, point: Uint8Array): KeyObject {
  const { bytes, jwk } = CURVES[curve]
  const x = toBase64Url(point.subarray(1, 1 + bytes))
  const y = toBase64Url(point.subarray(1 + bytes))
  return createPublicKey({ key: { kty: 'EC', crv: jwk, x, y }, format: 'jwk' })
}
