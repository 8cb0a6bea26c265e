import { invalid } from '../errors.ts'
import { printable } from '../names.ts'
import { coversDns, readDnsName, readDnsPattern } from './dns.ts'
import { coversIp, readIpAddress, readIpPattern } from './ip.ts'
import type { Reading } from './reading.ts'
import { coversUri, readUri, readUriPattern } from './uri.ts'

/**
 * The door: names of TLS certificates, and the patterns by which grants give them. Pure. Each is read once, at the border, into its
 * one spelling; from there on text is compared, and nothing is normalised again.
 *
 * | pattern                           | covers                                                                    |
 * | --------------------------------- | ------------------------------------------------------------------------- |
 * | `api.example.com`                 | that name alone                                                           |
 * | `*.example.com`                   | one label below: `api.example.com`; neither `example.com` nor `a.b.example.com` |
 * | `**.example.com`                  | one label below and more; not `example.com`                               |
 * | `192.0.2.7`, `10.0.0.0/8`         | that address; those in the network                                        |
 * | `spiffe://example.org/ns/prod/web`| that URI alone                                                            |
 * | `spiffe://example.org/ns/prod/`   | all below, by whole segments; neither `…/ns/prod` nor `…/ns/production/x` |
 *
 * What a name is says whoever asks for it, as a certificate does; what a pattern is says its text: only URIs have `://`, and no DNS
 * name ends with a number.
 */

declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** Lower case, A-labels; or such a name below `*.`, which is a wildcard. */
export type DnsName = Branded<'DnsName'>
/** Of IPv6 as RFC 5952 writes it; never one of IPv4 in that form. */
export type IpAddress = Branded<'IpAddress'>
export type Uri = Branded<'Uri'>
export type TlsName = { readonly dns: DnsName } | { readonly ip: IpAddress } | { readonly uri: Uri }
export type NamePattern = Branded<'NamePattern'>

/** As it came. */
type AnyName = { readonly dns: string } | { readonly ip: string } | { readonly uri: string }

const isRead = (text: string, read: (text: string) => Reading): boolean => {
  const found = read(text)
  return 'text' in found && found.text === text
}
const isDnsName = (text: string): text is DnsName => isRead(text, readDnsName)
const isIpAddress = (text: string): text is IpAddress => isRead(text, readIpAddress)
const isUri = (text: string): text is Uri => isRead(text, readUri)
/** Whether it is in its one spelling. */
export const isNamePattern = (text: string): text is NamePattern => isRead(text, readPattern)
/** The same of a name. */
export const isTlsName = (name: AnyName): name is TlsName =>
  'dns' in name ? isDnsName(name.dns) : 'ip' in name ? isIpAddress(name.ip) : isUri(name.uri)

/** Throws `invalid-input` that names the field, and nothing else. */
function parse<T extends string>(
  text: string,
  field: string,
  read: (text: string) => Reading,
  is: (text: string) => text is T,
): T {
  const found = read(text)
  if ('text' in found && is(found.text)) return found.text
  throw invalid(field, `${printable(text)} ${'wrong' in found ? found.wrong : 'has no one spelling'}`)
}

export const parseNamePattern = (text: string, field: string): NamePattern =>
  parse(text, field, readPattern, isNamePattern)

export function parseTlsName(name: AnyName, field: string): TlsName {
  if ('dns' in name) return { dns: parse(name.dns, field, readDnsName, isDnsName) }
  if ('ip' in name) return { ip: parse(name.ip, field, readIpAddress, isIpAddress) }
  return { uri: parse(name.uri, field, readUri, isUri) }
}

type Kind = 'dns' | 'ip' | 'uri'

function kindOf(pattern: string): Kind {
  if (pattern.includes('://')) return 'uri'
  if (/^[0-9.]+(\/|$)|^[0-9a-f]*:[0-9a-f]*:/i.test(pattern)) return 'ip'
  return pattern.includes(':') ? 'uri' : 'dns'
}

const READ = { dns: readDnsPattern, ip: readIpPattern, uri: readUriPattern } as const
const readPattern = (text: string): Reading => READ[kindOf(text)](text)

/** Whether every name that this one stands for is of the pattern. A wildcard too: that one may be asked for is another matter. */
export function covers(pattern: NamePattern, name: TlsName): boolean {
  const kind = kindOf(pattern)
  if ('dns' in name) return kind === 'dns' && coversDns(pattern, name.dns)
  if ('ip' in name) return kind === 'ip' && coversIp(pattern, name.ip)
  return kind === 'uri' && coversUri(pattern, name.uri)
}

export const isWildcard = (name: TlsName): boolean => 'dns' in name && name.dns.startsWith('*.')

/** The bare name: `db.example.com`, `192.0.2.7`. */
export const tlsNameText = (name: TlsName): string => ('dns' in name ? name.dns : 'ip' in name ? name.ip : name.uri)

/** What a pattern covers, in words: `*.payments.example.com covers one label below payments.example.com`. */
export function patternText(pattern: NamePattern): string {
  if (pattern.startsWith('**.')) return `${pattern} covers any number of labels below ${pattern.slice(3)}`
  if (pattern.startsWith('*.')) return `${pattern} covers one label below ${pattern.slice(2)}`
  if (!pattern.includes('/')) return `${pattern} covers that alone`
  if (kindOf(pattern) === 'ip') return `${pattern} covers the addresses of that network`
  return pattern.endsWith('/') ? `${pattern} covers what is below it` : `${pattern} covers that alone`
}

const SHOWN = 8

/**
 * Of a name, the end of `db.other.example.com is …`: `covered by no pattern of the grant …: *.payments.example.com covers one label
 * below payments.example.com`. `undefined` where one covers it.
 */
export function refusal(
  name: TlsName,
  given: readonly { readonly by: string; readonly patterns: readonly NamePattern[] }[],
): string | undefined {
  if (given.some(({ patterns }) => patterns.some(pattern => covers(pattern, name)))) return undefined
  const told = given.map(({ by, patterns }) => `${by}: ${some(patterns.map(patternText), ', ')}`)
  const why = told.length === 0 ? 'any grant' : some(told, '; nor of ')
  return `covered by no pattern of ${why}`
}

const some = (all: readonly string[], between: string): string =>
  all.slice(0, SHOWN).join(between) + (all.length > SHOWN ? ` and ${all.length - SHOWN} more` : '')
