import {
  generateAuthenticationOptions,
  generateRegistrationOptions,
  verifyAuthenticationResponse,
  verifyRegistrationResponse,
} from '@simplewebauthn/server'
import { z } from 'zod'
import { fromBase64Url, fromUtf8, toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { WebauthnJson } from './port.ts'

/** WebAuthn Level 3 by `@simplewebauthn/server`, with our rules pinned: user verification, exact origin and RP ID. */

export type RelyingParty = { readonly id: string; readonly name: string; readonly origin: string }

/**
 * EdDSA, ES256, RS256. Pinned at both ends: by default ML-DSA is offered where Node has it, Chromium picks it, and a passkey comes
 * to be that other servers cannot verify.
 */
const ALGORITHMS = [-8, -7, -257]
/** How long a ceremony may take. */
export const CEREMONY_SECONDS = 300

export type NewPasskey = {
  readonly credentialId: Uint8Array
  /** COSE_Key (RFC 9052 section 7). */
  readonly publicKey: Uint8Array
  readonly counter: number
  readonly transports: readonly string[]
  readonly synced: boolean
  readonly backedUp: boolean
}

export async function creationOptions(
  rp: RelyingParty,
  about: {
    readonly identity: string
    readonly userHandle: Uint8Array
    readonly challenge: Uint8Array
    /** Credential IDs of the person: an authenticator that holds one makes no second. */
    readonly known: readonly Uint8Array[]
  },
): Promise<WebauthnJson> {
  const options = await generateRegistrationOptions({
    rpName: rp.name,
    rpID: rp.id,
    userName: about.identity,
    userDisplayName: about.identity,
    userID: Uint8Array.from(about.userHandle),
    challenge: Uint8Array.from(about.challenge),
    timeout: CEREMONY_SECONDS * 1000,
    attestationType: 'none',
    excludeCredentials: about.known.map(id => ({ id: toBase64Url(id) })),
    authenticatorSelection: { residentKey: 'required', requireResidentKey: true, userVerification: 'required' },
    supportedAlgorithmIDs: ALGORITHMS,
  })
  return { ...options }
}

/** What `allowCredentials` may say of where a credential is: a browser then asks no other authenticator. */
const TRANSPORTS = ['ble', 'cable', 'hybrid', 'internal', 'nfc', 'smart-card', 'usb'] as const
export type Allowed = { readonly credentialId: Uint8Array; readonly transports: readonly string[] }

/** `allowed`: without them the authenticator offers what it has for us. */
export async function requestOptions(
  rp: RelyingParty,
  challenge: Uint8Array,
  allowed: readonly Allowed[] = [],
): Promise<WebauthnJson> {
  const options = await generateAuthenticationOptions({
    rpID: rp.id,
    challenge: Uint8Array.from(challenge),
    timeout: CEREMONY_SECONDS * 1000,
    userVerification: 'required',
    allowCredentials: allowed.map(({ credentialId, transports }) => ({
      id: toBase64Url(credentialId),
      transports: TRANSPORTS.filter(known => transports.includes(known)),
    })),
  })
  return { ...options }
}

const bytes = (max: number) =>
  z
    .string()
    .max(Math.ceil((max * 4) / 3))
    .regex(/^[A-Za-z0-9_-]+$/)
const credential = {
  id: bytes(1023),
  rawId: bytes(1023),
  type: z.literal('public-key'),
  authenticatorAttachment: z.enum(['platform', 'cross-platform']).optional(),
}
const registrationSchema = z.object({
  ...credential,
  response: z.object({
    clientDataJSON: bytes(4096),
    attestationObject: bytes(16_384),
    transports: z.array(z.string().max(32)).max(8).optional(),
  }),
})
const assertionSchema = z.object({
  ...credential,
  response: z.object({
    clientDataJSON: bytes(4096),
    authenticatorData: bytes(4096),
    signature: bytes(1024),
    userHandle: bytes(64).nullish(),
  }),
})
const clientData = z.object({ challenge: bytes(64), crossOrigin: z.boolean().optional() })

/** An answer of WebAuthn of the right shape, and for which challenge it says to be. Nothing of it is believed yet. */
type Answer<T> = { readonly value: T; readonly challenge: Uint8Array }
export type Registration = Answer<z.infer<typeof registrationSchema>>
export type Assertion = Answer<z.infer<typeof assertionSchema>>

export const parseRegistration = (json: WebauthnJson): Registration => parse(registrationSchema, json, 'registration')
export const parseAssertion = (json: WebauthnJson): Assertion => parse(assertionSchema, json, 'assertion')

function parse<T extends { response: { clientDataJSON: string } }>(
  schema: z.ZodType<T>,
  json: WebauthnJson,
  field: string,
): Answer<T> {
  try {
    const value = schema.parse(json)
    const { challenge, crossOrigin } = clientData.parse(
      JSON.parse(fromUtf8(fromBase64Url(value.response.clientDataJSON))),
    )
    // Ours is no page in a frame of somebody else's; the library lets it pass where the browser names no top origin.
    if (crossOrigin) throw refused('it was asked for by a page inside another page')
    return { value, challenge: fromBase64Url(challenge) }
  } catch (error) {
    if (error instanceof KeymanError) throw error
    throw new KeymanError('invalid-input', `${field}: this is not what a passkey answers`, {
      fields: [{ field, message: 'not an answer of WebAuthn' }],
      cause: error,
    })
  }
}

/** Throws `denied`. */
export async function verifyRegistration(rp: RelyingParty, { value, challenge }: Registration): Promise<NewPasskey> {
  const { verified, registrationInfo } = await orRefused(() =>
    verifyRegistrationResponse({
      // The transports are what the browser reports: nothing that is verified.
      response: {
        ...withoutUndefined(value),
        response: {
          clientDataJSON: value.response.clientDataJSON,
          attestationObject: value.response.attestationObject,
        },
        clientExtensionResults: {},
      },
      expectedChallenge: toBase64Url(challenge),
      expectedOrigin: rp.origin,
      expectedRPID: rp.id,
      requireUserVerification: true,
      supportedAlgorithmIDs: ALGORITHMS,
    }),
  )
  if (!verified) throw refused('its signature does not fit')
  return {
    credentialId: fromBase64Url(registrationInfo.credential.id),
    publicKey: registrationInfo.credential.publicKey,
    counter: registrationInfo.credential.counter,
    transports: value.response.transports ?? [],
    synced: registrationInfo.credentialDeviceType === 'multiDevice',
    backedUp: registrationInfo.credentialBackedUp,
  }
}

/** Checks everything but the challenge's freshness and whose passkey it is. Throws `denied`. */
export async function verifyAssertion(
  rp: RelyingParty,
  { value, challenge }: Assertion,
  passkey: { readonly publicKey: Uint8Array; readonly counter: number },
): Promise<{ readonly counter: number; readonly backedUp: boolean }> {
  const { userHandle, ...response } = value.response
  const { verified, authenticationInfo } = await orRefused(() =>
    verifyAuthenticationResponse({
      response: {
        ...withoutUndefined(value),
        response: { ...response, ...(userHandle ? { userHandle } : {}) },
        clientExtensionResults: {},
      },
      expectedChallenge: toBase64Url(challenge),
      expectedOrigin: rp.origin,
      expectedRPID: rp.id,
      requireUserVerification: true,
      credential: { id: value.id, publicKey: Uint8Array.from(passkey.publicKey), counter: passkey.counter },
    }),
  )
  if (!verified) throw refused('its signature does not fit')
  return { counter: authenticationInfo.newCounter, backedUp: authenticationInfo.credentialBackedUp }
}

export const refused = (why: string, cause?: unknown): KeymanError =>
  new KeymanError('denied', `the passkey's answer was not accepted: ${why}`, {
    hint: 'try again; use the passkey that you made for this organisation',
    ...(cause === undefined ? {} : { cause }),
  })

/** The library's messages quote what came in: they are for the server's log (`cause`), not for an answer. */
async function orRefused<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw refused('it does not fit this page, this request or this passkey', error)
  }
}

const withoutUndefined = <A, T extends { authenticatorAttachment?: A | undefined }>({
  authenticatorAttachment,
  ...rest
}: T): Omit<T, 'authenticatorAttachment'> & { authenticatorAttachment?: A } =>
  authenticatorAttachment === undefined ? rest : { ...rest, authenticatorAttachment }
