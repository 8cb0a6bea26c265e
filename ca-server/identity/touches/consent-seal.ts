/** Pure: by what a server knows that a server of this organisation took a consent to a login, and what it was. */
import { fromBase64Url, toBase64Url } from '#shared/bytes.ts'
import { isMacOf, macOf } from '#shared/mac.ts'
import type { Consented } from '../records/login-records.ts'
import { hexOf } from '../records/sealed-id.ts'

const partsOf = (login: string, consent: Consented) => {
  const { person, assertedAt, assertedFrom, evidence, ended, codeHash, codeEndsAt } = consent
  const { nonce, credentialId, publicKey, authenticatorData, clientDataJSON, signature } = evidence
  const said = [login, person, assertedAt.toISOString(), assertedFrom, ended, hexOf(codeHash), codeEndsAt.toISOString()]
  return [
    'keyman-consent-v1',
    ...said,
    ...[nonce, credentialId, publicKey, authenticatorData, clientDataJSON, signature],
  ] as const
}

/** In base64url: what is recorded of a login, and whether it may still be redeemed, is not for its row to say. */
export const consentSeal = (key: Uint8Array, login: string, consent: Consented): string =>
  toBase64Url(macOf(key, partsOf(login, consent)))

export const isConsent = (key: Uint8Array, login: string, consent: Consented & { readonly seal: string }): boolean =>
  /^[A-Za-z0-9_-]{43}$/.test(consent.seal) && isMacOf(key, partsOf(login, consent), fromBase64Url(consent.seal))
