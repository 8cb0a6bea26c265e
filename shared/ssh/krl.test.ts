import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { keyOf, newKey, newNonce, rsaBlob, type TestKey } from '#test/support/programs/ssh-keys.ts'
import { fromBase64, toHex } from '../bytes.ts'
import { parseKeyId, parseUserPrincipal } from '../names.ts'
import {
  assembleCertificate,
  decodeCertificate,
  decodeKrl,
  encodeCertificateBody,
  encodeKrl,
  fingerprint,
  formatCertificate,
  formatPublicKey,
  isRevoked,
  type Krl,
  type SerialRange,
} from './index.ts'

const keygen = new SshKeygen()
afterAll(() => keygen.remove())

const authority = keyOf('ssh-ed25519')
const other = keyOf('ecdsa-sha2-nistp256')
const nothing: Krl = {
  version: 1n,
  generatedAt: 1_790_000_000n,
  comment: '',
  certificates: [],
  keys: [],
  fingerprints: [],
}
const one = (serial: bigint): SerialRange => ({ from: serial, to: serial })
const withSerials = (serials: readonly SerialRange[], keyIds: readonly string[] = []): Krl => ({
  ...nothing,
  certificates: [{ authority: authority.publicKey, serials, keyIds }],
})
const subject = newKey('ssh-ed25519')
function certificate(serial: bigint, id = 'alice@example.com/1', by: TestKey = authority) {
  const body = encodeCertificateBody({
    kind: 'user',
    nonce: newNonce(),
    subjectKey: subject.publicKey,
    serial,
    keyId: parseKeyId(id, 'keyId'),
    principals: [parseUserPrincipal('alice@example.com', 'principals')],
    validAfter: 1n,
    validBefore: 2n,
    criticalOptions: {},
    extensions: [],
    authorityKey: by.publicKey,
  })
  return decodeCertificate(assembleCertificate(body, by.sign(body)))
}
/** As ssh-keygen -Q says, one answer a line. */
function askKeygen(krl: Uint8Array, lines: readonly string[]): boolean[] {
  const list = keygen.write('krl', krl)
  const files = lines.map((text, i) => keygen.write(`q${i}.pub`, `${text}\n`))
  const { stdout } = keygen.try(['-Q', '-f', list, ...files])
  const answers = stdout
    .split('\n')
    .filter(text => /: (ok|REVOKED)$/.test(text))
    .map(text => text.endsWith('REVOKED'))
  expect(answers).toHaveLength(lines.length)
  return answers
}
const serialsOf = (krl: Krl) => krl.certificates.flatMap(({ serials }) => serials)

