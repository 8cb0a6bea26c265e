import { z } from 'zod'
import { inForce, waits } from './administration.ts'
import {
  armoredSignature,
  base64,
  deviceName,
  fingerprint,
  hostName,
  id,
  label,
  personIdentity,
  publicKeyLine,
  seconds,
  secret,
  time,
  webauthnJson,
} from './fields.ts'
import { route } from './route.ts'
import { named } from './words.ts'

/**
 * Login of a person's machine (invariants 6 and 7). The machine makes two keys, proves that it holds both, and gets a
 * transaction; a passkey's assertion in the browser binds exactly these keys, lifetime, device and origin; the machine
 * then redeems a code. Loopback redirect with PKCE (RFC 8252, RFC 7636), or device login (RFC 8628).
 *
 * Proof of possession: both keys sign the SSH strings `keyman-proof-v1`, purpose (`login`, `join`, `host-key`), challenge (its bytes),
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

export const certificateAnswer = z.object({
  /** One line as in a `-cert.pub` file. */
  certificate: z.string(),
  serial: z.string(),
  keyId: z.string(),
  principals: z.array(z.string()),
  startsAt: time,
  endsAt: time,
  /** Which grant made it no longer, in words. */
  limitedBy: z.string().optional(),
})

export const clientCertificateAnswer = z.object({ /** PEM, leaf only. */ certificate: z.string(), endsAt: time })

export const reachableHost = z.object({
  name: hostName,
  /** Further names of it, which its certificates carry. */
  aliases: z.array(hostName).optional(),
  port: z.int().min(1).max(65_535).optional(),
  /** Where it is reached if the name does not resolve by itself. */
  address: z.string().max(253).optional(),
  logins: z.array(z.string()),
})

export const sessionAnswer = z.object({
  person: personIdentity,
  session: id,
  administrator: z.boolean(),
  startedAt: time,
  endsAt: time,
  assertedAt: time,
  passkeys: z.int(),
  organisation: z.string(),
  device: z.string(),
})

/** A KRL of host certificates and of keys, signed beside by the log key; a server of before does not say it. */
const revokedHosts = z.object({
  base64: z
    .string()
    .max(16_000_000)
    .regex(/^[A-Za-z0-9+/]+={0,2}$/, 'must be base64'),
  /** SSHSIG in the namespace `keyman-revoked-hosts`. */
  signature: armoredSignature,
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
    summary: 'Get a fresh challenge for a proof of possession; stateless, good for two minutes, for one use',
    answer: z.object({ challenge: z.string() }),
  }),
  start: route({
    method: 'POST',
    path: '/v1/login',
    listeners: ['machines'],
    caller: 'anyone',
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
    summary: 'What a login asks for: device, address, keys, lifetime',
    answer: loginTransaction,
  }),
  consentOptions: route({
    method: 'POST',
    path: '/v1/login/{transaction}/options',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    summary: 'WebAuthn request options whose challenge binds keys, lifetime, device and origin',
    answer: z.object({ options: webauthnJson }),
  }),
  consent: route({
    method: 'POST',
    path: '/v1/login/{transaction}/consent',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
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
    summary: 'Say no to a login',
    answer: z.object({ redirectTo: z.string().optional() }),
  }),
}

export const session = {
  show: route({
    method: 'GET',
    path: '/v1/session',
    listeners: ['machines', 'pages'],
    caller: 'person',
    summary: 'Who the server takes me for',
    answer: sessionAnswer,
  }),
  end: route({
    method: 'DELETE',
    path: '/v1/session',
    listeners: ['machines', 'pages'],
    caller: 'person',
    status: 204,
    ends: true,
    summary: 'Log out: end this session and revoke its certificates',
  }),
  renewClientCertificate: route({
    method: 'POST',
    path: '/v1/session/client-certificate',
    listeners: ['machines'],
    caller: 'person',
    cost: 10,
    summary: "A new client certificate for this session's key",
    answer: clientCertificateAnswer,
  }),
  hosts: route({
    method: 'GET',
    path: '/v1/session/hosts',
    listeners: ['machines'],
    caller: 'person',
    summary: 'The hosts that I may log in to',
    answer: z.object({ hosts: z.array(reachableHost), revokedHosts: revokedHosts.optional() }),
  }),
}

export const ssh = {
  issueUserCertificate: route({
    method: 'POST',
    path: '/v1/ssh/user-certificates',
    listeners: ['machines'],
    caller: 'person',
    cost: 10,
    summary: "A new SSH user certificate for this session's key; a request can only narrow",
    body: z.strictObject({ publicKey: publicKeyLine, /** seconds */ lifetime: seconds.optional() }),
    answer: certificateAnswer,
  }),
}

/** Signing in to the page itself (a browser session); not needed for a machine's login. */
export const signIn = {
  show: route({
    method: 'GET',
    path: '/v1/sign-in',
    listeners: ['pages'],
    caller: 'anyone',
    summary: 'Whether this browser is signed in',
    answer: z.object({ isSignedIn: z.boolean() }),
  }),
  options: route({
    method: 'POST',
    path: '/v1/sign-in/options',
    listeners: ['pages'],
    caller: 'anyone',
    summary: 'WebAuthn request options for signing in to the pages',
    answer: z.object({ options: webauthnJson }),
  }),
  complete: route({
    method: 'POST',
    path: '/v1/sign-in',
    listeners: ['pages'],
    caller: 'anyone',
    summary: 'Sign in to the pages with a passkey',
    body: z.strictObject({ assertion: webauthnJson }),
    answer: sessionAnswer,
  }),
}

