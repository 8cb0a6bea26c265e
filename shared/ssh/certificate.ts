import { compareBytes, concat, equalBytes, toBase64, utf8 } from '../bytes.ts'
import { invalid } from '../errors.ts'
import { isAddressRange } from '../ip-address.ts'
import {
  type HostName,
  isHostName,
  isKeyId,
  isUserPrincipal,
  type KeyId,
  printable,
  type UserPrincipal,
} from '../names.ts'
import { decodePublicKey, demandPlainKey, type SshPublicKey, splitLine } from './public-key.ts'
import { verifySignature } from './signature.ts'
import { SshReader, SshWriter } from './wire.ts'

/**
 * Pure: OpenSSH certificates, draft-miller-ssh-cert (older: PROTOCOL.certkeys). Fields in the order of the specification:
 *
 *   string type, string nonce, key's own fields, uint64 serial, uint32 kind, string key id, string valid principals,
 *   uint64 valid after, uint64 valid before, string critical options, string extensions, string reserved,
 *   string signature key, string signature
 */
export const EXTENSIONS = [
  'no-touch-required',
  'permit-X11-forwarding',
  'permit-agent-forwarding',
  'permit-port-forwarding',
  'permit-pty',
  'permit-user-rc',
] as const
export type Extension = (typeof EXTENSIONS)[number]

/** What a user certificate forces. `sourceAddress`: addresses and CIDR ranges. */
export type CriticalOptions = {
  readonly forceCommand?: string
  readonly sourceAddress?: readonly string[]
  readonly verifyRequired?: boolean
}

type Common = {
  /** 32 random bytes: no two bodies are alike. */
  readonly nonce: Uint8Array
  readonly subjectKey: SshPublicKey
  /** Above 0: a KRL can't name 0. */
  readonly serial: bigint
  readonly keyId: KeyId
  /** Unix seconds; the interval is half-open, the end exclusive. */
  readonly validAfter: bigint
  readonly validBefore: bigint
  readonly authorityKey: SshPublicKey
}
export type UserCertificateBody = Common & {
  readonly kind: 'user'
  readonly principals: readonly UserPrincipal[]
  readonly criticalOptions: CriticalOptions
  readonly extensions: readonly Extension[]
}
export type HostCertificateBody = Common & { readonly kind: 'host'; readonly principals: readonly HostName[] }
export type CertificateBody = UserCertificateBody | HostCertificateBody

const KINDS = { user: 1, host: 2 } as const
const SUFFIX = '-cert-v01@openssh.com'
/** As OpenSSH's SSHKEY_CERT_MAX_PRINCIPALS. */
const MAX_PRINCIPALS = 256
const FOREVER = (1n << 64n) - 1n
const MAX_BLOB = 64 * 1024

/** `ssh-ed25519` to `ssh-ed25519-cert-v01@openssh.com`; a security key's suffix stands before its `@`. */
export const certificateType = (key: SshPublicKey): string => `${key.type.replace(/@openssh\.com$/, '')}${SUFFIX}`

/**
 * The bytes to be signed. Throws `invalid-input` for whatever must never be signed, whoever asks: no principal or one
 * outside the allow-list (CVE-2024-7594, CVE-2026-35414), serial 0, no end, an empty interval, a key ID outside the allow-list.
 */
export function encodeCertificateBody(body: CertificateBody): Uint8Array {
  checkBody(body)
  const { subjectKey, principals } = body
  const writer = new SshWriter(1024)
    .string(certificateType(subjectKey))
    .string(body.nonce)
    .raw(ownFields(subjectKey))
    .uint64(body.serial)
    .uint32(KINDS[body.kind])
    .string(body.keyId)
    .nested(list => {
      for (const principal of principals) list.string(principal)
    })
    .uint64(body.validAfter)
    .uint64(body.validBefore)
  if (body.kind === 'user') {
    const { criticalOptions, extensions } = body
    writer.nested(list => writeCriticalOptions(list, criticalOptions)).nested(list => writeExtensions(list, extensions))
  } else writer.string('').string('')
  return writer.string('').string(body.authorityKey.blob).bytes()
}

/** The key's blob without its type: what stands between nonce and serial. */
const ownFields = (key: SshPublicKey): Uint8Array => key.blob.subarray(4 + key.type.length)