describe('what we revoke, ssh-keygen finds revoked, and nothing else', () => {
  it('by serial: single ones, close together, and long runs', () => {
    const serials = [one(5n), one(7n), one(9n), { from: 100n, to: 5000n }, one(2n ** 40n), one(2n ** 64n - 1n)]
    for (let i = 0n; i < 100n; i++) serials.push(one(20_000n + 3n * i))
    const krl = withSerials(serials)
    const bytes = encodeKrl(krl)
    const asked = [
      1n,
      4n,
      5n,
      6n,
      7n,
      99n,
      100n,
      5000n,
      5001n,
      20_003n,
      20_004n,
      20_297n,
      20_298n,
      2n ** 40n,
      2n ** 64n - 1n,
    ]
    const certificates = asked.map(serial => certificate(serial))
    const expected = asked.map(serial => serials.some(({ from, to }) => from <= serial && serial <= to))
    expect(
      askKeygen(
        bytes,
        certificates.map(({ blob }) => formatCertificate(blob)),
      ),
    ).toEqual(expected)
    expect(certificates.map(each => isRevoked(decodeKrl(bytes), each))).toEqual(expected)
    expect(expected.filter(Boolean)).toHaveLength(8)
  })

  it('by key ID, of this authority and of any', () => {
    const krl: Krl = {
      ...withSerials([], ['alice@example.com/1', 'alice@example.com/2']),
      certificates: [
        ...withSerials([], ['alice@example.com/1']).certificates,
        { authority: undefined, serials: [one(77n)], keyIds: ['bob@example.com/9'] },
      ],
    }
    const asked = [
      certificate(1n, 'alice@example.com/1'),
      certificate(1n, 'alice@example.com/11'),
      certificate(1n, 'alice@example.com/1', other),
      certificate(1n, 'bob@example.com/9', other),
      certificate(77n, 'carol@example.com/1', other),
      certificate(78n, 'carol@example.com/1', other),
    ]
    const expected = [true, false, false, true, true, false]
    const bytes = encodeKrl(krl)
    expect(
      askKeygen(
        bytes,
        asked.map(({ blob }) => formatCertificate(blob)),
      ),
    ).toEqual(expected)
    expect(asked.map(each => isRevoked(decodeKrl(bytes), each))).toEqual(expected)
  })

  it('by key and by fingerprint: the plain key, every certificate of it, and every certificate by it', () => {
    const hash = (key: TestKey) => fromBase64(`${fingerprint(key.publicKey).slice(7)}=`)
    const byFingerprint = keyOf('ecdsa-sha2-nistp384')
    const security = keyOf('sk-ssh-ed25519@openssh.com')
    const keys = [other, byFingerprint, security, subject, keyOf('ssh-rsa')]
    for (const [krl, revoked] of [
      [{ ...nothing, keys: [other.publicKey.blob, security.publicKey.blob] }, [true, false, true, false, false]],
      [
        { ...nothing, fingerprints: [hash(byFingerprint), hash(subject), hash(other)] },
        [true, true, false, true, false],
      ],
    ] as const) {
      const bytes = encodeKrl(krl)
      const asked = [...keys.map(key => formatPublicKey(key.publicKey)), formatCertificate(certificate(3n).blob)]
      const byOther = certificate(3n, 'id', other)
      const expected = [...revoked, revoked[3] ?? false, true]
      expect(askKeygen(bytes, [...asked, formatCertificate(byOther.blob)])).toEqual(expected)
      const subjects = [...keys.map(key => key.publicKey), certificate(3n), byOther]
      expect(subjects.map(each => isRevoked(decodeKrl(bytes), each))).toEqual(expected)
    }
  })

  it('a key of a kind that is never taken: a short RSA key', () => {
    const { blob } = rsaBlob(2048)
    const bytes = encodeKrl({ ...nothing, keys: [blob] })
    expect(askKeygen(bytes, [`ssh-rsa ${blob.toBase64()}`])).toEqual([true])
    expect(decodeKrl(bytes).keys.map(toHex)).toEqual([toHex(blob)])
  })

  it('with nothing revoked: the header alone, 44 bytes and the comment, which revokes nothing', () => {
    const bytes = encodeKrl({ ...nothing, comment: 'keyman' })
    expect(bytes).toHaveLength(44 + 6)
    expect(encodeKrl(withSerials([]))).toHaveLength(44)
    expect(askKeygen(bytes, [formatPublicKey(subject.publicKey), formatCertificate(certificate(1n).blob)])).toEqual([
      false,
      false,
    ])
  })
})

describe('what ssh-keygen writes, we read', () => {
  it('serials, ranges, key IDs, keys and both kinds of fingerprints', () => {
    const ca = keygen.write('ca.pub', `${formatPublicKey(authority.publicKey)}\n`)
    const hashed = keyOf('ecdsa-sha2-nistp521')
    const spec = [
      'serial: 3',
      'serial: 10-4000',
      'serial: 100000',
      'serial: 100003',
      'serial: 100004',
      'id: alice@example.com/7',
      `key: ${formatPublicKey(other.publicKey)}`,
      `sha1: ${formatPublicKey(keyOf('ecdsa-sha2-nistp384').publicKey)}`,
      `sha256: ${formatPublicKey(hashed.publicKey)}`,
    ]
    keygen.write('spec', `${spec.join('\n')}\n`)
    keygen.run(['-q', '-k', '-f', keygen.path('theirs'), '-z', '12', '-s', ca, keygen.path('spec')])
    const bytes = keygen.read('theirs')
    const krl = decodeKrl(bytes)
    expect(krl.version).toBe(12n)
    expect(krl.certificates).toHaveLength(1)
    expect(serialsOf(krl)).toEqual([one(3n), { from: 10n, to: 4000n }, one(100_000n), { from: 100_003n, to: 100_004n }])
    expect(krl.certificates[0]?.keyIds).toEqual(['alice@example.com/7'])
    expect(isRevoked(krl, other.publicKey)).toBe(true)
    expect(isRevoked(krl, keyOf('ecdsa-sha2-nistp384').publicKey)).toBe(true)
    expect(isRevoked(krl, hashed.publicKey)).toBe(true)
    expect(isRevoked(krl, subject.publicKey)).toBe(false)
    expect(isRevoked(krl, certificate(100_003n))).toBe(true)
    expect(isRevoked(krl, certificate(100_002n))).toBe(false)
  })

  it('thousands of serials, in whatever mixture of sections it chose', () => {
    const serials = new Set<bigint>()
    // Fixed, so that each run sees the same: runs, gaps small and large.
    let next = 1n
    for (let i = 0n; i < 3000n; i++) {
      next += i % 7n === 0n ? 1000n + i : i % 3n === 0n ? 2n : 1n
      serials.add(next)
    }
    const sorted = [...serials]
    keygen.write('many', sorted.map(serial => `serial: ${serial}\n`).join(''))
    const ca = keygen.write('ca.pub', `${formatPublicKey(authority.publicKey)}\n`)
    keygen.run(['-q', '-k', '-f', keygen.path('manyout'), '-s', ca, keygen.path('many')])
    const theirs = keygen.read('manyout')
    const listed = serialsOf(decodeKrl(theirs)).flatMap(({ from, to }) =>
      Array.from({ length: Number(to - from) + 1 }, (_, i) => from + BigInt(i)),
    )
    expect(listed).toEqual(sorted)
    const ours = encodeKrl(withSerials(sorted.map(one)))
    expect(serialsOf(decodeKrl(ours))).toEqual(serialsOf(decodeKrl(theirs)))
    expect(ours.length).toBeLessThanOrEqual(1.1 * theirs.length)
  })
})

