import { printable } from '../names.ts'
import { readDnsName } from './dns.ts'
import { lowerCase, type Reading } from './reading.ts'

/**
 * Pure: URIs as certificates have them (RFC 5280 section 4.2.1.6; a SPIFFE ID is one), and patterns of them: scheme, host, and a
 * path of the characters that RFC 3986 section 2.3 never encodes, so that none has two spellings.
 */

/** `spiffe://example.org/ns/prod/web`; without a path the host alone. */
export const readUri = (text: string): Reading => read(text, false)
/** A URI; or with a `/` at its end all that are below, by whole segments, and not that one itself. */
export const readUriPattern = (text: string): Reading => read(text, true)

/** As SPIFFE-ID section 2.3 has it. */
const MOST = 2048

function read(text: string, mayEndBelow: boolean): Reading {
  if (text.length > MOST) return { wrong: `is longer than ${MOST} characters` }
  const [, scheme = '', authority = '', path = ''] = /^([a-z][a-z0-9+.-]*):\/\/([^/?#\\]*)(.*)$/is.exec(text) ?? []
  if (scheme === '') return { wrong: 'is no URI with a scheme and a host, such as spiffe://example.org/ns/prod/web' }
  // What the machine authority's certificates are known by (`shared/x509/machine-uri.ts`).
  if (lowerCase(scheme) === 'keyman') return { wrong: "is of KeyMan's own machines: no service has such a name" }
  if (authority.includes('@')) return { wrong: 'has a user before its host' }
  if (authority.includes(':')) return { wrong: 'has a port, or an IP address as its host' }
  const host = readDnsName(authority)
  if ('wrong' in host) return { wrong: `has a host that ${host.wrong}` }
  if (host.text.includes('*')) return { wrong: 'has a * in its host' }
  const wrong = problemOfPath(path, mayEndBelow)
  return wrong === undefined ? { text: `${lowerCase(scheme)}://${host.text}${path}` } : { wrong }
}

function problemOfPath(path: string, mayEndBelow: boolean): string | undefined {
  if (path.includes('?')) return 'has a query'
  if (path.includes('#')) return 'has a fragment'
  if (path.includes('%')) return 'has a character in percent-encoding'
  const segments = path.split('/').slice(1)
  const named = mayEndBelow && segments.at(-1) === '' ? segments.slice(0, -1) : segments
  for (const segment of named) {
    if (segment === '') return 'has an empty segment, or ends with /'
    if (segment === '.' || segment === '..') return 'has a segment . or ..'
    if (!/^[A-Za-z0-9._~-]+$/.test(segment))
      return `has the segment ${printable(segment)}, which is not letters, digits and . _ ~ -`
  }
  return path === '' || path.startsWith('/') ? undefined : 'has no / behind its host'
}

/** Both as they were read. */
export const coversUri = (pattern: string, uri: string): boolean =>
  pattern.endsWith('/') ? uri.startsWith(pattern) : uri === pattern
