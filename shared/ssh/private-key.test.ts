import fc from 'fast-check'
import sshpk from 'sshpk'
import { afterAll, describe, expect, it } from 'vitest'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { keyOf } from '#test/support/programs/ssh-keys.ts'
import { concat, fromBase64, toBase64, toHex, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import {
  decodeOpensshPrivateKey,
  encodeOpensshPrivateKey,
  fingerprint,
  formatPublicKey,
  publicKeyOf,
  SshWriter,
} from './index.ts'

const keygen = new SshKeygen()
afterAll(() => keygen.remove())

const seed = new Uint8Array(32).map((_, i) => i)
const publicKey = publicKeyOf(seed)
const pem = (blob: Uint8Array) =>
  `-----BEGIN OPENSSH PRIVATE KEY-----\n${toBase64(blob)}\n-----END OPENSSH PRIVATE KEY-----\n`
const answerOf = (text: string): string => {
  try {
    decodeOpensshPrivateKey(text)
    return 'accepted'
  } catch (error) {
    if (error instanceof KeymanError) return error.message
    throw error
  }
}

it('a key that we write is read by ssh-keygen, whatever the length of its comment and so of its padding', () => {
  for (let length = 0; length <= 8; length++) {
    const file = keygen.write('ours', encodeOpensshPrivateKey({ seed, comment: 'c'.repeat(length) }))
    expect(keygen.run(['-y', '-f', file]).trim()).toBe(formatPublicKey(publicKey, 'c'.repeat(length)))
  }
})

it('… and by sshpk, a parser of its own', () => {
  const theirs = sshpk.parsePrivateKey(encodeOpensshPrivateKey({ seed, comment: 'x' }), 'ssh')
  expect(theirs.toPublic().fingerprint('sha256').toString()).toBe(fingerprint(publicKey))
})

it('a key that ssh-keygen made is read by us', () => {
  keygen.run(['-q', '-t', 'ed25519', '-N', '', '-C', 'made there', '-f', keygen.path('theirs')])
  const key = decodeOpensshPrivateKey(keygen.readText('theirs'))
  expect(formatPublicKey(key.publicKey, key.comment)).toBe(keygen.readText('theirs.pub').trim())
  expect(toHex(publicKeyOf(key.seed).blob)).toBe(toHex(key.publicKey.blob))
})

it('reads back what it wrote', () => {
  const comment = fc.string({ unit: 'grapheme', maxLength: 60 }).filter(text => !text.includes('\0'))
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), comment, (bytes, text) => {
      const key = decodeOpensshPrivateKey(encodeOpensshPrivateKey({ seed: bytes, comment: text }))
      expect(toHex(key.seed)).toBe(toHex(bytes))
      expect(key.comment).toBe(text)
    }),
  )
})

it('the first key of RFC 8032 section 7.1', () => {
  const known = publicKeyOf(Uint8Array.fromHex('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60'))
  expect(toHex(known.point)).toBe('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a')
})

describe('refused, with a sentence that holds nothing of the key:', () => {
  const parts = (changes: {
    check2?: Uint8Array
    type?: string
    both?: Uint8Array
    padding?: Uint8Array
    count?: number
  }) => {
    const check = Uint8Array.of(1, 2, 3, 4)
    const { check2 = check, type = 'ssh-ed25519', both = concat(seed, publicKey.point), count = 1 } = changes
    const inner = new SshWriter()
      .raw(check)
      .raw(check2)
      .string(type)
      .string(publicKey.point)
      .string(both)
      .string('c')
      .bytes()
    const size = (8 - (inner.length % 8)) % 8
    const padding = changes.padding ?? Uint8Array.from({ length: size }, (_, i) => i + 1)
    return pem(
      new SshWriter()
        .raw(utf8('openssh-key-v1\0'))
        .string('none')
        .string('none')
        .string('')
        .uint32(count)
        .string(publicKey.blob)
        .string(concat(inner, padding))
        .bytes(),
    )
  }
  it('the twin: the same file with nothing changed is taken', () => {
    expect(answerOf(parts({}))).toBe('accepted')
  })
  it('check numbers that differ, which is what a wrong passphrase looks like', () => {
    expect(answerOf(parts({ check2: Uint8Array.of(1, 2, 3, 5) }))).toContain('check numbers')
  })
  it('padding that is not 1, 2, 3 …, or a whole block of it', () => {
    expect(answerOf(parts({ padding: Uint8Array.of(2, 1) }))).toContain('padding')
    expect(answerOf(parts({ padding: new Uint8Array(5) }))).toContain('padding')
    expect(answerOf(parts({ padding: Uint8Array.from({ length: 16 }, (_, i) => i + 1) }))).toContain('padding')
  })
  it("a private part whose public half is another key's, or whose seed is", () => {
    expect(answerOf(parts({ both: concat(seed, new Uint8Array(32)) }))).toContain('do not belong together')
    const otherSeed = new Uint8Array(32).fill(9)
    expect(answerOf(parts({ both: concat(otherSeed, publicKey.point) }))).toContain('do not belong together')
    expect(answerOf(parts({ both: seed }))).toContain('wrong size')
  })
  it('two keys in one file, another type, trailing bytes', () => {
    expect(answerOf(parts({ count: 2 }))).toContain('more than one key')
    expect(answerOf(parts({ type: 'ssh-rsa' }))).toContain('not an Ed25519 key')
    const blob = fromBase64(encodeOpensshPrivateKey({ seed, comment: '' }).split('\n').slice(1, -2).join(''))
    expect(answerOf(pem(concat(blob, Uint8Array.of(0))))).toContain('follow its end')
  })
  it('a key with a passphrase, a key of another type, another format', () => {
    keygen.run(['-q', '-t', 'ed25519', '-N', 'correct horse', '-a', '1', '-f', keygen.path('locked')])
    expect(answerOf(keygen.readText('locked'))).toContain('passphrase')
    keygen.run(['-q', '-t', 'ecdsa', '-N', '', '-f', keygen.path('ecdsa')])
    expect(answerOf(keygen.readText('ecdsa'))).toContain('not an Ed25519 key')
    expect(answerOf(keyOf('ssh-rsa').privateFile ?? '')).toContain('not a key that begins')
    expect(answerOf('')).toContain('not a key that begins')
  })
  it('anything that was cut, changed or is too long: and no refusal shows a piece of the file', () => {
    const good = encodeOpensshPrivateKey({ seed, comment: 'x' })
    const secret = toHex(seed).slice(0, 16)
    for (let length = 0; length < good.length - 1; length += 7) {
      const said = answerOf(good.slice(0, length))
      expect(said).not.toBe('accepted')
      expect(said).not.toContain(secret)
      expect(said).not.toMatch(/[A-Za-z0-9+/]{40}/)
    }
    expect(answerOf(good.replace('KEY-----\n', `KEY-----\n${'A'.repeat(30_000)}`))).not.toBe('accepted')
    expect(answerOf(good)).toBe('accepted')
  })
})
