import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { ALL_TYPES, keyOf, newKey, newSecurityKey, PLAIN_TYPES, type TestKey } from '#test/support/programs/ssh-keys.ts'
import { concat, toHex, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import {
  armorSshsig,
  decodeSshsig,
  encodeSshsig,
  formatPublicKey,
  parseSshsig,
  SshWriter,
  sshsigSignedData,
  verifySshsig,
} from './index.ts'

const keygen = new SshKeygen()
afterAll(() => keygen.remove())

const namespace = 'test@keyman'
const message = utf8('what is signed\nin two lines\n')
const blobOf = ({ publicKey, sign }: TestKey, text = message, name = namespace) =>
  encodeSshsig({ publicKey, namespace: name, signature: sign(sshsigSignedData(name, text)) })
const armoredBy = (key: TestKey, text = message, name = namespace) => armorSshsig(blobOf(key, text, name))
const answerOf = (work: () => unknown): string => {
  try {
    work()
    return 'accepted'
  } catch (error) {
    if (error instanceof KeymanError) return error.message
    throw error
  }
}
const verifies = (armored: string, key: TestKey, text = message, name = namespace) => {
  const signers = keygen.write('signers', `signer ${formatPublicKey(key.publicKey)}\n`)
  const signature = keygen.write('message.sig', armored)
  return keygen.try(['-Y', 'verify', '-f', signers, '-I', 'signer', '-n', name, '-s', signature], text).ok
}

it.each(ALL_TYPES)('a signature that we wrap for %s is verified by ssh-keygen -Y verify, and by us', type => {
  const key = keyOf(type)
  const armored = armoredBy(key)
  expect(verifies(armored, key)).toBe(true)
  expect(verifies(armored, key, utf8('other'))).toBe(false)
  const expected = { namespace, message, publicKey: key.publicKey }
  expect(verifySshsig(parseSshsig(armored), expected)).toBe(true)
})

it.each(PLAIN_TYPES)('a signature that ssh-keygen -Y sign makes with %s is verified by us, with either hash', type => {
  const key = keyOf(type)
  const file = keygen.write('signer', key.privateFile ?? '')
  keygen.write('signer.pub', `${formatPublicKey(key.publicKey)}\n`)
  for (const hash of ['sha256', 'sha512']) {
    const armored = keygen.run(['-q', '-Y', 'sign', '-f', file, '-n', namespace, '-O', `hashalg=${hash}`], message)
    const sig = parseSshsig(armored)
    expect(sig.hash).toBe(hash)
    expect(verifySshsig(sig, { namespace, message, publicKey: key.publicKey })).toBe(true)
    expect(verifySshsig(sig, { namespace, message: utf8('other'), publicKey: key.publicKey })).toBe(false)
  }
})

it('armor is as ssh-keygen writes it, byte for byte', () => {
  // Ed25519 signatures are deterministic: the same key and message give the same file.
  const key = keyOf('ssh-ed25519')
  const theirs = keygen.run(
    ['-q', '-Y', 'sign', '-f', keygen.write('alone', key.privateFile ?? ''), '-n', namespace],
    message,
  )
  expect(armoredBy(key)).toBe(theirs)
})

it('reads back what it wrote, whatever namespace and message', () => {
  const key = keyOf('ssh-ed25519')
  const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 50 }).filter(text => !text.includes('\0'))
  fc.assert(
    fc.property(name, fc.uint8Array({ maxLength: 1000 }), (ours, text) => {
      const sig = parseSshsig(armoredBy(key, text, ours))
      expect(sig.namespace).toBe(ours)
      expect(toHex(sig.publicKey.blob)).toBe(toHex(key.publicKey.blob))
      expect(verifySshsig(sig, { namespace: ours, message: text, publicKey: key.publicKey })).toBe(true)
      expect(verifySshsig(sig, { namespace: `${ours}x`, message: text, publicKey: key.publicKey })).toBe(false)
    }),
  )
})

