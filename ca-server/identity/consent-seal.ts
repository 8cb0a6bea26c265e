/** Pure: by what a server knows that a server of this organisation took a consent to a login, and what it was. */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { toBase64Url, utf8 } from '#shared/bytes.ts'
import type { Consented } from './login-records.ts'
import { hexOf } from './sealed-id.ts'

/** HMAC-SHA256, in base64url: what is recorded of a login, and whether it may still be redeemed, is not for its row to say. */
export function consentSeal(key: Uint8Array, login: string, consent: Consented): string {
  const { person, assertedAt, assertedFrom, evidence, ended, codeHash, codeEndsAt } = consent
  const { nonce, credentialId, publicKey, authenticatorData, clientDataJSON, signature } = evidence
  const parts = [
    ...['keyman-consent-v1', login, person, assertedAt.toISOString(), assertedFrom, ended, hexOf(codeHash)],
    ...[codeEndsAt.toISOString(), nonce, credentialId, publicKey, authenticatorData, clientDataJSON, signature],
  ]
  return toBase64Url(new Uint8Array(createHmac('sha256', key).update(JSON.stringify(parts)).digest()))
}

export function isConsent(key: Uint8Array, login: string, consent: Consented & { readonly seal: string }): boolean {
  const [expected, given] = [utf8(consentSeal(key, login, consent)), utf8(consent.seal)]
  return expected.length === given.length && timingSafeEqual(expected, given)
}