function checkBody(body: CertificateBody): void {
  const { principals, serial, validAfter, validBefore, keyId, nonce } = body
  if (principals.length === 0)
    throw invalid('principals', 'a certificate without principals would be good for everybody')
  if (principals.length > MAX_PRINCIPALS)
    throw invalid('principals', `${principals.length} are more than ${MAX_PRINCIPALS}`)
  if (new Set<string>(principals).size !== principals.length) throw invalid('principals', 'one stands there twice')
  const isName = body.kind === 'user' ? isUserPrincipal : isHostName
  for (const principal of principals)
    if (!isName(principal))
      throw invalid('principals', `${printable(principal)} is not a name that a ${body.kind} certificate may hold`)
  if (serial <= 0n || serial > FOREVER) throw invalid('serial', 'it must be above 0 and fit 64 bits')
  if (!isKeyId(keyId)) throw invalid('keyId', `${printable(keyId)} is not a key ID`)
  if (validAfter <= 0n) throw invalid('validAfter', 'a certificate needs a beginning')
  if (validBefore <= 0n || validBefore >= FOREVER) throw invalid('validBefore', 'a certificate needs an end')
  if (validBefore <= validAfter) throw invalid('validBefore', 'it must lie after validAfter')
  if (nonce.length !== 32) throw invalid('nonce', `it must have 32 bytes, not ${nonce.length}`)
  // A certificate's blob as authority or subject would nest (CVE-2025-49825), and a short RSA key would be one more to
  // trust. The types allow good plain keys alone; whoever got round them meets the parser.
  demandPlainKey(body.subjectKey, 'subjectKey')
  demandPlainKey(body.authorityKey, 'authorityKey')
}

/** Sorted by name, as sshd demands; a value is string(string(value)), an option without one is name and empty string. */
function writeCriticalOptions(writer: SshWriter, options: CriticalOptions): void {
  const { forceCommand, sourceAddress, verifyRequired } = options
  if (forceCommand !== undefined) {
    if (forceCommand === '' || /[\0-\x1f\x7f]/.test(forceCommand))
      throw invalid('forceCommand', 'it must be one line of text')
    writer.string('force-command').nested(value => value.string(forceCommand))
  }
  if (sourceAddress !== undefined) {
    if (sourceAddress.length === 0) throw invalid('sourceAddress', 'an empty list would let nobody in')
    for (const range of sourceAddress)
      if (!isAddressRange(range)) throw invalid('sourceAddress', `${printable(range)} is not an address or CIDR range`)
    writer.string('source-address').nested(value => value.string(sourceAddress.join(',')))
  }
  if (verifyRequired) writer.string('verify-required').string('')
}

function writeExtensions(writer: SshWriter, extensions: readonly Extension[]): void {
  const known = EXTENSIONS.filter(name => extensions.includes(name))
  if (known.length !== extensions.length) throw invalid('extensions', 'one is unknown or stands there twice')
  for (const name of known) writer.string(name).string('')
}

/** The whole certificate: body and signature blob. */
export const assembleCertificate = (body: Uint8Array, signature: Uint8Array): Uint8Array =>
  new SshWriter(body.length + 4 + signature.length).raw(body).string(signature).bytes()

export const formatCertificate = (blob: Uint8Array, comment?: string): string =>
  `${new SshReader(blob, 'certificate').text()} ${toBase64(blob)}${comment ? ` ${comment}` : ''}`

/** A certificate as it was read, perhaps somebody else's: names and options are plain text, unknown options are kept. */
export type Certificate = {
  readonly type: string
  readonly kind: 'user' | 'host'
  readonly nonce: Uint8Array
  readonly subjectKey: SshPublicKey
  readonly serial: bigint
  readonly keyId: string
  readonly principals: readonly string[]
  readonly validAfter: bigint
  readonly validBefore: bigint
  /** Name and value; an option without a value has an empty one. */
  readonly criticalOptions: readonly NamedValue[]
  readonly extensions: readonly NamedValue[]
  readonly authorityKey: SshPublicKey
  /** The bytes that were signed. */
  readonly body: Uint8Array
  readonly signature: Uint8Array
  readonly blob: Uint8Array
}
export type NamedValue = { readonly name: string; readonly value: Uint8Array }

