import { createHash } from 'node:crypto'
import { concat, utf8 } from './bytes.ts'

/**
 * Pure: what passkeys and keys sign at login, at step-up and in a proof of possession. Server, CLI and agent use these, and so
 * does an auditor who checks an assertion in the ledger without trusting the server.
 *
 * Every field is an SSH string (RFC 4251 section 5: uint32 length, then the bytes), so no two lists of fields give the same bytes.
 * Text is UTF-8; a number is a string of 4 bytes, big-endian.
 */

export type LoginChallengeParts = {
  /** 32 random bytes of the server, for one WebAuthn ceremony. */
  readonly nonce: Uint8Array
  /** SSH public key blob. */
  readonly sshPublicKey: Uint8Array
  /** SubjectPublicKeyInfo of the client key, DER. */
  readonly clientSpki: Uint8Array
  /** Of the session, in seconds; below 2^32. */
  readonly lifetime: number
  /** The machine's own name. */
  readonly device: string
  /** Of the page, such as `https://keys.example.com`. */
  readonly origin: string
}

/** The WebAuthn challenge of a login: SHA-256, 32 bytes. */
export const loginChallenge = (parts: LoginChallengeParts): Uint8Array =>
  sha256(
    strings(
      utf8('keyman-login-v1'),
      parts.nonce,
      parts.sshPublicKey,
      parts.clientSpki,
      uint32(parts.lifetime),
      utf8(parts.device),
      utf8(parts.origin),
    ),
  )

export type ActionChallengeParts = {
  readonly nonce: Uint8Array
  /** As the route names it, such as `grant add`. */
  readonly action: string
  /** SHA-256 of the request: `requestText`. */
  readonly request: Uint8Array
  /** What the page shows of it, JSON of `[name, value]`, in its order. */
  readonly shown: string
  readonly session: string
  readonly device: string
  /** SubjectPublicKeyInfo of the session's client key; for a browser session SHA-256 of the session's ID, since it has no key. */
  readonly clientSpki: Uint8Array
}

/** What a touch binds of a request, as JSON. `path` as the route has it, query and body as its schemas read them. */
export const requestText = (request: {
  readonly method: string
  readonly path: string
  readonly params: Readonly<Record<string, string>>
  readonly query: unknown
  readonly body: unknown
}): string =>
  JSON.stringify([request.method, request.path, request.params, request.query ?? null, request.body ?? null])

/** The WebAuthn challenge of a step-up: SHA-256, 32 bytes. */
export const actionChallenge = (parts: ActionChallengeParts): Uint8Array =>
  sha256(
    strings(
      utf8('keyman-action-v2'),
      parts.nonce,
      utf8(parts.action),
      parts.request,
      utf8(parts.shown),
      utf8(parts.session),
      utf8(parts.device),
      parts.clientSpki,
    ),
  )

export type ProofPurpose = 'login' | 'join' | 'host-key' | 'workload'

/** The SSHSIG namespace in which an SSH key signs `proofMessage`. */
export const PROOF_NAMESPACE = 'keyman-proof'

/**
 * What both keys sign to prove that they are held: the SSH key by SSHSIG in `PROOF_NAMESPACE`; the client key (P-256) by ECDSA over
 * SHA-256, IEEE P1363. `challenge`: the bytes that `POST /v1/challenge` gave in base64url.
 */
export const proofMessage = (parts: {
  readonly purpose: ProofPurpose
  readonly challenge: Uint8Array
  readonly sshPublicKey: Uint8Array
  readonly clientSpki: Uint8Array
}): Uint8Array =>
  strings(utf8('keyman-proof-v1'), utf8(parts.purpose), parts.challenge, parts.sshPublicKey, parts.clientSpki)

const strings = (...fields: readonly Uint8Array[]): Uint8Array =>
  concat(...fields.flatMap(field => [uint32(field.length), field]))

function uint32(value: number): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) throw new RangeError(`${value} is not a uint32`)
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

const sha256 = (bytes: Uint8Array): Uint8Array => Uint8Array.from(createHash('sha256').update(bytes).digest())
