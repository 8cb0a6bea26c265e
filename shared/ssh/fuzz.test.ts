import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SshKeygen } from '#test/support/programs/ssh-keygen.ts'
import { ALL_TYPES, keyOf, type TestKey } from '#test/support/programs/ssh-keys.ts'
import { concat, equalBytes, toBase64, utf8 } from '../bytes.ts'
import { KeymanError } from '../errors.ts'
import { parseKeyId, parseUserPrincipal } from '../names.ts'
import {
  agentProtocol,
  armorSshsig,
  assembleCertificate,
  type Certificate,
  decodeCertificate,
  decodeKrl,
  decodeOpensshPrivateKey,
  decodePublicKey,
  decodeSshsig,
  encodeCertificateBody,
  encodeKrl,
  encodeOpensshPrivateKey,
  encodeSshsig,
  fingerprint,
  formatCertificate,
  formatPublicKey,
  isRevoked,
  parsePublicKey,
  SshWriter,
  sshsigSignedData,
  verifyCertificate,
  verifySshsig,
} from './index.ts'

/**
 * A hundred thousand damaged inputs a format: each is taken, or refused with a `KeymanError`; nothing else is ever thrown,
 * and nothing hangs. The same seed each time. Some 5,000 of what was taken are held against ssh-keygen, which must take it
 * too: `KEYMAN_FUZZ_HELD=5000` holds so many of each format.
 */
const ROUNDS = 100_000
const asked = Number(process.env.KEYMAN_FUZZ_HELD)
const HELD_IN_BATCHES = asked || 2_200
/** Where ssh-keygen reads one input a call. */
const HELD_ONE_BY_ONE = asked || 200
const TIMEOUT = 300_000 + 100 * (asked || 0)

const keygen = new SshKeygen()
afterAll(() => keygen.remove())
// A stack for each refusal would take most of the time.
const { stackTraceLimit } = Error
beforeEach(() => {
  Error.stackTraceLimit = 0
})
afterEach(() => {
  Error.stackTraceLimit = stackTraceLimit
})

/** Numbers below `limit`, the same row for the same seed (mulberry32). */
type Random = (limit: number) => number
function seeded(seed: number): Random {
  let state = seed
  return limit => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % limit
  }
}

