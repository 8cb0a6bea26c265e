import { concat, equalBytes, utf8 } from '../bytes.ts'
import { invalid } from '../errors.ts'
import { parseIpAddress } from '../ip-address.ts'
import { isHostName, printable } from '../names.ts'
import * as der from './der.ts'
import { keyIdentifierOf, readSpki } from './spki.ts'

/** Pure: X.509 certificates as RFC 5280 section 4.1 lays them out, fields in its order. */

/** A distinguished name of at most a common name: linters complain of more (an organisation without a country). */
export type Name = { readonly commonName?: string }
export type SubjectAltName = { readonly dns: string } | { readonly ip: string } | { readonly uri: string }
export type SignatureAlgorithm = 'ecdsa-p256' | 'ed25519'

export type CertificateTemplate = {
  /** Positive, at most 159 bits (20 octets, RFC 5280 section 4.1.2.2), random. */
  readonly serial: bigint
  readonly issuer: Name
  /** May be empty; then the subject alternative names are critical. */
  readonly subject: Name
  /** Both ends are inclusive and cut to whole seconds. */
  readonly notBefore: Date
  readonly notAfter: Date
  /** DER. */
  readonly spki: Uint8Array
  /** root: signs certificates and CRLs, nothing below it may. server, client: TLS with that one purpose. */
  readonly profile: 'root' | 'server' | 'client'
  /** server: DNS names and addresses; client: one URI; root: none. */
  readonly subjectAltNames: readonly SubjectAltName[]
  /** The signature key's identifier; a root's own. */
  readonly authorityKeyId: Uint8Array
  readonly signatureAlgorithm: SignatureAlgorithm
}

const MAX_NAMES = 100
const MAX_SERIAL = 1n << 159n
const COMMON_NAME = der.oid('2.5.4.3')
const ALGORITHMS: Record<SignatureAlgorithm, Uint8Array> = {
  'ecdsa-p256': der.sequence(der.oid('1.2.840.10045.4.3.2')), // ecdsa-with-SHA256, RFC 5758: no parameters
  ed25519: der.sequence(der.oid('1.3.101.112')), // RFC 8410 section 3
}
const VERSION_3 = der.contextTag(0, 'constructed', der.integer(2n))

/** The `tbsCertificate`: what is recorded and then signed. Throws `invalid-input` that names the template's field. */
export function encodeTbsCertificate(template: CertificateTemplate): Uint8Array {
  const { serial, issuer, subject, notBefore, notAfter, profile } = template
  if (serial <= 0n || serial >= MAX_SERIAL) throw invalid('serial', 'must be above 0 and have at most 159 bits')
  if (issuer.commonName === undefined) throw invalid('issuer', 'must have a common name')
  checkTimes(notBefore, notAfter)
  const key = readSpki(template.spki, 'spki')
  const subjectKeyId = keyIdentifierOf(key)
  if (template.authorityKeyId.length !== 20) throw invalid('authorityKeyId', 'must be 20 bytes')
  if (profile === 'root') {
    if (issuer.commonName !== subject.commonName) throw invalid('issuer', "a root's issuer is its subject")
    if (key.algorithm !== template.signatureAlgorithm)
      throw invalid('spki', 'a root signs with the key that it certifies')
    if (!equalBytes(subjectKeyId, template.authorityKeyId)) throw invalid('authorityKeyId', "a root's is its own key's")
  }
  return der.sequence(
    VERSION_3,
    der.integer(serial),
    ALGORITHMS[template.signatureAlgorithm],
    encodeName(issuer, 'issuer'),
    der.sequence(der.time(notBefore), der.time(notAfter)),
    encodeName(subject, 'subject'),
    template.spki,
    der.contextTag(3, 'constructed', der.sequence(...extensions(template, subjectKeyId))),
  )
}

/**
 * The certificate, DER. `signature`: of Ed25519 64 bytes; of ECDSA r and s of 32 bytes each (IEEE P1363), written here as
 * the DER that RFC 3279 section 2.2.3 wants. Throws `invalid-input` where the body names another algorithm.
 */
export function assembleCertificate(
  tbs: Uint8Array,
  signatureAlgorithm: SignatureAlgorithm,
  signature: Uint8Array,
): Uint8Array {
  const body = new der.DerReader(tbs, 'tbs').enter(der.TAG.sequence)
  body.read(0xa0)
  body.read(der.TAG.integer)
  // RFC 5280 section 4.1.1.2: both algorithm fields are the same.
  if (!equalBytes(body.readWhole(der.TAG.sequence), ALGORITHMS[signatureAlgorithm])) {
    throw invalid('signatureAlgorithm', 'is not the one that the body names')
  }
  if (signature.length !== 64) throw invalid('signature', `must be 64 bytes, not ${signature.length}`)
  const value =
    signatureAlgorithm === 'ed25519'
      ? signature
      : der.sequence(der.unsignedInteger(signature.subarray(0, 32)), der.unsignedInteger(signature.subarray(32)))
  return der.sequence(tbs, ALGORITHMS[signatureAlgorithm], der.bitString(value))
}

