import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import fc from 'fast-check'
import sshpk from 'sshpk'
import { afterAll, describe, expect, it } from 'vitest'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { ALL_TYPES, keyOf, PLAIN_TYPES, rsaBlob } from '#test/support/programs/ssh-keys.ts'
import { concat, toBase64, toHex, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import {
  decodePublicKey,
  fingerprint,
  formatPublicKey,
  parsePublicKey,
  publicKeyFromSpki,
  SshReader,
  SshWriter,
} from './index.ts'

const keygen = new SshKeygen()
afterAll(() => keygen.remove())

const line = (type: string, blob: Uint8Array) => `${type} ${toBase64(blob)}`
const ed25519 = keyOf('ssh-ed25519').publicKey
const refusal = (read: () => unknown): string => {
  try {
    read()
  } catch (error) {
    if (error instanceof KeymanError) return `${error.message} (${error.hint})`
    throw error
  }
  return 'accepted'
}

describe('public keys and ssh-keygen', () => {
  it.each(ALL_TYPES)('agree about %s: what we write it reads, with the same fingerprint', type => {
    const key = keyOf(type).publicKey
    const path = keygen.write('ours.pub', `${formatPublicKey(key, 'a comment')}\n`)
    expect(keygen.run(['-l', '-f', path])).toContain(` ${fingerprint(key)} a comment `)
  })

  it.each([
    ['ed25519', '256'],
    ['ecdsa', '256'],
    ['ecdsa', '384'],
    ['ecdsa', '521'],
    ['rsa', '3072'],
  ])('agree about a key that it made: -t %s -b %s', (type, bits) => {
    const name = `theirs-${type}${bits}`
    keygen.run(['-q', '-t', type, '-b', bits, '-N', '', '-C', 'made there', '-f', keygen.path(name)])
    const text = keygen.readText(`${name}.pub`)
    const key = parsePublicKey(text)
    expect(key.comment).toBe('made there')
    expect(formatPublicKey(key, key.comment)).toBe(text.trim())
    expect(keygen.run(['-l', '-f', keygen.path(name)])).toContain(fingerprint(key))
  })
})

it.each(PLAIN_TYPES)('sshpk, a parser of its own, reads our %s key as the same key', type => {
  const key = keyOf(type).publicKey
  const theirs = sshpk.parseKey(formatPublicKey(key), 'ssh')
  expect(theirs.fingerprint('sha256').toString()).toBe(fingerprint(key))
  const spki = createPublicKey(theirs.toString('pkcs8')).export({ format: 'der', type: 'spki' })
  expect(publicKeyFromSpki(new Uint8Array(spki)).blob).toEqual(key.blob)
})

it('a key goes to a line and back unchanged, with any comment of one line', () => {
  const comment = fc
    .string({ unit: 'grapheme' })
    .filter(text => !/[\0-\x1f\x7f-\x9f]/.test(text) && text.trim() === text)
  fc.assert(
    fc.property(fc.constantFrom(...ALL_TYPES), comment, (type, text) => {
      const key = keyOf(type).publicKey
      const read = parsePublicKey(formatPublicKey(key, text))
      expect(toHex(read.blob)).toBe(toHex(key.blob))
      expect(read.type).toBe(type)
      expect(read.comment).toBe(text)
    }),
  )
})

describe('a SubjectPublicKeyInfo', () => {
  const spkiOf = ({ publicKey }: { publicKey: KeyObject }) =>
    new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
  it('of another kind, of a short RSA key, or of no kind at all is refused', () => {
    expect(refusal(() => publicKeyFromSpki(spkiOf(generateKeyPairSync('x25519')), 'key'))).toContain('no place in SSH')
    expect(
      refusal(() => publicKeyFromSpki(spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })), 'key')),
    ).toContain('no place in SSH')
    expect(
      refusal(() => publicKeyFromSpki(spkiOf(generateKeyPairSync('rsa', { modulusLength: 1024 })), 'key')),
    ).toContain('1024 bits')
    expect(refusal(() => publicKeyFromSpki(utf8('nothing'), 'key'))).toMatch(/^key: /)
  })
})

