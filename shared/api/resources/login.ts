import { z } from 'zod'
import {
  armoredSignature,
  base64,
  deviceName,
  fingerprint,
  id,
  personIdentity,
  publicKeyLine,
  seconds,
  secret,
  time,
  webauthnJson,
} from '../fields.ts'
import { route } from '../route.ts'
import { sessionAnswer } from './sessions.ts'
import { certificateAnswer, clientCertificateAnswer, reachableHost, revokedHosts } from './ssh.ts'

/**
 * Login of a person's machine (invariants 6 and 7). The machine makes two keys, proves that it holds both, and gets a
 * transaction; a passkey's assertion in the browser binds exactly these keys, lifetime, device and origin; the machine
 * then redeems a code. Loopback redirect with PKCE (RFC 8252, RFC 7636), or device login (RFC 8628).
 *
 * Proof of possession: both keys sign the SSH strings `keyman-proof-v1`, purpose (`login`, `join`, `host-key`, `workload`), challenge (its bytes),
 * SSH public key blob, client key SPKI. The SSH key by SSHSIG in the namespace `keyman-proof`; the client key (P-256) by
 * ECDSA over SHA-256, IEEE P1363, in base64.
 */
export const proof = z.strictObject({
  /** From `POST /v1/challenge`, base64url. */
  challenge: z
    .string()
    .max(200)
    .regex(/^[A-Za-z0-9_-]+$/),
  sshSignature: armoredSignature,
  clientSignature: base64,
})

const loopbackUri = z
  .string()
  .max(200)
  .regex(
    /^http:\/\/(127\.0\.0\.1|\[::1\]):[1-9][0-9]{0,4}\/[A-Za-z0-9_-]{0,64}$/,
    'must be http://127.0.0.1:PORT/… or http://[::1]:PORT/…',
  )

export const loginStart = z.strictObject({
  flow: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('loopback'),
      redirectUri: loopbackUri,
      /** RFC 7636, S256 only: base64url of SHA-256 of the verifier. */
      codeChallenge: secret,
      state: secret,
    }),
    z.strictObject({ kind: z.literal('device') }),
  ]),
  sshPublicKey: publicKeyLine,
  /** SubjectPublicKeyInfo of a P-256 key, DER in base64. */
  clientPublicKey: base64,
  /** How long the session is to last, in seconds; the server's maximum is the limit. */
  lifetime: seconds,
  /** The machine's own name, shown on the page beside the address that asks. */
  device: deviceName,
  proof,
})

export const loginStarted = z.object({
  transaction: id,
  /** The page to open. In device login the person types `userCode` there; the address never holds it. */
  page: z.string(),
  userCode: z.string().optional(),
  /** Device login: what the machine polls with. A secret. */
  deviceCode: secret.optional(),
  /** Seconds between polls. */
  interval: z.int(),
  endsAt: time,
})

export const loginAnswer = z.object({
  session: sessionAnswer,
  /** Absent where no grant gives this person any certificate yet; `denial` says why. */
  ssh: certificateAnswer.optional(),
  denial: z.string().optional(),
  client: clientCertificateAnswer,
  hosts: z.array(reachableHost),
  revokedHosts: revokedHosts.optional(),
})

export const loginTransaction = z.object({
  transaction: id,
  kind: z.enum(['loopback', 'device']),
  organisation: z.string(),
  device: z.string(),
  /** The address that the request came from. */
  from: z.string(),
  sshFingerprint: fingerprint,
  clientFingerprint: z.string(),
  lifetime: seconds,
  endsAt: time,
})

export const loginToken = z.discriminatedUnion('grant', [
  z.strictObject({
    grant: z.literal('code'),
    transaction: id,
    code: secret,
    codeVerifier: z.string().regex(/^[A-Za-z0-9._~-]{43,128}$/),
  }),
  z.strictObject({ grant: z.literal('device'), transaction: id, deviceCode: secret }),
])

export const login = {
  challenge: route({
    method: 'POST',
    path: '/v1/challenge',
    listeners: ['machines'],
    caller: 'anyone',
    action: 'login.begin',
    summary: 'Get a fresh challenge for a proof of possession; stateless, good for two minutes, for one use',
    answer: z.object({ challenge: z.string() }),
  }),
  start: route({
    method: 'POST',
    path: '/v1/login',
    listeners: ['machines'],
    caller: 'anyone',
    action: 'login.begin',
    status: 201,
    summary: 'Begin the login of a machine: two keys, each proven',
    body: loginStart,
    answer: loginStarted,
  }),
  token: route({
    method: 'POST',
    path: '/v1/login/token',
    listeners: ['machines'],
    caller: 'anyone',
    action: 'login.begin',
    summary: 'Redeem the code of a confirmed login for certificates; each code works once',
    body: loginToken,
    answer: z.discriminatedUnion('state', [
      z.object({ state: z.literal('done'), login: loginAnswer }),
      z.object({ state: z.literal('pending'), interval: z.int() }),
      z.object({ state: z.literal('refused') }),
    ]),
  }),
  find: route({
    method: 'POST',
    path: '/v1/login/device',
    listeners: ['pages'],
    caller: 'anyone',
    action: 'login.confirm',
    summary: 'Find the device login whose code was typed',
    body: z.strictObject({ userCode: z.string().max(20) }),
    answer: loginTransaction,
  }),
  show: route({
    method: 'GET',
    path: '/v1/login/{transaction}',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    action: 'login.confirm',
    summary: 'What a login asks for: device, address, keys, lifetime',
    answer: loginTransaction,
  }),
  consentOptions: route({
    method: 'POST',
    path: '/v1/login/{transaction}/options',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    action: 'login.confirm',
    summary: 'WebAuthn request options whose challenge binds keys, lifetime, device and origin',
    answer: z.object({ options: webauthnJson }),
  }),
  consent: route({
    method: 'POST',
    path: '/v1/login/{transaction}/consent',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    action: 'login.confirm',
    summary: "Confirm a login with a passkey's assertion",
    body: z.strictObject({ assertion: webauthnJson }),
    /** Loopback: where the browser goes next. Device login: nothing, the machine polls. */
    answer: z.object({ redirectTo: z.string().optional(), person: personIdentity }),
  }),
  refuse: route({
    method: 'POST',
    path: '/v1/login/{transaction}/refuse',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    action: 'login.confirm',
    summary: 'Say no to a login',
    answer: z.object({ redirectTo: z.string().optional() }),
  }),
}
