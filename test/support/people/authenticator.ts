import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { concat, fromBase64Url, toBase64Url, utf8 } from '#shared/bytes.ts'

type Json = Record<string, unknown>

/** What an attacker, or a broken authenticator, does otherwise than the specification says. */
export type Change = {
  readonly origin?: string
  readonly rpId?: string
  readonly userVerified?: boolean
  readonly challenge?: string
  readonly crossOrigin?: boolean
  readonly type?: string
  /** The signature counter that is told. */
  readonly counter?: number
  readonly userHandle?: string | undefined
  /** Of a new credential: one that somebody else has already. */
  readonly credentialId?: Uint8Array
  /** Flips a bit of the signature. */
  readonly badSignature?: boolean
}

type Credential = {
  readonly id: Uint8Array
  readonly privateKey: KeyObject
  readonly userHandle: string
  readonly rpId: string
  counter: number
}

const FLAGS = { present: 1, verified: 4, mayBeSynced: 8, isSynced: 16, attested: 64 }

/**
 * An authenticator in software (WebAuthn Level 3, sections 6 and 8.7): makes real credentials and real signatures. `counting` keeps
 * a signature counter as a security key does; otherwise it stays at 0, as a synced passkey's.
 */
export class Authenticator {
  readonly credentials: Credential[] = []
  readonly #origin: string
  readonly #algorithm: 'es256' | 'eddsa'
  readonly #counting: boolean

  constructor(origin: string, options: { algorithm?: 'es256' | 'eddsa'; counting?: boolean } = {}) {
    this.#origin = origin
    this.#algorithm = options.algorithm ?? 'es256'
    this.#counting = options.counting ?? false
  }

  /** The answer of `navigator.credentials.create`, as JSON. */
  create(options: Json, change: Change = {}): Json {
    const { rp, user, challenge } = options as {
      rp: { id: string }
      user: { id: string }
      challenge: string
    }
    const key =
      this.#algorithm === 'es256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519')
    const credential: Credential = {
      id: change.credentialId ?? new Uint8Array(randomBytes(32)),
      privateKey: key.privateKey,
      userHandle: user.id,
      rpId: rp.id,
      counter: this.#counting ? 1 : 0,
    }
    this.credentials.push(credential)
    const attested = concat(new Uint8Array(16), uint16(credential.id.length), credential.id, coseKey(key.publicKey))
    const authenticatorData = this.#authenticatorData(credential, change, FLAGS.attested, attested)
    const attestation = map(['fmt', text('none')], ['attStmt', map()], ['authData', bytes(authenticatorData)])
    return {
      ...this.#frame(credential),
      response: {
        clientDataJSON: this.#clientData('webauthn.create', challenge, change),
        attestationObject: toBase64Url(attestation),
        transports: ['internal'],
      },
    }
  }

  /** The answer of `navigator.credentials.get`, by the credential given or the last that was made. */
  get(options: Json, change: Change = {}, credential = this.credentials.at(-1)): Json {
    if (!credential) throw new Error('this authenticator has no credential')
    if (this.#counting) credential.counter++
    const clientData = this.#clientData('webauthn.get', String(options.challenge), change)
    const authenticatorData = this.#authenticatorData(credential, change)
    const signed = concat(authenticatorData, sha256(fromBase64Url(clientData)))
    const hash = this.#algorithm === 'es256' ? 'sha256' : null
    const signature = new Uint8Array(sign(hash, signed, credential.privateKey))
    if (change.badSignature) signature[signature.length - 1] = (signature.at(-1) ?? 0) ^ 1
    const userHandle = 'userHandle' in change ? change.userHandle : credential.userHandle
    return {
      ...this.#frame(credential),
      response: {
        clientDataJSON: clientData,
        authenticatorData: toBase64Url(authenticatorData),
        signature: toBase64Url(signature),
        ...(userHandle === undefined ? {} : { userHandle }),
      },
    }
  }

  #frame(credential: Credential): Json {
    const id = toBase64Url(credential.id)
    return { id, rawId: id, type: 'public-key', authenticatorAttachment: 'platform', clientExtensionResults: {} }
  }

  #clientData(type: string, challenge: string, change: Change): string {
    const data = {
      type: change.type ?? type,
      challenge: change.challenge ?? challenge,
      origin: change.origin ?? this.#origin,
      crossOrigin: change.crossOrigin ?? false,
    }
    return toBase64Url(utf8(JSON.stringify(data)))
  }

  #authenticatorData(
    credential: Credential,
    change: Change,
    more = 0,
    attested: Uint8Array = new Uint8Array(),
  ): Uint8Array {
    const verified = change.userVerified === false ? 0 : FLAGS.verified
    const synced = this.#counting ? 0 : FLAGS.mayBeSynced | FLAGS.isSynced
    const flags = FLAGS.present | verified | synced | more
    return concat(
      sha256(utf8(change.rpId ?? credential.rpId)),
      Uint8Array.of(flags),
      uint32(change.counter ?? credential.counter),
      attested,
    )
  }
}

/** RFC 9052 section 7, RFC 9053 section 7: EC2 with ES256, or OKP with EdDSA. */
function coseKey(publicKey: KeyObject): Uint8Array {
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
  return publicKey.asymmetricKeyType === 'ec'
    ? map([1, int(2)], [3, int(-7)], [-1, int(1)], [-2, bytes(fromBase64Url(x))], [-3, bytes(fromBase64Url(y))])
    : map([1, int(1)], [3, int(-8)], [-1, int(6)], [-2, bytes(fromBase64Url(x))])
}

/** As much of CBOR (RFC 8949) as is needed: lengths below 65536. */
const head = (major: number, length: number): Uint8Array =>
  length < 24
    ? Uint8Array.of((major << 5) | length)
    : length < 256
      ? Uint8Array.of((major << 5) | 24, length)
      : concat(Uint8Array.of((major << 5) | 25), uint16(length))
const int = (value: number): Uint8Array => (value < 0 ? head(1, -1 - value) : head(0, value))
const bytes = (value: Uint8Array): Uint8Array => concat(head(2, value.length), value)
const text = (value: string): Uint8Array => concat(head(3, utf8(value).length), utf8(value))
const map = (...entries: (readonly [string | number, Uint8Array])[]): Uint8Array =>
  concat(
    head(5, entries.length),
    ...entries.flatMap(([key, value]) => [typeof key === 'string' ? text(key) : int(key), value]),
  )

const uint16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff)
const uint32 = (value: number): Uint8Array => concat(uint16(value >>> 16), uint16(value & 0xffff))
const sha256 = (value: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(value).digest())