const LENGTHS = [0, 1, 2, 0xff, 0x100, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
function mutate(input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const at = random(input.length + 1)
  const size = 1 + random(12)
  switch (random(8)) {
    case 0: {
      const out = Uint8Array.from(input)
      if (at < out.length) out[at] = (out[at] ?? 0) ^ (1 << random(8))
      return out
    }
    case 1: {
      const out = Uint8Array.from(input)
      for (let i = at; i < Math.min(out.length, at + size); i++) out[i] = random(256)
      return out
    }
    case 2: {
      const out = Uint8Array.from(input)
      if (at + 4 <= out.length) new DataView(out.buffer).setUint32(at, LENGTHS[random(LENGTHS.length)] ?? 0)
      return out
    }
    case 3: {
      // A length that is off by one.
      const out = Uint8Array.from(input)
      if (at < out.length) out[at] = (out[at] ?? 0) + (random(2) ? 1 : -1)
      return out
    }
    case 4:
      return input.slice(0, at)
    case 5:
      return concat(
        input.subarray(0, at),
        Uint8Array.from({ length: size }, () => random(256)),
        input.subarray(at),
      )
    case 6:
      return concat(input.subarray(0, at), input.subarray(Math.min(input.length, at + size)))
    default:
      return concat(input.subarray(0, at), other.subarray(random(other.length + 1)))
  }
}

/** Damages inputs of the pool, reads each, and gives a fair choice of what was read. */
function fuzz<T>(seed: number, pool: readonly Uint8Array[], keep: number, read: (input: Uint8Array) => T): T[] {
  const random = seeded(seed)
  const pick = () => pool[random(pool.length)] ?? new Uint8Array(0)
  const kept: T[] = []
  let taken = 0
  let refused = 0
  for (let round = 0; round < ROUNDS; round++) {
    let input = pick()
    for (let i = random(3); i >= 0; i--) input = mutate(input, pick(), random)
    try {
      const result = read(input)
      taken++
      if (kept.length < keep) kept.push(result)
      else {
        const at = random(taken)
        if (at < keep) kept[at] = result
      }
    } catch (error) {
      if (!(error instanceof KeymanError) || error.code !== 'invalid-input')
        throw new Error(`round ${round}, input ${input.toHex()}`, { cause: error })
      refused++
    }
  }
  // Otherwise the mutations are too wild or too tame, and the run says nothing.
  expect(taken).toBeGreaterThan(ROUNDS / 200)
  expect(refused).toBeGreaterThan(ROUNDS / 20)
  return kept
}

const authority = keyOf('ssh-ed25519')
const message = utf8('message')
const keys = ALL_TYPES.map(keyOf)
function certificateOf({ publicKey }: TestKey, i: number): Uint8Array {
  const common = {
    nonce: new Uint8Array(32).fill(i),
    subjectKey: publicKey,
    serial: BigInt(i + 1),
    keyId: parseKeyId(`alice@example.com/${i}`, 'keyId'),
    validAfter: 1_790_000_000n,
    validBefore: 1_790_028_800n,
    authorityKey: authority.publicKey,
  }
  const body = encodeCertificateBody({
    ...common,
    kind: 'user',
    principals: ['alice@example.com', 'team:sre'].map(name => parseUserPrincipal(name, 'principals')),
    criticalOptions: i % 2 ? { forceCommand: 'uptime', sourceAddress: ['10.0.0.0/8'], verifyRequired: true } : {},
    extensions: i % 3 ? ['permit-pty', 'permit-agent-forwarding'] : [],
  })
  return assembleCertificate(body, authority.sign(body))
}

describe('a hundred thousand damaged inputs are taken or refused, never more:', () => {
  it(
    'public keys; what is taken, ssh-keygen fingerprints as we do',
    () => {
      const pool = keys.map(({ publicKey }) => publicKey.blob)
      const taken = fuzz(1, pool, HELD_IN_BATCHES, blob => {
        const key = decodePublicKey(blob, 'publicKey')
        expect(equalBytes(parsePublicKey(formatPublicKey(key, 'c')).blob, blob)).toBe(true)
        return key
      })
      const path = keygen.write('keys.pub', taken.map((key, i) => `${formatPublicKey(key, `k${i}`)}\n`).join(''))
      const theirs = new Set(
        keygen
          .run(['-l', '-f', path])
          .split('\n')
          .map(line => line.split(' ').slice(1, 3).join(' ')),
      )
      expect(taken.map((key, i) => `${fingerprint(key)} k${i}`).filter(line => !theirs.has(line))).toEqual([])
    },
    TIMEOUT,
  )

  it(
    'lines of public keys as text',
    () => {
      const pool = keys.map(({ publicKey }) => utf8(formatPublicKey(publicKey, 'a comment')))
      const decoder = new TextDecoder()
      fuzz(2, pool, 0, bytes => parsePublicKey(decoder.decode(bytes)))
    },
    TIMEOUT,
  )

  it(
    'certificates; what is taken, once it is signed, ssh-keygen reads',
    () => {
      const pool = keys.map(certificateOf)
      const taken = fuzz(3, pool, HELD_IN_BATCHES, blob => {
        const certificate = decodeCertificate(blob)
        return { ...certificate, body: Uint8Array.from(certificate.body) }
      })
      // ssh-keygen checks the signature as it reads, so each gets one that holds, where the authority is still ours.
      const ours = taken.filter(({ authorityKey }) => equalBytes(authorityKey.blob, authority.publicKey.blob))
      expect(ours.length).toBeGreaterThan(taken.length / 2)
      const signed = ours.map(({ body }) => assembleCertificate(body, authority.sign(body)))
      for (const blob of signed) expect(verifyCertificate(decodeCertificate(blob), [authority.publicKey])).toBe(true)
      // It names the line of each but the first, so an undamaged one goes before them.
      const lines = [...pool.slice(0, 1), ...signed].map(blob => `${formatCertificate(blob)}\n`)
      const path = keygen.write('many-cert.pub', lines.join(''))
      const { stdout, output } = keygen.try(['-L', '-f', path])
      const read = new Set(Array.from(stdout.matchAll(/^\S+:(\d+):$/gm), match => Number(match[1])))
      const missed = signed.filter((_, i) => !read.has(i + 2)).map(blob => formatCertificate(blob))
      expect(missed, output.slice(-300)).toEqual([])
    },
    TIMEOUT,
  )

  it(
    'revocation lists; what is taken, ssh-keygen reads',
    () => {
      const subject = decodeCertificate(certificateOf(keyOf('ecdsa-sha2-nistp256'), 0))
      const empty = { version: 1n, generatedAt: 1n, comment: 'c', certificates: [], keys: [], fingerprints: [] }
      const serials = [1n, 3n, 4n, 9n, 700n, 2n ** 63n].map(serial => ({ from: serial, to: serial }))
      for (let i = 0n; i < 60n; i++) serials.push({ from: 1000n + 2n * i, to: 1000n + 2n * i })
      serials.push({ from: 5000n, to: 90_000n })
      const pool = [
        empty,
        { ...empty, certificates: [{ authority: authority.publicKey, serials, keyIds: ['alice@example.com/1', 'b'] }] },
        { ...empty, certificates: [{ authority: undefined, serials: serials.slice(0, 4), keyIds: [] }] },
        { ...empty, keys: keys.slice(0, 3).map(({ publicKey }) => publicKey.blob) },
        { ...empty, fingerprints: [1, 2, 3].map(fill => new Uint8Array(32).fill(fill)) },
      ].map(encodeKrl)
      const taken = fuzz(4, pool, HELD_ONE_BY_ONE, bytes => {
        const krl = decodeKrl(bytes)
        isRevoked(krl, subject)
        return Uint8Array.from(bytes)
      })
      const missed = taken.filter(bytes => !keygen.try(['-Q', '-l', '-f', keygen.write('krl', bytes)]).ok)
      expect(missed.map(bytes => bytes.toHex())).toEqual([])
    },
    TIMEOUT,
  )

  it(
    'SSHSIG; what is taken, ssh-keygen parses',
    () => {
      const pool = keys.map(({ publicKey, sign }) =>
        encodeSshsig({ publicKey, namespace: 'ns@keyman', signature: sign(sshsigSignedData('ns@keyman', message)) }),
      )
      const [first = new Uint8Array(0)] = pool
      const taken = fuzz(5, pool, HELD_ONE_BY_ONE, blob => {
        const sig = decodeSshsig(blob)
        const { publicKey, namespace } = sig
        const holds = verifySshsig(sig, { publicKey, namespace, message })
        // Whatever holds after the damage differs from a good one in the reserved field at most.
        if (holds && blob.length > first.length * 50) throw new Error('a signature of an absurd length holds')
        return { blob: Uint8Array.from(blob), publicKey }
      })
      const missed = taken.filter(({ blob, publicKey }) => {
        const signers = keygen.write('signers', `signer ${formatPublicKey(publicKey)}\n`)
        const file = keygen.write('sig', armorSshsig(blob))
        return keygen.try(['-Y', 'find-principals', '-s', file, '-f', signers]).stdout.trim() !== 'signer'
      })
      expect(missed.map(({ blob }) => blob.toHex())).toEqual([])
    },
    TIMEOUT,
  )

  it(
    "an ssh-agent's answers",
    () => {
      const answer = (count: number) => {
        const writer = new SshWriter().byte(12).uint32(count)
        for (const { publicKey } of keys.slice(0, count)) writer.string(publicKey.blob).string('a comment')
        return writer.bytes()
      }
      fuzz(6, [0, 1, 2, 7].map(answer), 0, bytes => agentProtocol.decodeIdentitiesAnswer(bytes))
    },
    TIMEOUT,
  )

  it(
    'private keys; what is taken, ssh-keygen reads as the same key',
    () => {
      const lines = ['', 'x', 'alice@example.com until 18:00'].map(comment =>
        encodeOpensshPrivateKey({ seed: new Uint8Array(32).fill(comment.length), comment })
          .trim()
          .split('\n'),
      )
      const [begin = ''] = lines[0] ?? []
      const end = begin.replace('BEGIN', 'END')
      const pool = lines.map(each => Uint8Array.fromBase64(each.slice(1, -1).join('')))
      const taken = fuzz(7, pool, HELD_ONE_BY_ONE, blob => {
        const pem = `${begin}\n${toBase64(blob).replace(/.{1,70}/g, '$&\n')}${end}\n`
        return { pem, key: decodeOpensshPrivateKey(pem).publicKey }
      })
      const missed = taken.filter(({ pem, key }) => {
        const { stdout } = keygen.try(['-y', '-f', keygen.write('key', pem)])
        return stdout.split(' ').slice(0, 2).join(' ').trim() !== formatPublicKey(key)
      })
      expect(missed).toEqual([])
    },
    TIMEOUT,
  )
})

it('a damaged certificate never holds: not one of twenty thousand, each with the signature of the undamaged one', () => {
  const random = seeded(8)
  const pool = keys.map(certificateOf)
  let read = 0
  for (let round = 0; round < 20_000; round++) {
    const good = pool[random(pool.length)] ?? new Uint8Array(0)
    const damaged = mutate(good, good, random)
    if (equalBytes(damaged, good)) continue
    let certificate: Certificate
    try {
      certificate = decodeCertificate(damaged)
    } catch (error) {
      if (error instanceof KeymanError) continue
      throw error
    }
    read++
    expect(verifyCertificate(certificate, [authority.publicKey]), formatCertificate(damaged)).toBe(false)
  }
  expect(read).toBeGreaterThan(1000)
})