/** Enrolment by a single-use link whose secret stands after `#`: the first administrator's, an invitation's, of somebody who was reset, or `keyman-server admin-link`. */
export const enrolmentKind = z.enum(['administrator', 'invitation', 'reset'])
export const enrolment = {
  open: route({
    method: 'POST',
    path: '/v1/enrolment',
    listeners: ['pages'],
    caller: 'anyone',
    summary: 'What a link is good for',
    body: z.strictObject({ secret }),
    answer: z.object({
      kind: enrolmentKind,
      organisation: z.string(),
      identity: z.string(),
      /** The invitation's identity cannot be changed; the first administrator's is a proposal. */ identityFixed:
        z.boolean(),
      /** Of a server that has no administrator yet. */ first: z.boolean(),
      /** Whether it makes an administrator, or makes the new passkey of one. */ administrator: z.boolean(),
      /** Whether it is for a person who is here already, and has lost a passkey. */ isHere: z.boolean(),
      /** Whether the new passkey waits for the yes of another administrator. */ waits: z.boolean(),
      endsAt: time,
      /** What to type to sign in a machine that knows nothing of this organisation yet. */ login: z.string(),
    }),
  }),
  options: route({
    method: 'POST',
    path: '/v1/enrolment/options',
    listeners: ['pages'],
    caller: 'anyone',
    summary: 'WebAuthn creation options for the first passkey',
    body: z.strictObject({ secret, identity: personIdentity }),
    answer: z.object({ options: webauthnJson }),
  }),
  complete: route({
    method: 'POST',
    path: '/v1/enrolment/complete',
    listeners: ['pages'],
    caller: 'anyone',
    status: 201,
    summary: 'Become a person of this organisation, or make a new passkey as one; the link is used up',
    body: z.strictObject({ secret, identity: personIdentity, passkeyName: label, registration: webauthnJson }),
    answer: z.object({
      person: personIdentity,
      /** Absent where the new passkey waits for the yes of another administrator. */ session: sessionAnswer.optional(),
    }),
  }),
}

export const passkey = z.object({
  id,
  name: z.string(),
  createdAt: time,
  lastUsedAt: time.optional(),
  synced: z.boolean(),
  transports: z.array(z.string()),
})
export const passkeys = {
  list: route({
    method: 'GET',
    path: '/v1/passkeys',
    listeners: ['pages', 'machines'],
    caller: 'person',
    summary: 'My passkeys',
    answer: z.object({ passkeys: z.array(passkey) }),
  }),
  addOptions: route({
    method: 'POST',
    path: '/v1/passkeys/options',
    listeners: ['pages'],
    caller: 'browser',
    summary: 'WebAuthn creation options for a further passkey',
    answer: z.object({ options: webauthnJson }),
  }),
  add: route({
    method: 'POST',
    path: '/v1/passkeys',
    listeners: ['pages'],
    caller: 'browser',
    action: 'passkey add',
    status: 201,
    summary: 'Add a passkey',
    body: z.strictObject({
      name: named('Name', label, { how: 'text' }),
      registration: named('Passkey', webauthnJson, { how: 'secret' }),
    }),
    answer: passkey,
  }),
  rename: route({
    method: 'PATCH',
    path: '/v1/passkeys/{id}',
    params: z.object({ id }),
    listeners: ['pages', 'machines'],
    caller: 'person',
    action: 'passkey rename',
    summary: 'Rename a passkey',
    body: z.strictObject({ name: named('New name', label, { how: 'text' }) }),
    answer: passkey,
  }),
  remove: route({
    method: 'DELETE',
    path: '/v1/passkeys/{id}',
    params: z.object({ id }),
    listeners: ['pages', 'machines'],
    caller: 'person',
    action: 'passkey remove',
    ends: true,
    summary: 'Remove a passkey; the last one stays',
    query: waits,
    answer: inForce,
  }),
}

/**
 * Consent. Where an action wants a touch, the refusal (`assertion-required`) names a transaction; its page shows action, every
 * field of the request in words, device and client-key fingerprint, and the assertion's challenge binds all of it. Once confirmed,
 * that session and client key alone may send that very request, once, with the transaction in the header `keyman-touch`.
 */
export const actionTransaction = z.object({
  transaction: id,
  person: personIdentity,
  action: z.string(),
  /** The request in words. */ shown: z.array(z.object({ name: z.string(), value: z.string() })),
  device: z.string(),
  from: z.string(),
  clientFingerprint: z.string(),
  endsAt: time,
  state: z.enum(['waiting', 'confirmed', 'refused', 'used']),
})
export const actions = {
  show: route({
    method: 'GET',
    path: '/v1/actions/{transaction}',
    params: z.object({ transaction: id }),
    listeners: ['pages', 'machines'],
    caller: 'anyone',
    summary: 'What a transaction would allow, and whether it was confirmed',
    answer: actionTransaction,
  }),
  options: route({
    method: 'POST',
    path: '/v1/actions/{transaction}/options',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    summary: 'WebAuthn request options whose challenge binds the request, what is shown of it, session and client key',
    answer: z.object({ options: webauthnJson }),
  }),
  confirm: route({
    method: 'POST',
    path: '/v1/actions/{transaction}/confirm',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    summary: "Confirm an action with a passkey's assertion",
    body: z.strictObject({ assertion: webauthnJson }),
    answer: actionTransaction,
  }),
  refuse: route({
    method: 'POST',
    path: '/v1/actions/{transaction}/refuse',
    params: z.object({ transaction: id }),
    listeners: ['pages'],
    caller: 'anyone',
    summary: 'Say no to an action',
    answer: actionTransaction,
  }),
}
