import { describe, expect, it } from 'vitest'
import { covers, isNamePattern, isTlsName, parseNamePattern, parseTlsName } from './index.ts'

/** Each refusal has a twin that differs in what is tried, and is taken. Of DNS names, addresses and URIs each by its own reader. */
const said = (work: () => unknown): string => {
  try {
    work()
    return 'taken'
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
const pattern = (text: string) => parseNamePattern(text, 'names[0]')

describe('as a DNS name', () => {
  it.each([
    ['a wildcard inside of a label', 'baz*.example.com', 'baz.example.com', /\* that is not the whole left-most/],
    ['a wildcard before letters', '*baz.example.com', '*.example.com', /\* that is not/],
    ['a wildcard between letters', 'b*z.example.com', 'b-z.example.com', /\* that is not/],
    ['a wildcard that is not left-most', 'bar.*.example.com', '*.bar.example.com', /\* that is not/],
    ['two wildcards', '*.*.example.com', '*.example.com', /\* that is not/],
    ["a pattern's ** as a name", '**.example.com', '*.example.com', /\* that is not/],
    ['a wildcard alone', '*', '*.example.com', /\* that is not/],
    ['a wildcard below a single label', '*.com', '*.example.com', /names of everybody/],
    ['a wildcard below a number', '*.10.0.0.1', '*.10.0.0.a', /ends with a number/],
    ['a wildcard before A-labels', 'xn--kcry6tjko*.example.org', 'xn--kcry6tjko.example.org', /\* that is not/],
    ['a trailing dot', 'db.example.com.', 'db.example.com', /ends with a dot/],
    ['an empty label', 'db..example.com', 'db.example.com', /empty label/],
    ['a dot before it', '.example.com', 'a.example.com', /empty label/],
    ['nothing', '', 'a', /is empty/],
    ['a U-label', 'bücher.example', 'xn--bcher-kva.example', /not ASCII/],
    ['a homograph: Cyrillic а', 'p\u0430yments.example.com', 'payments.example.com', /not ASCII/],
    ['the Kelvin sign, a k in lower case', '\u212aeys.example.com', 'Keys.example.com', /not ASCII/],
    ['a full stop that is none, U+3002', 'db\u3002example.com', 'db.example.com', /not ASCII/],
    ['what is no A-label', 'xn--zzzzzzzz.example.com', 'xn--bcher-kva.example.com', /no A-label/],
    ['a reserved label', 'ab--cd.example.com', 'ab-c-d.example.com', /reserved/],
    ['an address', '10.0.0.1', '10.0.0.a', /ends with a number/],
    ['an address in two numbers', '127.1', '127.a', /ends with a number/],
    ['an address in base 16', '0x7f.0x1', '0x7f.y', /ends with a number/],
    ['an address of IPv6', '::1', 'a', /not letters/],
    ['NUL', 'db.example.com\0.evil.net', 'db.example.com.evil.net', /not ASCII/],
    ['a newline', 'db.example.com\n', 'db.example.com', /not ASCII/],
    ['a blank', ' db.example.com', 'db.example.com', /not letters/],
    ['an underscore', 'a_b.example.com', 'a-b.example.com', /not letters/],
    ['a hyphen at an end', 'db-.example.com', 'db.example.com', /not letters/],
    ['a label of 64', `${'a'.repeat(64)}.example.com`, `${'a'.repeat(63)}.example.com`, /longer than 63/],
    ['a port', 'db.example.com:443', 'db.example.com', /not letters/],
  ])('%s is refused: %j, not %j', (_, text, twin, why) => {
    expect(said(() => parseTlsName({ dns: text }, 'names[0]'))).toMatch(why)
    expect(said(() => parseTlsName({ dns: text }, 'names[0]'))).toMatch(/^names\[0\]: "/)
    expect(said(() => parseTlsName({ dns: twin }, 'names[0]'))).toBe('taken')
  })

  it('another case is no way around, either way: both are read in one', () => {
    expect(covers(pattern('*.PAYMENTS.example.com'), parseTlsName({ dns: 'DB.payments.EXAMPLE.com' }, 'test'))).toBe(
      true,
    )
    expect(isTlsName({ dns: 'DB.payments.example.com' })).toBe(false)
    expect(isTlsName({ dns: 'db.payments.example.com' })).toBe(true)
  })
})

describe('as an address', () => {
  it.each([
    ['an IPv4 address in the form of IPv6', '::ffff:10.0.0.1', '10.0.0.1', /form of IPv6/],
    ['the same in base 16', '::ffff:a00:1', '::fffe:a00:1', /form of IPv6/],
    ['the same in full', '0:0:0:0:0:ffff:0a00:0001', '0:0:0:0:1:ffff:0a00:0001', /form of IPv6/],
    ['a number with a zero before it', '010.0.0.1', '10.0.0.1', /no IP address/],
    ['three numbers', '10.0.1', '10.0.0.1', /no IP address/],
    ['a zone', 'fe80::1%eth0', 'fe80::1', /no IP address/],
    ['a network as a name', '10.0.0.0/8', '10.0.0.0', /no IP address/],
    ['brackets', '[::1]', '::1', /no IP address/],
    ['a name', 'localhost', '127.0.0.1', /no IP address/],
  ])('%s is refused: %j, not %j', (_, text, twin, why) => {
    expect(said(() => parseTlsName({ ip: text }, 'names[0]'))).toMatch(why)
    expect(said(() => parseTlsName({ ip: twin }, 'names[0]'))).toBe('taken')
  })
})

describe('as a URI', () => {
  it.each([
    ['a user', 'spiffe://alice@example.org/a', 'spiffe://example.org/a', /has a user/],
    ['another host behind a user', 'https://example.org@evil.net/a', 'https://evil.net/a', /has a user/],
    ['a port', 'https://example.org:443/a', 'https://example.org/a', /has a port/],
    ['an address as its host', 'https://10.0.0.1/a', 'https://10.0.0.a/a', /host that ends with a number/],
    ['an address of IPv6 as its host', 'https://[::1]/a', 'https://example.org/a', /has a port, or an IP address/],
    ['a query', 'https://example.org/a?b', 'https://example.org/a', /has a query/],
    ['a query without a path', 'https://example.org?b', 'https://example.org', /has a query/],
    ['a fragment', 'https://example.org/a#b', 'https://example.org/a', /has a fragment/],
    ['a segment ..', 'spiffe://example.org/ns/prod/../dev', 'spiffe://example.org/ns/prod/dev', /segment \. or \.\./],
    ['a segment .', 'spiffe://example.org/./a', 'spiffe://example.org/a', /segment \. or \.\./],
    ['.. in percent-encoding', 'spiffe://example.org/ns/%2e%2e/dev', 'spiffe://example.org/ns/dev', /percent-encoding/],
    ['a / in percent-encoding', 'spiffe://example.org/ns%2fprod', 'spiffe://example.org/ns/prod', /percent-encoding/],
    ['a host in percent-encoding', 'spiffe://example%2eorg/a', 'spiffe://example.org/a', /host that has the label/],
    ['an empty segment', 'spiffe://example.org//a', 'spiffe://example.org/a', /empty segment/],
    ['a / at its end', 'spiffe://example.org/a/', 'spiffe://example.org/a', /ends with \//],
    ['no host', 'spiffe:///a', 'spiffe://b/a', /host that is empty/],
    ['no host at all', 'urn:uuid:f81d4fae', 'urn://uuid/f81d4fae', /no URI with a scheme and a host/],
    ['a backslash', 'https://example.org\\@evil.net/a', 'https://example.org/a', /no \/ behind its host/],
    ['a wildcard as its host', 'spiffe://*.example.org/a', 'spiffe://b.example.org/a', /\* in its host/],
    ['a wildcard as a segment', 'spiffe://example.org/*', 'spiffe://example.org/a', /not letters/],
    ['a homograph', 'spiffe://ex\u0430mple.org/a', 'spiffe://example.org/a', /not ASCII/],
    ['a newline', 'spiffe://example.org/a\n', 'spiffe://example.org/a', /not letters/],
    ["a machine of KeyMan's own", 'keyman://acme/host/web1', 'spiffe://acme/host/web1', /KeyMan's own machines/],
    ['the same in another case', 'KeyMan://acme/host/web1', 'spiffe://acme/host/web1', /KeyMan's own machines/],
  ])('%s is refused: %j, not %j', (_, text, twin, why) => {
    expect(said(() => parseTlsName({ uri: text }, 'names[0]'))).toMatch(why)
    expect(said(() => parseTlsName({ uri: twin }, 'names[0]'))).toBe('taken')
  })
})

describe('as a pattern', () => {
  it.each([
    ['the names of everybody', '**.com', '**.example.com', /names of everybody/],
    ['two stars inside', 'a.**.example.com', '**.a.example.com', /\* that is not/],
    ['three stars', '***.example.com', '**.example.com', /\* that is not/],
    ['host bits', '10.0.0.1/8', '10.0.0.0/8', /no bit behind it/],
    ['host bits of IPv6', '2001:db8::1/32', '2001:db8::/32', /no bit behind it/],
    ['every address', '0.0.0.0/0', '10.0.0.0/8', /every address/],
    ['every address of IPv6', '::/0', 'fd00::/8', /every address/],
    ['more bits than there are', '10.0.0.0/33', '10.0.0.0/32', /no network/],
    ['a prefix with a zero before it', '10.0.0.0/08', '10.0.0.0/8', /no network/],
    ['a network of IPv4 in the form of IPv6', '::ffff:10.0.0.0/104', '10.0.0.0/8', /form of IPv6/],
    ['a query', 'spiffe://example.org/a/?', 'spiffe://example.org/a/', /has a query/],
    ['a segment ..', 'spiffe://example.org/a/../', 'spiffe://example.org/a/', /segment \. or \.\./],
    ['two / at its end', 'spiffe://example.org/a//', 'spiffe://example.org/a/', /empty segment/],
    ["KeyMan's own machines", 'keyman://acme/', 'spiffe://acme/', /KeyMan's own machines/],
  ])('%s is refused: %j, not %j', (_, text, twin, why) => {
    expect(said(() => pattern(text))).toMatch(why)
    expect(said(() => pattern(twin))).toBe('taken')
  })

  it('one kind never covers another, however alike they look', () => {
    expect(covers(pattern('10.0.0.0/8'), parseTlsName({ ip: '10.0.0.1' }, 'test'))).toBe(true)
    expect(covers(pattern('::/8'), parseTlsName({ ip: '10.0.0.1' }, 'test'))).toBe(false)
    expect(covers(pattern('example.org'), parseTlsName({ uri: 'https://example.org' }, 'test'))).toBe(false)
    expect(covers(pattern('https://example.org'), parseTlsName({ uri: 'https://example.org' }, 'test'))).toBe(true)
  })

  it('what a row holds in another spelling is none', () => {
    expect(['*.EXAMPLE.com', '10.0.0.0/32', '2001:DB8::/32', 'Spiffe://example.org/'].map(isNamePattern)).not.toContain(
      true,
    )
    expect(['*.example.com', '10.0.0.0', '2001:db8::/32', 'spiffe://example.org/'].map(isNamePattern)).not.toContain(
      false,
    )
  })
})