describe('attack', () => {
  const key = keyOf('ssh-ed25519')
  const expected = { namespace, message, publicKey: key.publicKey }
  const holds = (armored: string) => verifySshsig(parseSshsig(armored), expected)

  it('proof of possession made for another namespace, or for another request: refused', () => {
    expect(holds(armoredBy(key, message, 'file'))).toBe(false)
    expect(holds(armoredBy(key, message, `${namespace} `))).toBe(false)
    expect(holds(armoredBy(key, utf8('another request')))).toBe(false)
    expect(holds(armoredBy(key))).toBe(true)
  })

  it('namespace changed after signing: refused', () => {
    const signature = key.sign(sshsigSignedData('file', message))
    expect(holds(armorSshsig(encodeSshsig({ publicKey: key.publicKey, namespace, signature })))).toBe(false)
  })

  it("another key's good signature, under its own name or under the expected one: refused", () => {
    const other = newKey('ssh-ed25519')
    expect(holds(armoredBy(other))).toBe(false)
    const signature = other.sign(sshsigSignedData(namespace, message))
    expect(holds(armorSshsig(encodeSshsig({ publicKey: key.publicKey, namespace, signature })))).toBe(false)
  })

  it("the expected key's good signature under another key's name: refused", () => {
    const { publicKey } = newKey('ssh-ed25519')
    const signature = key.sign(sshsigSignedData(namespace, message))
    expect(holds(armorSshsig(encodeSshsig({ publicKey, namespace, signature })))).toBe(false)
    expect(holds(armorSshsig(encodeSshsig({ publicKey: key.publicKey, namespace, signature })))).toBe(true)
  })

  it('a signature over the bare message, without the preamble: refused', () => {
    const signature = key.sign(message)
    expect(holds(armorSshsig(encodeSshsig({ publicKey: key.publicKey, namespace, signature })))).toBe(false)
  })

  it('a security key that nobody touched: refused (ssh-keygen lets it pass); touched, it is taken', () => {
    for (const [flags, good] of [
      [0x00, false],
      [0x01, true],
    ] as const) {
      const security = newSecurityKey('sk-ssh-ed25519@openssh.com', { flags })
      const sig = parseSshsig(armoredBy(security))
      expect(verifySshsig(sig, { ...expected, publicKey: security.publicKey })).toBe(good)
      expect(verifies(armoredBy(security), security)).toBe(true)
    }
  })

  it('another hash, another version or magic, an empty namespace, trailing bytes: refused', () => {
    const blob = blobOf(key)
    const made = (hash: string, version = 1, name = namespace, magic = 'SSHSIG') =>
      new SshWriter()
        .raw(utf8(magic))
        .uint32(version)
        .string(key.publicKey.blob)
        .string(name)
        .string('')
        .string(hash)
        .string(key.sign(message))
        .bytes()
    const read = (bytes: Uint8Array) => answerOf(() => decodeSshsig(bytes))
    expect(read(made('sha512'))).toBe('accepted')
    for (const hash of ['sha1', 'md5', 'sha384', '']) expect(read(made(hash))).toContain('hash')
    expect(read(made('sha512', 2))).toContain('version')
    expect(read(made('sha512', 1, ''))).toContain('namespace')
    expect(read(made('sha512', 1, namespace, 'SSHSIX'))).toContain('not an SSHSIG')
    expect(read(concat(blob, Uint8Array.of(0)))).toContain('follow its end')
    for (let length = 0; length < blob.length; length++) expect(read(blob.subarray(0, length))).not.toBe('accepted')
  })

  it('armor that is too long, has something before or after it, or no base64 in it: refused', () => {
    const armored = armoredBy(key)
    const parse = (text: string) => answerOf(() => parseSshsig(text))
    for (const bad of [
      `x${armored}`,
      `${armored}x`,
      armored.replace('SIGNATURE', 'SIGNATURF'),
      armored.replace(/\n[A-Za-z0-9]/, '\n!'),
      armored + armored,
      'x'.repeat(50_000),
      armored.slice(0, 100),
    ])
      expect(parse(bad)).not.toBe('accepted')
    for (const fine of [armored, armored.trim(), armored.replaceAll('\n', '\r\n'), `\n${armored}\n`])
      expect(parse(fine)).toBe('accepted')
  })
})
