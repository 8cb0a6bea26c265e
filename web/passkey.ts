import {
  browserSupportsWebAuthn,
  type PublicKeyCredentialCreationOptionsJSON,
  type PublicKeyCredentialRequestOptionsJSON,
  startAuthentication,
  startRegistration,
  WebAuthnError,
} from '@simplewebauthn/browser'
import { Refusal } from './client.ts'
import { strings } from './strings.ts'
import { whyNot } from './why-not.ts'

type Json = Record<string, unknown>

/** Makes a passkey by the server's options; gives what the server wants back. Throws `Refusal` with a sentence for a person. */
export const createPasskey = (options: Json): Promise<Json> =>
  ceremony(async () => ({
    ...(await startRegistration({ optionsJSON: options as unknown as PublicKeyCredentialCreationOptionsJSON })),
  }))

/** Uses a passkey by the server's options. Throws `Refusal`. */
export const usePasskey = (options: Json): Promise<Json> =>
  ceremony(async () => ({
    ...(await startAuthentication({ optionsJSON: options as unknown as PublicKeyCredentialRequestOptionsJSON })),
  }))

async function ceremony(work: () => Promise<Json>): Promise<Json> {
  if (!passkeysWork())
    throw new Refusal({ code: 'no-passkeys', detail: strings.noPasskeys, hint: strings.noPasskeysHint })
  try {
    return await work()
  } catch (error) {
    // The library reads more into some names than browsers put into them; what it was given is its cause.
    const cause = error instanceof WebAuthnError ? error.cause : error
    throw new Refusal(whyNot(cause instanceof Error ? cause : { name: String(cause), message: '' }))
  }
}

/** WebAuthn wants a secure context, and a name: an IP address is no RP ID. */
export const passkeysWork = (): boolean =>
  globalThis.isSecureContext && browserSupportsWebAuthn() && !/^[0-9.]+$|:/.test(location.hostname)
