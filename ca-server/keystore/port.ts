import { invalid, KeymanError } from '#shared/errors.ts'

/** An adapter offers those that it has probed: see `capabilities`. */
export type KeyAlgorithm = 'ed25519' | 'ecdsa-p256' | 'ecdsa-p384' | 'rsa-3072' | 'rsa-4096'
export const KEY_ALGORITHMS = ['ed25519', 'ecdsa-p256', 'ecdsa-p384', 'rsa-3072', 'rsa-4096'] as const

export type KeystoreKey = {
  readonly label: string
  readonly algorithm: KeyAlgorithm
  /** DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7). */
  readonly spki: Uint8Array
}

/**
 * The port behind which authority keys and master keys live. No private key ever leaves it.
 *
 * A label is 1 to 63 characters: lower-case letters, digits and `. _ : -`, a letter or digit first. `health` is reserved.
 * Signing keys and master keys have labels apart: one label may name one of each.
 * Every method throws `unavailable` (with `retryAfter`, seconds, where trying again can help) if the keystore is away.
 */
export interface Keystore {
  readonly kind: 'software' | 'pkcs11'
  /** What this one can do, probed when it was opened; `cannot` are remarks for the operator, shown at each start. */
  readonly capabilities: {
    readonly algorithms: readonly KeyAlgorithm[]
    readonly wrapsDataKeys: boolean
    readonly cannot: readonly string[]
  }
  /** Throws `conflict` if the label is taken, `invalid-input` if this keystore does not offer the algorithm. Never replaces a key. */
  generateKey(label: string, algorithm: KeyAlgorithm): Promise<KeystoreKey>
  /** The signing keys of KeyMan in order of their labels, without the keystore's own `health`. */
  listKeys(): Promise<readonly KeystoreKey[]>
  /**
   * Ed25519: the 64 bytes of RFC 8032. ECDSA: r || s of fixed width (IEEE P1363) over SHA-256 of `data`, for P-384 over
   * SHA-384. RSA: PKCS#1 v1.5 over SHA-512 of `data` (`rsa-sha2-512`, RFC 8332).
   *
   * Each signature is verified before it is given, beside the event loop and where it was made: a faulty HSM, or a fault
   * provoked in one, must not hand out signatures from which a key can be computed. `spki` (DER): the key that the caller
   * means; where another one has the label, nothing is signed.
   *
   * Throws `not-found` for an unknown label, `invalid-input` for an empty text, `unavailable` for another key or a signature
   * that is not valid, and with `retryAfter` if more than the bound are waiting.
   */
  sign(label: string, data: Uint8Array, spki?: Uint8Array): Promise<Uint8Array>
  /**
   * AES-256-GCM by a master key that never leaves the keystore and is made on first use. `associatedData` is not stored;
   * the same bytes open it again. What comes back is version 0x01 || nonce (12) || ciphertext || tag (16).
   */
  wrapDataKey(masterLabel: string, dataKey: Uint8Array, associatedData: Uint8Array): Promise<Uint8Array>
  /** Throws `not-found` for an unknown master key, `denied` if `wrapped` or `associatedData` is not what it was. Makes no key. */
  unwrapDataKey(masterLabel: string, wrapped: Uint8Array, associatedData: Uint8Array): Promise<Uint8Array>
  /**
   * Signs random bytes with a key of its own, verified as each signature is; concurrent callers share one probe. Throws
   * `unavailable`, also if there is no answer within five seconds.
   */
  health(): Promise<void>
  /** Lets running operations end, refuses new ones. */
  close(): Promise<void>
}

/** One of two that are configured and does not answer; which it is, and why. */
export type AwayKeystore = { readonly name: 'keystore' | 'keystore.standby'; readonly error: KeymanError }

export type KeystoreConfig =
  | {
      readonly kind: 'software'
      /** Made with mode 0700 if it is missing. */
      readonly folder: string
      /**
       * What opens the keys at rest: a file of mode 0600 (made on first use), a passphrase, or the path of a systemd
       * credential (systemd.exec(5), `LoadCredentialEncrypted=`).
       */
      readonly unlock: { readonly keyFile: string } | { readonly passphrase: string } | { readonly credential: string }
    }
  | {
      readonly kind: 'pkcs11'
      /** Path of the PKCS#11 module. */
      readonly module: string
      /** The token's label. */
      readonly token: string
      readonly pin: string
      /**
       * For an HSM that is reached by a network: signatures that are under way at the same time. They wait on libuv's threads,
       * so set UV_THREADPOOL_SIZE to a few more. Without it the module works in this process, and threads of ours sign.
       */
      readonly sessions?: number
      /** What C_Initialize gets besides, for modules that want it: NSS softokn is told its folder so. */
      readonly libraryParameters?: string
    }

/** Operations that may wait. At 5,000 signatures a second that is a fifth of a second; who waits longer is better told. */
export const QUEUE_BOUND = 1024
/** The keystore's own key, for `health()`. */
export const HEALTH_LABEL = 'health'
/** libuv's threads do the signing; `UV_THREADPOOL_SIZE` is read once, when the first of them starts. */
export const threadCount = (): number => {
  const set = Number(process.env.UV_THREADPOOL_SIZE ?? 4)
  return Number.isInteger(set) && set >= 1 && set <= 1024 ? set : 4
}

const LABEL = /^[a-z0-9][a-z0-9._:-]{0,62}$/

/** Throws `invalid-input`. Labels become file names and CKA_LABEL: an allow-list, as for all names. */
export function checkLabel(label: string): string {
  if (LABEL.test(label)) return label
  throw new KeymanError('invalid-input', `${JSON.stringify(label.slice(0, 64))} is no label of a key`, {
    hint: 'use lower-case letters, digits and . _ : -, at most 63 characters',
    fields: [{ field: 'label', message: 'not a label of a key' }],
  })
}

export const unavailable = (message: string, details: { hint?: string; retryAfter?: number; cause?: unknown } = {}) =>
  new KeymanError('unavailable', message, details)

export const noSuchKey = (label: string) => new KeymanError('not-found', `the keystore has no key ${label}`)

export const labelTaken = (label: string) =>
  new KeymanError('conflict', `the keystore has a key ${label} already`, {
    hint: 'a key is never replaced: choose another label',
  })

/** Modules differ about an empty text, and nothing of ours signs one. Throws `invalid-input`. */
export function checkText(data: Uint8Array): void {
  if (data.length === 0) throw invalid('data', 'an empty text is not signed')
}

/** The label for a new key; throws `invalid-input` or, for the reserved one, `conflict`. */
export function checkNewKey(label: string, algorithm: KeyAlgorithm, offered: readonly KeyAlgorithm[]): void {
  checkLabel(label)
  if (label === HEALTH_LABEL) throw labelTaken(label)
  if (offered.includes(algorithm)) return
  throw new KeymanError('invalid-input', `this keystore makes no ${algorithm} keys`, {
    hint: `it offers ${offered.join(', ') || 'none that KeyMan knows'}; authority.algorithm chooses (ed25519, ecdsa-p256)`,
    fields: [{ field: 'algorithm', message: `not one of ${offered.join(', ')}` }],
  })
}