function checkTimes(notBefore: Date, notAfter: Date) {
  for (const [field, date] of Object.entries({ notBefore, notAfter })) {
    const year = date.getUTCFullYear()
    if (!(year >= 1950 && year <= 9999)) throw invalid(field, 'must be a time in the years 1950 to 9999')
  }
  if (Math.floor(notAfter.getTime() / 1000) < Math.floor(notBefore.getTime() / 1000)) {
    throw invalid('notAfter', 'must not be before notBefore')
  }
}

function encodeName(name: Name, field: string): Uint8Array {
  if (name.commonName === undefined) return der.sequence()
  // 64: ub-common-name of RFC 5280 appendix A.
  if (!/^[\p{L}\p{N}\p{P}\p{S} ]{1,64}$/u.test(name.commonName)) {
    throw invalid(field, `${printable(name.commonName)} is not 1 to 64 printable characters`)
  }
  const attribute = der.sequence(COMMON_NAME, der.utf8String(name.commonName))
  return der.sequence(der.element(der.TAG.set, attribute))
}

function extensions(template: CertificateTemplate, subjectKeyId: Uint8Array): Uint8Array[] {
  const authorityKeyId = der.sequence(der.contextTag(0, 'primitive', template.authorityKeyId))
  if (template.profile === 'root') {
    if (template.subjectAltNames.length > 0) throw invalid('subjectAltNames', 'a root has none')
    return [
      extension(BASIC_CONSTRAINTS, 'critical', der.sequence(der.TRUE, der.integer(0n))),
      extension(KEY_USAGE, 'critical', der.bitString(Uint8Array.of(0x06), 1)), // keyCertSign, cRLSign
      extension(SUBJECT_KEY_ID, 'not critical', der.octetString(subjectKeyId)),
      extension(AUTHORITY_KEY_ID, 'not critical', authorityKeyId),
    ]
  }
  return [
    extension(BASIC_CONSTRAINTS, 'critical', der.sequence()), // cA FALSE is the default, and DER leaves defaults out
    extension(KEY_USAGE, 'critical', der.bitString(Uint8Array.of(0x80), 7)), // digitalSignature
    extension(EXTENDED_KEY_USAGE, 'not critical', der.sequence(PURPOSE[template.profile])),
    extension(
      SUBJECT_ALT_NAME,
      // RFC 5280 section 4.2.1.6: critical where the subject is empty.
      template.subject.commonName === undefined ? 'critical' : 'not critical',
      encodeSubjectAltNames(template.profile, template.subjectAltNames),
    ),
    extension(SUBJECT_KEY_ID, 'not critical', der.octetString(subjectKeyId)),
    extension(AUTHORITY_KEY_ID, 'not critical', authorityKeyId),
  ]
}

const BASIC_CONSTRAINTS = der.oid('2.5.29.19')
const KEY_USAGE = der.oid('2.5.29.15')
const EXTENDED_KEY_USAGE = der.oid('2.5.29.37')
const SUBJECT_ALT_NAME = der.oid('2.5.29.17')
const SUBJECT_KEY_ID = der.oid('2.5.29.14')
const AUTHORITY_KEY_ID = der.oid('2.5.29.35')
const PURPOSE = { server: der.oid('1.3.6.1.5.5.7.3.1'), client: der.oid('1.3.6.1.5.5.7.3.2') } as const

const extension = (id: Uint8Array, criticality: 'critical' | 'not critical', value: Uint8Array) =>
  criticality === 'critical'
    ? der.sequence(id, der.TRUE, der.octetString(value))
    : der.sequence(id, der.octetString(value))

function encodeSubjectAltNames(profile: 'server' | 'client', names: readonly SubjectAltName[]): Uint8Array {
  if (names.length === 0) throw invalid('subjectAltNames', 'at least one name is needed')
  if (names.length > MAX_NAMES) throw invalid('subjectAltNames', `${names.length} names; at most ${MAX_NAMES}`)
  if (profile === 'client' && !(names.length === 1 && names[0] && 'uri' in names[0])) {
    throw invalid('subjectAltNames', 'a client certificate has one URI and no other name')
  }
  return der.sequence(concat(...names.map((name, i) => generalName(profile, name, `subjectAltNames[${i}]`))))
}

/** RFC 5280 section 4.2.1.6, GeneralName: [2] dNSName, [6] uniformResourceIdentifier, [7] iPAddress. */
function generalName(profile: 'server' | 'client', name: SubjectAltName, field: string): Uint8Array {
  if ('dns' in name) {
    if (!isHostName(name.dns)) {
      throw invalid(field, `${printable(name.dns)} is not an exact DNS name (lower case, no wildcard, no trailing dot)`)
    }
    return der.contextTag(2, 'primitive', utf8(name.dns))
  }
  if ('ip' in name) {
    const address = parseIpAddress(name.ip)
    if (!address) throw invalid(field, `${printable(name.ip)} is not an IP address`)
    return der.contextTag(7, 'primitive', address)
  }
  if (profile !== 'client' || !/^[a-z][a-z0-9+.-]{0,30}:\/\/[A-Za-z0-9._~:/@+-]{1,480}$/.test(name.uri)) {
    throw invalid(field, `${printable(name.uri)} is not a URI that may stand here`)
  }
  return der.contextTag(6, 'primitive', utf8(name.uri))
}