it('reads back what it wrote: the same serials, merged; the same IDs, keys and fingerprints, each once', () => {
  const serial = fc.oneof(
    fc.bigInt({ min: 1n, max: 3000n }),
    fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }),
    fc.constant(2n ** 64n - 1n),
  )
  const range = fc
    .tuple(serial, fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 500n })))
    .map(([from, length]) => ({
      from,
      to: from + length > 2n ** 64n - 1n ? from : from + length,
    }))
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 })
  fc.assert(
    fc.property(
      fc.array(range, { maxLength: 60 }),
      fc.array(fc.stringMatching(/^[a-z@/.]{1,20}$/), { maxLength: 5 }),
      fc.array(hash, { maxLength: 5 }),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.array(serial, { maxLength: 20 }),
      (serials, keyIds, fingerprints, version, probes) => {
        const bytes = encodeKrl({ ...withSerials(serials, keyIds), fingerprints, version })
        const krl = decodeKrl(bytes)
        expect(krl.version).toBe(version)
        expect(toHex(encodeKrl(krl))).toBe(toHex(bytes))
        const read = serialsOf(krl)
        const isIn = (ranges: readonly SerialRange[], number: bigint) =>
          ranges.some(({ from, to }) => from <= number && number <= to)
        for (const number of [...probes, ...serials.flatMap(({ from, to }) => [from, to, from - 1n, to + 1n])])
          expect(isIn(read, number)).toBe(isIn(serials, number))
        read.forEach((each, i) => {
          if (i > 0) expect(each.from > (read[i - 1]?.to ?? 0n) + 1n).toBe(true)
        })
        expect(krl.certificates.flatMap(section => section.keyIds)).toEqual([...new Set(keyIds)].sort())
        expect(krl.fingerprints.map(toHex)).toEqual([...new Set(fingerprints.map(toHex))].sort())
      },
    ),
  )
})

it('stays small: a million serials in a row are a range, dense ones a bitmap, scattered ones a list', () => {
  expect(encodeKrl(withSerials([{ from: 1n, to: 1_000_000n }])).length).toBeLessThan(150)
  const dense = Array.from({ length: 8000 }, (_, i) => one(BigInt(1 + 2 * i)))
  expect(encodeKrl(withSerials(dense)).length).toBeLessThan(2300)
  const scattered = Array.from({ length: 1000 }, (_, i) => one(BigInt(i + 1) * 1_000_003n))
  expect(encodeKrl(withSerials(scattered)).length).toBeLessThan(8200)
})

it('takes a hundred thousand serials without running out of arguments', () => {
  const serials = Array.from({ length: 100_000 }, (_, i) => one(BigInt(i + 1) * 1009n))
  expect(serialsOf(decodeKrl(encodeKrl(withSerials(serials))))).toHaveLength(100_000)
})
