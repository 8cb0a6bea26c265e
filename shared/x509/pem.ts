import { fromBase64, toBase64 } from '../bytes.ts'
import { invalid } from '../errors.ts'

/** Pure: PEM as RFC 7468 sections 2 and 3 ('strict'): 64 characters a line, no headers. */

export type PemLabel = 'CERTIFICATE' | 'PUBLIC KEY' | 'CERTIFICATE REQUEST' | 'X509 CRL'

/** One PEM block, with a line feed at the end. */
export function toPem(der: Uint8Array, label: PemLabel): string {
  const lines = toBase64(der).match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

/**
 * The bytes of exactly one PEM block with this label. White space around it, CRLF and lines of other lengths are taken,
 * since editors make them; a second block or text outside is refused. Throws `invalid-input`; a private key pasted
 * where something public belongs is named as what it is and never repeated.
 */
export function fromPem(pem: string, label: PemLabel, field = 'pem'): Uint8Array {
  if (pem.length > 100_000) throw invalid(field, 'a PEM text of more than 100000 characters')
  if (/-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----/.test(pem)) {
    throw invalid(field, 'this is a private key; only the public part belongs here', 'treat that private key as leaked')
  }
  const begin = `-----BEGIN ${label}-----`
  const end = `-----END ${label}-----`
  const text = pem.trim()
  if (!text.startsWith(begin) || !text.endsWith(end) || text.length < begin.length + end.length) {
    throw invalid(field, `not one PEM block that begins with ${begin}`)
  }
  try {
    return fromBase64(text.slice(begin.length, -end.length).replace(/[\r\n\t ]/g, ''))
  } catch {
    throw invalid(field, 'the text between the PEM lines is not base64, or there is more than one block')
  }
}