describe('attack', () => {
  it('RSA key below 3072 bits: refused with the number and what to do; one of 3072 is taken', () => {
    for (const bits of [1024, 2048])
      expect(refusal(() => parsePublicKey(line('ssh-rsa', rsaBlob(bits).blob)))).toMatch(
        new RegExp(`${bits} bits .*3072.*ssh-keygen -t ed25519`),
      )
    expect(parsePublicKey(formatPublicKey(keyOf('ssh-rsa').publicKey)).type).toBe('ssh-rsa')
  })

  it('RSA key that only looks long, by zeros before its modulus: refused', () => {
    const reader = new SshReader(rsaBlob(1024).blob)
    const [type, exponent, modulus] = [reader.string(), reader.string(), reader.string()]
    const long = concat(new Uint8Array(256), modulus)
    const blob = new SshWriter().string(type).string(exponent).string(long).bytes()
    expect(refusal(() => decodePublicKey(blob))).toContain('shortest form')
  })

  it('RSA key with an exponent of 1, of 2, or none, or with an even modulus: refused', () => {
    const key = keyOf('ssh-rsa').publicKey
    if (key.type !== 'ssh-rsa') throw new Error('no RSA key')
    const rsa = (exponent: Uint8Array, modulus: Uint8Array) =>
      refusal(() => decodePublicKey(new SshWriter().string('ssh-rsa').mpint(exponent).mpint(modulus).bytes()))
    for (const exponent of [[], [1], [2], [1, 0, 0]])
      expect(rsa(Uint8Array.from(exponent), key.modulus)).toContain('exponent')
    const even = Uint8Array.from(key.modulus)
    even[even.length - 1] = 2
    expect(rsa(key.exponent, even)).toContain('even')
    expect(rsa(key.exponent, key.modulus)).toBe('accepted')
  })

  it('DSA: refused', () => {
    const blob = new SshWriter().string('ssh-dss').string('p').string('q').string('g').string('y').bytes()
    expect(refusal(() => parsePublicKey(line('ssh-dss', blob)))).toContain('DSA')
  })

  it('a point that does not lie on its curve: refused; the point itself is taken', () => {
    for (const type of ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp521'] as const) {
      const { blob } = keyOf(type).publicKey
      const moved = Uint8Array.from(blob)
      moved[moved.length - 1] = (moved.at(-1) ?? 0) ^ 1
      expect(refusal(() => decodePublicKey(moved))).toContain('does not lie on')
      expect(refusal(() => decodePublicKey(blob))).toBe('accepted')
    }
  })

  it('a compressed point, or the point at infinity: refused', () => {
    const point = (bytes: Uint8Array) =>
      refusal(() =>
        decodePublicKey(new SshWriter().string('ecdsa-sha2-nistp256').string('nistp256').string(bytes).bytes()),
      )
    expect(point(concat(Uint8Array.of(2), new Uint8Array(32).fill(1)))).toContain('uncompressed')
    expect(point(Uint8Array.of(0))).toContain('uncompressed')
  })

  it('a curve inside that is not the one outside: refused', () => {
    const key = keyOf('ecdsa-sha2-nistp256').publicKey
    if (!('curve' in key)) throw new Error('no curve')
    const blob = new SshWriter().string('ecdsa-sha2-nistp384').string('nistp256').string(key.point).bytes()
    expect(refusal(() => decodePublicKey(blob))).toContain('curve named inside')
  })

  it('a key blob with trailing bytes, of every type: refused', () => {
    for (const type of ALL_TYPES) {
      const { blob } = keyOf(type).publicKey
      expect(refusal(() => decodePublicKey(concat(blob, Uint8Array.of(0))))).toContain('bytes follow its end')
      expect(refusal(() => decodePublicKey(blob))).toBe('accepted')
    }
  })

  it('nested or truncated length fields: every shortened blob is refused', () => {
    for (const type of ALL_TYPES) {
      const { blob } = keyOf(type).publicKey
      for (let length = 0; length < blob.length; length++)
        expect(refusal(() => decodePublicKey(blob.subarray(0, length)))).not.toBe('accepted')
    }
  })

  it('an Ed25519 key of 31 or 33 bytes: refused', () => {
    for (const size of [0, 31, 33, 64])
      expect(
        refusal(() => decodePublicKey(new SshWriter().string('ssh-ed25519').string(new Uint8Array(size)).bytes())),
      ).toContain(`not ${size}`)
  })

  it('a certificate as the key to be certified: refused, and the sentence says which file to give', () => {
    const type = 'ssh-ed25519-cert-v01@openssh.com'
    const blob = new SshWriter().string(type).string('whatever').bytes()
    expect(refusal(() => parsePublicKey(line(type, blob)))).toMatch(/certificate.*\.pub file/)
  })

  it('a line whose outer type is not the inner one: refused', () => {
    expect(refusal(() => parsePublicKey(line('ssh-rsa', ed25519.blob)))).toContain('the key inside is ssh-ed25519')
    expect(refusal(() => parsePublicKey(line('ssh-ed25519', ed25519.blob)))).toBe('accepted')
  })

  it('a private key pasted where a public one belongs: named as leaked, and never repeated', () => {
    const files = [
      keyOf('ssh-ed25519').privateFile ?? '',
      keyOf('ssh-rsa').privateFile ?? '',
      'PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nSECRET\n',
    ]
    for (const file of files) {
      const said = refusal(() => parsePublicKey(file))
      expect(said).toMatch(/private key.*leaked/)
      for (const word of file.split('\n').filter(part => part.length > 20 && !part.includes('-----')))
        expect(said).not.toContain(word)
    }
  })

  it('a second line, a NUL or an escape sequence in the comment: refused', () => {
    const good = formatPublicKey(ed25519)
    for (const bad of ['\nssh-ed25519 AAAA', ' a\0b', ' \x1b[31mred', ' a\rb', ' \u009b31m'])
      expect(refusal(() => parsePublicKey(good + bad))).not.toBe('accepted')
    for (const fine of ['', '\n', '\r\n', ' alice@laptop', ' ключ', ' two words'])
      expect(refusal(() => parsePublicKey(good + fine))).toBe('accepted')
  })

  it('base64 with bits left over, without padding, or with another alphabet: refused', () => {
    const encoded = toBase64(keyOf('sk-ssh-ed25519@openssh.com').publicKey.blob)
    for (const bad of [encoded.replace(/=+$/, ''), `${encoded}=`, `-${encoded.slice(1)}`, `${encoded.slice(0, 40)} x`])
      expect(refusal(() => parsePublicKey(`sk-ssh-ed25519@openssh.com ${bad}`))).not.toBe('accepted')
    expect(refusal(() => parsePublicKey(`sk-ssh-ed25519@openssh.com ${encoded}`))).toBe('accepted')
  })

  it('CVE-2018-3737: a line of a million characters is measured before it is parsed', () => {
    for (const long of ['a'.repeat(1_000_000), `ssh-ed25519 ${'A'.repeat(1_000_000)}`, ' '.repeat(1_000_000)])
      expect(refusal(() => parsePublicKey(long))).toContain('longer than any')
    const blob = new SshWriter().string('ssh-rsa').string(new Uint8Array(100_000)).bytes()
    expect(refusal(() => decodePublicKey(blob))).toContain('longer than any')
  })

  it('an application of a security key that is empty, or would break a line: refused', () => {
    const point = ed25519.type === 'ssh-ed25519' ? ed25519.point : new Uint8Array(0)
    const withApplication = (text: string) =>
      refusal(() =>
        decodePublicKey(new SshWriter().string('sk-ssh-ed25519@openssh.com').string(point).string(text).bytes()),
      )
    for (const bad of ['', 'ssh:\n', 'ssh: x', 'ssh:\0', 'ä']) expect(withApplication(bad)).not.toBe('accepted')
    expect(withApplication('ssh:keyman')).toBe('accepted')
  })

  it('an unknown type with control characters in its name: the refusal shows none of them', () => {
    const said = refusal(() => decodePublicKey(new SshWriter().string('\x1b[2Jevil\u202e').bytes()))
    expect(said).not.toMatch(/[\x1b\u202e]/)
    expect(said).toContain('evil')
  })
})