/** Throws `invalid-input`. A certificate of another subject or signature key than `decodePublicKey` takes is refused. Its signature is not checked here. */
export function decodeCertificate(blob: Uint8Array, field = 'certificate'): Certificate {
  if (blob.length > MAX_BLOB)
    throw invalid(field, `a certificate of ${blob.length} bytes is longer than any that is taken`)
  const reader = new SshReader(blob, field)
  const type = reader.text()
  const keyType = keyTypeOf(type)
  if (!keyType) throw invalid(field, `${printable(type)} is not a type of certificate that is known`)
  const nonce = reader.string()
  const subjectKey = readSubjectKey(reader, keyType, blob, field)
  const serial = reader.uint64()
  const kindNumber = reader.uint32()
  const kind: Certificate['kind'] | undefined =
    kindNumber === KINDS.user ? 'user' : kindNumber === KINDS.host ? 'host' : undefined
  if (!kind) return reader.fail(`its kind ${kindNumber} is neither user nor host`)
  const keyId = reader.text()
  const principals = readPrincipals(reader.string(), field)
  const validAfter = reader.uint64()
  const validBefore = reader.uint64()
  const criticalOptions = readOptions(reader.string(), field)
  const extensions = readOptions(reader.string(), field)
  reader.string() // reserved
  const authorityKey = decodePublicKey(reader.string(), field)
  const body = blob.subarray(0, reader.offset)
  const signature = reader.string()
  reader.end()
  return {
    type,
    kind,
    nonce,
    subjectKey,
    serial,
    keyId,
    principals,
    validAfter,
    validBefore,
    criticalOptions,
    extensions,
    authorityKey,
    body,
    signature,
    blob,
  }
}

function keyTypeOf(type: string): string | undefined {
  if (!type.endsWith(SUFFIX)) return undefined
  const base = type.slice(0, -SUFFIX.length)
  return base.startsWith('sk-') ? `${base}@openssh.com` : base
}

/** How many strings or mpints each type has of its own. */
const FIELDS: Readonly<Record<string, number>> = {
  'ssh-ed25519': 1,
  'sk-ssh-ed25519@openssh.com': 2,
  'ssh-rsa': 2,
  'ecdsa-sha2-nistp256': 2,
  'ecdsa-sha2-nistp384': 2,
  'ecdsa-sha2-nistp521': 2,
  'sk-ecdsa-sha2-nistp256@openssh.com': 3,
}

function readSubjectKey(reader: SshReader, type: string, blob: Uint8Array, field: string): SshPublicKey {
  const count = Object.hasOwn(FIELDS, type) ? FIELDS[type] : undefined
  if (count === undefined) throw invalid(field, `a certificate for ${printable(type)} is not taken`)
  const start = reader.offset
  for (let i = 0; i < count; i++) reader.string()
  return decodePublicKey(concat(new SshWriter().string(type).bytes(), blob.subarray(start, reader.offset)), field)
}

function readPrincipals(bytes: Uint8Array, field: string): string[] {
  const reader = new SshReader(bytes, field)
  const principals: string[] = []
  while (reader.remaining > 0) {
    if (principals.length === MAX_PRINCIPALS) reader.fail(`it has more than ${MAX_PRINCIPALS} principals`)
    principals.push(reader.text())
  }
  return principals
}

/** Options that have a value, and those that have none: sshd refuses a certificate that says otherwise. */
const VALUED: ReadonlySet<string> = new Set(['force-command', 'source-address'])
const FLAGS: ReadonlySet<string> = new Set([...EXTENSIONS, 'verify-required'])

function readOptions(bytes: Uint8Array, field: string): NamedValue[] {
  const reader = new SshReader(bytes, field)
  const options: NamedValue[] = []
  while (reader.remaining > 0) {
    const name = reader.text()
    const before = options.at(-1)
    if (before && compareBytes(utf8(before.name), utf8(name)) >= 0) reader.fail('its options are not sorted by name')
    const data = reader.string()
    if (VALUED.has(name) ? data.length === 0 : FLAGS.has(name) && data.length > 0)
      reader.fail(`its option ${name} is not formed as sshd reads it`)
    const inner = new SshReader(data, field)
    const value = data.length === 0 ? data : inner.string()
    inner.end()
    if (VALUED.has(name) && value.includes(0)) reader.fail(`its option ${name} holds a NUL`)
    options.push({ name, value })
  }
  return options
}

/** One line as in a `-cert.pub` file. Throws `invalid-input`. */
export function parseCertificate(line: string, field = 'certificate'): Certificate {
  const { blob, type } = splitLine(line, field)
  const certificate = decodeCertificate(blob, field)
  if (certificate.type !== type)
    throw invalid(field, `the line says ${printable(type)}, but the certificate inside is ${certificate.type}`)
  return certificate
}

/**
 * Whether one of these authorities signed it. The signature key must be equal byte for byte to a known authority's plain
 * key: a certificate in an authority's place never counts (CVE-2025-49825).
 */
export function verifyCertificate(certificate: Certificate, authorities: readonly SshPublicKey[]): boolean {
  const authority = authorities.find(key => equalBytes(key.blob, certificate.authorityKey.blob))
  return authority !== undefined && verifySignature(authority, certificate.body, certificate.signature)
}
