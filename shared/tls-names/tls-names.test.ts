import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { KeymanError } from '../errors.ts'
import { decodePunycode } from './a-label.ts'
import {
  covers,
  isNamePattern,
  isTlsName,
  isWildcard,
  parseNamePattern,
  parseTlsName,
  patternText,
  refusal,
  tlsNameText,
} from './index.ts'

const pattern = (text: string) => parseNamePattern(text, 'test')
const dns = (text: string) => parseTlsName({ dns: text }, 'test')
const ip = (text: string) => parseTlsName({ ip: text }, 'test')
const uri = (text: string) => parseTlsName({ uri: text }, 'test')

describe('known answers', () => {
  // RFC 6125 section 6.4.3, RFC 9525 section 6.3: the wildcard is the whole left-most label, and stands for one label.
  test.each([
    ['*.example.com', 'foo.example.com', true],
    ['*.example.com', 'bar.foo.example.com', false],
    ['*.example.com', 'example.com', false],
    // RFC 5280 section 4.2.1.10, of URIs: `.example.com` is satisfied by both of these, and not by `example.com`.
    ['**.example.com', 'host.example.com', true],
    ['**.example.com', 'my.host.example.com', true],
    ['**.example.com', 'example.com', false],
    // The same section, of DNS names: `bigexample.com` is another one.
    ['**.example.com', 'bigexample.com', false],
    ['*.example.com', 'bigexample.com', false],
    ['host.example.com', 'host.example.com', true],
    ['host.example.com', 'my.host.example.com', false],
    ['**.example.com', '*.example.com', true],
    ['**.example.com', '*.host.example.com', true],
    ['*.example.com', '*.example.com', true],
    ['*.example.com', '*.host.example.com', false],
    ['host.example.com', '*.host.example.com', false],
  ])('%s, and the DNS name %s: %s', (text, name, is) => expect(covers(pattern(text), dns(name))).toBe(is))

  test.each([
    // RFC 5280 section 4.2.1.10: 192.0.2.0/24.
    ['192.0.2.0/24', '192.0.2.255', true],
    ['192.0.2.0/24', '192.0.3.0', false],
    ['10.32.0.0/11', '10.63.255.255', true],
    ['10.32.0.0/11', '10.64.0.0', false],
    ['192.0.2.7', '192.0.2.7', true],
    ['192.0.2.7', '192.0.2.8', false],
    ['2001:db8::/32', '2001:db8:ffff::1', true],
    ['2001:db8::/32', '2001:db9::1', false],
    ['::1', '::1', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
  ])('%s, and the address %s: %s', (text, name, is) => expect(covers(pattern(text), ip(name))).toBe(is))

  test.each([
    ['spiffe://example.org/ns/prod/', 'spiffe://example.org/ns/prod/web', true],
    ['spiffe://example.org/ns/prod/', 'spiffe://example.org/ns/prod/web/1', true],
    ['spiffe://example.org/ns/prod/', 'spiffe://example.org/ns/prod', false],
    ['spiffe://example.org/ns/prod/', 'spiffe://example.org/ns/production/web', false],
    ['spiffe://example.org/ns/prod', 'spiffe://example.org/ns/prod', true],
    ['spiffe://example.org/ns/prod', 'spiffe://example.org/ns/prod/web', false],
    ['spiffe://example.org/', 'spiffe://example.org/web', true],
    ['spiffe://example.org/', 'spiffe://example.org', false],
    ['spiffe://example.org', 'spiffe://example.org', true],
    ['spiffe://example.org/', 'spiffe://example.org.evil.net/web', false],
    ['spiffe://example.org/', 'https://example.org/web', false],
    ['spiffe://example.org/ns/prod/', 'spiffe://example.org/NS/prod/web', false],
  ])('%s, and the URI %s: %s', (text, name, is) => expect(covers(pattern(text), uri(name))).toBe(is))

  // RFC 5952 sections 4.1 to 4.3.
  test.each([
    ['2001:0db8::0001', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:DB8:AAAA::', '2001:db8:aaaa::'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['10:0:0:1:2:3:4:5', '10::1:2:3:4:5'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('%s is written %s', (text, written) => expect(tlsNameText(ip(text))).toBe(written))

  // RFC 3492 section 7.1: B, C, D, L, M, P, R.
  test.each([
    ['ihqwcrb4cv8a8dqg056pqjye', '他们为什么不说中文'],
    ['ihqwctvzc91f659drss3x8bo0yb', '他們爲什麽不說中文'],
    ['Proprostnemluvesky-uyb24dma41a', 'Pročprostěnemluvíčesky'],
    ['3B-ww4c5e180e575a65lsy2b', '3年B組金八先生'],
    ['-with-SUPER-MONKEYS-pc58ag80a8qai00g7n9n', '安室奈美恵-with-SUPER-MONKEYS'],
    ['MajiKoi5-783gue6qz075azm5e', 'MajiでKoiする5秒前'],
    ['2-u9tlzr9756bt3uc0v', 'ひとつ屋根の下2'],
  ])('%s is Punycode for %s', (encoded, text) => expect(decodePunycode(encoded)).toBe(text))

  test('names and patterns get one spelling, once', () => {
    expect(dns('API.Example.COM')).toEqual({ dns: 'api.example.com' })
    expect(dns('*.XN--BCHER-KVA.example')).toEqual({ dns: '*.xn--bcher-kva.example' })
    expect(uri('SPIFFE://Example.org/ns/Prod')).toEqual({ uri: 'spiffe://example.org/ns/Prod' })
    expect(pattern('192.0.2.7/32')).toBe('192.0.2.7')
    expect(pattern('2001:DB8:0::/48')).toBe('2001:db8::/48')
    expect(pattern('**.Example.com')).toBe('**.example.com')
  })

  test('in lengths what RFC 1035 section 2.3.4 lets a name have is taken, and one more is not', () => {
    const long = `${'a'.repeat(63)}.`.repeat(3)
    expect(isTlsName({ dns: `${long}${'a'.repeat(61)}` })).toBe(true)
    expect(isTlsName({ dns: `${long}${'a'.repeat(62)}` })).toBe(false)
    expect(isTlsName({ dns: `*.${long}${'a'.repeat(59)}` })).toBe(true)
    expect(isTlsName({ dns: `*.${long}${'a'.repeat(60)}` })).toBe(false)
    expect(isNamePattern(`**.${long}${'a'.repeat(59)}`)).toBe(true)
    expect(isNamePattern(`**.${long}${'a'.repeat(60)}`)).toBe(false)
    expect(isTlsName({ dns: `${'a'.repeat(64)}.example.com` })).toBe(false)
  })

  test('a refusal says whose patterns do not cover a name, and what these cover', () => {
    const given = [{ by: 'the grant grant_x', patterns: [pattern('*.payments.example.com')] }]
    expect(refusal(dns('db.other.example.com'), given)).toBe(
      'covered by no pattern of the grant grant_x: *.payments.example.com covers one label below payments.example.com',
    )
    expect(refusal(dns('db.payments.example.com'), given)).toBe(undefined)
    expect(refusal(dns('db.example.com'), [])).toBe('covered by no pattern of any grant')
    expect(
      ['**.a.example', 'b.example', '10.0.0.0/8', '192.0.2.7', 'https://c.example/d/', 'https://c.example/d'].map(
        text => patternText(pattern(text)),
      ),
    ).toEqual([
      '**.a.example covers any number of labels below a.example',
      'b.example covers that alone',
      '10.0.0.0/8 covers the addresses of that network',
      '192.0.2.7 covers that alone',
      'https://c.example/d/ covers what is below it',
      'https://c.example/d covers that alone',
    ])
  })
})

describe('of whatever is asked', () => {
  const label = fc.constantFrom('a', 'b', 'web', 'x-1', 'xn--bcher-kva')
  const name = fc.array(label, { minLength: 2, maxLength: 4 }).map(labels => labels.join('.'))
  const asked = fc.tuple(fc.constantFrom('', '*.'), name).map(parts => parts.join(''))
  const anyPattern = fc.tuple(fc.constantFrom('', '*.', '**.'), name).map(parts => parts.join(''))
  /** Pieces of names, in no order: most are none, and some nearly one. */
  const piece = fc.constantFrom(
    ...[
      '*',
      '**',
      '.',
      'a',
      'EXAMPLE',
      '-',
      'xn--',
      'bcher-kva',
      '://',
      'spiffe',
      '/',
      '..',
      '%2e',
      '@',
      ':',
      '::',
      '?',
    ],
    ...[
      '#',
      '1',
      '255',
      '10.0.0.0',
      '/8',
      'ffff',
      '\0',
      '\n',
      'ä',
      '\u212a',
      '\ud800',
      ' ',
      '\\',
      '_',
      '[',
      '[::1]',
      'keyman',
    ],
  )
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.array(piece, { maxLength: 9 }).map(pieces => pieces.join('')),
    anyPattern,
  )

  it('a parser gives one spelling, which it reads as itself, or throws its own error with the field, and nothing else', () => {
    const seen = { read: 0, refused: 0 }
    const readers = [
      (what: string) => parseNamePattern(what, 'names[3]'),
      (what: string) => tlsNameText(parseTlsName({ dns: what }, 'names[3]')),
      (what: string) => tlsNameText(parseTlsName({ ip: what }, 'names[3]')),
      (what: string) => tlsNameText(parseTlsName({ uri: what }, 'names[3]')),
    ]
    fc.assert(
      fc.property(text, fc.constantFrom(...readers), (what, read) => {
        try {
          const once = read(what)
          expect(read(once)).toBe(once)
          expect(once).toMatch(/^[\x21-\x7e]+$/)
          seen.read++
        } catch (error) {
          if (!(error instanceof KeymanError) || error.code !== 'invalid-input') throw error
          expect(error.fields.map(({ field }) => field)).toEqual(['names[3]'])
          seen.refused++
        }
      }),
      { numRuns: 20_000 },
    )
    expect(Math.min(seen.read, seen.refused)).toBeGreaterThan(500)
  })

  it("what a wildcard's one label covers has just one label more; what ** covers has one or more; both end as the pattern does", () => {
    const labels = (name: string) => name.split('.').length
    const seen = { yes: 0, no: 0 }
    fc.assert(
      fc.property(anyPattern, asked, (of, name) => {
        const parent = of.replace(/^\*+\./, '')
        const more = labels(name) - labels(parent)
        const expected = of.startsWith('**.') ? more >= 1 : of.startsWith('*.') ? more === 1 : more === 0
        const is = expected && (name === of || (of !== parent && name.endsWith(`.${parent}`)))
        expect(covers(pattern(of), dns(name))).toBe(is)
        seen[is ? 'yes' : 'no']++
      }),
      { numRuns: 20_000 },
    )
    expect(Math.min(seen.yes, seen.no)).toBeGreaterThan(100)
  })

  it('where a wildcard is covered, so is each name that it stands for', () => {
    let wildcards = 0
    fc.assert(
      fc.property(anyPattern, asked, label, (of, name, label) => {
        if (!isWildcard(dns(name)) || !covers(pattern(of), dns(name))) return
        wildcards++
        expect(covers(pattern(of), dns(name.replace('*', label)))).toBe(true)
      }),
      { numRuns: 20_000 },
    )
    expect(wildcards).toBeGreaterThan(50)
  })

  it('a network covers the addresses whose first bits are its own, of its own family alone', () => {
    const number = (bytes: readonly number[]) => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
    const addressText = (bytes: readonly number[]) =>
      bytes.length === 4
        ? bytes.join('.')
        : Array.from({ length: 8 }, (_, i) => (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16)).join(
            ':',
          )
    const byte = fc.constantFrom(0, 1, 128, 254, 255)
    const address = fc.constantFrom(4, 16).chain(length => fc.array(byte, { minLength: length, maxLength: length }))
    const isMapped = (bytes: readonly number[]) => bytes.length === 16 && number(bytes.slice(0, 12)) === 0xffffn
    fc.assert(
      fc.property(
        address,
        address,
        fc.integer({ min: 8, max: 128 }),
        fc.integer({ min: 0, max: 128 }),
        (of, other, prefix, flip) => {
          const length = of.length * 8
          const bits = Math.min(prefix, length)
          const behind = BigInt(length - bits)
          const first = (number(of) >> behind) << behind
          const network = Array.from(of, (_, i) => Number((first >> BigInt(8 * (of.length - 1 - i))) & 255n))
          // Of the same family one that differs in a single bit: before the prefix or behind it.
          const near = flip < length ? number(of) ^ (1n << BigInt(flip)) : number(of)
          const nearby = Array.from(of, (_, i) => Number((near >> BigInt(8 * (of.length - 1 - i))) & 255n))
          for (const asked of [other, nearby]) {
            if (isMapped(asked) || isMapped(network)) continue
            const is = asked.length === of.length && number(asked) >> behind === first >> behind
            expect(covers(pattern(`${addressText(network)}/${bits}`), ip(addressText(asked)))).toBe(is)
          }
        },
      ),
      { numRuns: 5000 },
    )
  })

  it('a URI is covered by whole segments: by itself, or below what ends with a /', () => {
    const segments = fc.array(fc.constantFrom('a', 'ab', 'A', '...', 'b-1'), { maxLength: 3 })
    const host = fc.constantFrom('example.org', 'example.org.evil.net')
    fc.assert(
      fc.property(host, segments, fc.boolean(), host, segments, (of, path, isBelow, at, asked) => {
        const all = ['spiffe:/', of, ...path]
        const name = ['spiffe:/', at, ...asked]
        const starts = all.every((segment, i) => segment === name[i])
        const is = starts && (isBelow ? name.length > all.length : name.length === all.length)
        expect(covers(pattern(`${all.join('/')}${isBelow ? '/' : ''}`), uri(name.join('/')))).toBe(is)
      }),
      { numRuns: 5000 },
    )
  })
})
