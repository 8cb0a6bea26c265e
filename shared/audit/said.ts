/** Pure: what a record says of a passkey and of a touch, in the digest of its fact: the server writes it, an auditor makes it anew. */
import { toHex } from '../bytes.ts'
import type { JsonValue } from '../canonical-json.ts'

export const passkeySaid = (passkey: {
  readonly person: string
  readonly credentialId: Uint8Array
  readonly publicKey: Uint8Array
}): JsonValue => ({
  person: passkey.person,
  credentialId: toHex(passkey.credentialId),
  publicKey: toHex(passkey.publicKey),
})

export const touchSaid = (touch: {
  readonly session: string
  readonly request: Uint8Array
  readonly shown: string
}): JsonValue => ({ session: touch.session, request: toHex(touch.request), shown: touch.shown })

/** Whose it is stands in the ID itself, by the workload's principal: so it is ended whatever the database shows. No name has a space. */
export const workloadSessionId = (principal: string, session: string): string =>
  `workload-session:${principal} ${session}`
