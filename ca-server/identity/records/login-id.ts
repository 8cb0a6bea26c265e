/** Pure: the ID of a login, which says by itself what was begun (`sealed-id.ts`). */
import { hexOf, isSealedId, makeSealedId } from './sealed-id.ts'

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

const partsOf = ({ redirect, ...login }: BegunLogin) => [
  ...[login.kind, hexOf(login.sshKey), hexOf(login.clientSpki), login.lifetime, login.device, login.startedFrom],
  ...[login.endsAt.toISOString(), redirect ? [redirect.uri, redirect.codeChallenge, redirect.state] : null],
  ...[hexOf(login.userCodeHash), hexOf(login.deviceCodeHash)],
]

export const makeLoginId = (key: Uint8Array, random: Uint8Array, login: BegunLogin): string =>
  makeSealedId('login', key, random, partsOf(login))

export const isBegunAs = (key: Uint8Array, id: string, login: BegunLogin): boolean =>
  isSealedId('login', key, id, partsOf(login))
