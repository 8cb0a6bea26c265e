/**
 * Pure: the ID of a login, which says by itself what was begun. The row of it lies where somebody may put other keys, other codes or
 * another end into it before the touch; the person's terminal and browser ask by the ID that this server gave them.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { fromBase64Url, toBase64Url, toHex } from '#shared/bytes.ts'

/** Seconds from the start of a login to the touch of the passkey, and from there to the certificates. */
export const CONSENT_WITHIN = 300
export const REDEEM_WITHIN = 60

/** All that a login is begun with. */
export type BegunLogin = {
  readonly kind: string
  readonly sshKey: Uint8Array
  readonly clientSpki: Uint8Array
  /** Seconds. */
  readonly lifetime: number
  readonly device: string
  readonly startedFrom: string
  readonly endsAt: Date
  readonly redirect?: { readonly uri: string; readonly codeChallenge: string; readonly state: string } | undefined
  readonly userCodeHash?: Uint8Array | undefined
  readonly deviceCodeHash?: Uint8Array | undefined
}

const RANDOM = 16
const MAC = 16

function macOf(key: Uint8Array, random: Uint8Array, login: BegunLogin): Uint8Array {
  const { kind, sshKey, clientSpki, lifetime, device, startedFrom, endsAt, redirect } = login
  const hash = (bytes: Uint8Array | undefined) => (bytes ? toHex(bytes) : null)
  const begun = [
    ...['keyman-login-id-v1', toHex(random), kind, toHex(sshKey), toHex(clientSpki), lifetime, device, startedFrom],
    ...[endsAt.toISOString(), redirect ? [redirect.uri, redirect.codeChallenge, redirect.state] : null],
    ...[hash(login.userCodeHash), hash(login.deviceCodeHash)],
  ]
  return new Uint8Array(createHmac('sha256', key).update(JSON.stringify(begun)).digest()).subarray(0, MAC)
}

/** `login_…` with 128 random bits, so that nobody guesses it, and the first 128 bits of an HMAC-SHA256. */
export function makeLoginId(key: Uint8Array, random: Uint8Array, login: BegunLogin): string {
  if (random.length !== RANDOM) throw new TypeError(`a login's ID takes ${RANDOM} random bytes`)
  const id = new Uint8Array(RANDOM + MAC)
  id.set(random)
  id.set(macOf(key, random, login), RANDOM)
  return `login_${toBase64Url(id)}`
}

/** Whether this is what was begun under this ID. */
export function isBegunAs(key: Uint8Array, id: string, login: BegunLogin): boolean {
  const [, text] = /^login_([A-Za-z0-9_-]{43})$/.exec(id) ?? []
  if (text === undefined) return false
  const bytes = fromBase64Url(text)
  return timingSafeEqual(macOf(key, bytes.subarray(0, RANDOM), login), bytes.subarray(RANDOM))
}
