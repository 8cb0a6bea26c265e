import { type Keystore, QUEUE_BOUND } from '#server/keystore/index.ts'
import type { Ledger, Recorded } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'

/**
 * The one file that uses an authority key. It takes nothing but what the ledger has recorded, once: so what exists is
 * always a subset of what the log says. Each signature is verified before it leaves (see `Keystore.sign`), by the key that
 * the authority is known by and no other that has its label.
 */
export type AuthorityKey = {
  /** In the keystore, and in the ledger as the authority's name. */
  readonly label: string
  readonly algorithm: 'ed25519' | 'ecdsa-p256'
  /** DER. */
  readonly spki: Uint8Array
}
/** The to-be-signed bytes of a certificate, with the key that is to sign them. */
export type Signable = {
  readonly key: AuthorityKey
  readonly bytes: Uint8Array
  readonly requestId: string
  readonly serial: bigint
}

export type Signer = {
  /**
   * Throws `unavailable` where the keystore can't sign. For `inTurn`, and for whoever is about to use up what can be used
   * once, such as a login's code.
   */
  ready(): Promise<void>
  /**
   * Runs record and signature together. Before anything is recorded it makes sure that the keystore can sign, and that
   * no more are under way than it can take; throws `unavailable` otherwise.
   */
  inTurn<T>(work: () => Promise<T>): Promise<T>
  /** Raw: Ed25519 64 bytes, ECDSA r || s (IEEE P1363). Throws `unavailable`; a failure is recorded as `sign-failed`. */
  sign(recorded: Recorded<Signable>): Promise<Uint8Array>
}

/** What is under way at once, well below what the keystore lets wait, so that nothing that was recorded is turned away there. */
const MAX_UNDER_WAY = QUEUE_BOUND / 2
/** How long a signature that went well, or a probe, speaks for the keystore's health. */
const HEALTHY_FOR_MS = 5_000

/** Where the keys are. */
export type Keystores = {
  /** Throws `unavailable` where no keystore of this server holds it. */
  of(key: Pick<AuthorityKey, 'label' | 'spki'>): Keystore
  /** That of the keys which sign now. */
  active(): Keystore
}

export function createSigner(keystores: Keystores, ledger: Pick<Ledger, 'append'>): Signer {
  let underWay = 0
  const healthyUntil = new Map<Keystore, number>()

  const sign = async ({ key, bytes }: Signable): Promise<Uint8Array> => {
    const keystore = keystores.of(key)
    const signature = await keystore.sign(key.label, bytes, key.spki)
    healthyUntil.set(keystore, performance.now() + HEALTHY_FOR_MS)
    return signature
  }

  const ready = async (): Promise<void> => {
    const keystore = keystores.active()
    if (performance.now() <= (healthyUntil.get(keystore) ?? Number.NEGATIVE_INFINITY)) return
    await keystore.health()
    healthyUntil.set(keystore, performance.now() + HEALTHY_FOR_MS)
  }

  return {
    ready,

    async inTurn(work) {
      if (underWay >= MAX_UNDER_WAY)
        throw new KeymanError('unavailable', 'more certificates are asked for than can be signed at the moment', {
          retryAfter: 1,
        })
      underWay++
      try {
        await ready()
        return await work()
      } finally {
        underWay--
      }
    },

    async sign(recorded) {
      let signable: Signable | undefined
      try {
        signable = recorded.take()
        return await sign(signable)
      } catch (error) {
        healthyUntil.clear()
        // Best effort: the log already holds more than exists, this says so. One request may have asked for two signatures.
        await ledger
          .append({
            requestId: `record-${recorded.index}`,
            kind: 'sign-failed',
            actor: { kind: 'server' },
            target: signable ? `${signable.key.label} ${signable.serial}` : `record ${recorded.index}`,
            reason: error instanceof KeymanError ? error.message : 'the keystore failed',
            details: {
              record: recorded.index.toString(),
              ...(signable ? { requestId: signable.requestId } : {}),
            },
          })
          .catch(() => {})
        throw error instanceof KeymanError
          ? error
          : new KeymanError('unavailable', 'the keystore failed to sign', { cause: error, retryAfter: 1 })
      }
    },
  }
}

/** For keys that all lie in one. */
export const oneKeystore = (keystore: Keystore): Keystores => ({ of: () => keystore, active: () => keystore })
