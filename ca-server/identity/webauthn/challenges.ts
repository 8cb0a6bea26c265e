import { equalBytes, toHex } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { deleteChallenge, insertChallenge, type NewChallenge, type Purpose } from '../records/challenge-records.ts'
import { assertionId } from '../records/facts.ts'
import type { Room } from '../room.ts'
import { CEREMONY_SECONDS } from '../webauthn.ts'
import { makeNonce, readNonce } from './nonce.ts'

/** What a ceremony is for. `challengeFor`: where the challenge binds more than the nonce alone. */
export type Ceremony = {
  readonly purpose: Purpose
  /** The transaction, link or session that it is for. */
  readonly subject: string
  readonly challengeFor?: ((nonce: Uint8Array) => Uint8Array) | undefined
}

type Registration = Pick<NewChallenge, 'identity' | 'userHandle'>

/** Begins a ceremony; gives its challenge, of 32 bytes. */
export async function giveChallenge(
  { deps, ceremonyKey }: Room,
  { purpose, subject, challengeFor }: Ceremony,
  registration: Registration = {},
): Promise<Uint8Array> {
  const at = deps.now()
  const nonce = makeNonce(ceremonyKey, { ...bound(purpose, subject, registration), at, random: deps.random(10) })
  const challenge = challengeFor?.(nonce) ?? nonce
  await insertChallenge(deps.store, { challenge, purpose, subject, nonce, ...registration }, at)
  return challenge
}

/**
 * Uses a challenge up, whatever comes of the ceremony: synced passkeys count nothing, so this alone stops a replay. The row says
 * what was asked for; that it was asked by us, when and for what, the nonce says itself, and that it was not answered before the
 * log: an answer stands in the log for everybody to read. Throws `denied`.
 */
export async function takeChallenge(
  { deps, ceremonyKey }: Room,
  { challenge, ...about }: Ceremony & { readonly challenge: Uint8Array },
): Promise<{ readonly nonce: Uint8Array; readonly endsAt: Date } & Registration> {
  const { store, ledger, now } = deps
  const found = await deleteChallenge(store, { challenge, ...about }, now())
  const madeAt = found && readNonce(ceremonyKey, found.nonce, bound(about.purpose, about.subject, found))
  const endsAt = madeAt && new Date(madeAt.getTime() + CEREMONY_SECONDS * 1000)
  if (!found || !endsAt || endsAt <= now()) throw notAsked()
  await ledger.follow()
  if (ledger.facts.has(assertionId(challenge))) throw notAsked()
  if (!equalBytes(about.challengeFor?.(found.nonce) ?? found.nonce, challenge))
    throw new KeymanError('denied', 'the passkey was not accepted: it was given for other keys or another action', {
      hint: 'load the page again and try once more',
    })
  return { ...found, endsAt }
}

const bound = (purpose: Purpose, subject: string, { identity, userHandle }: Registration) => ({
  purpose,
  subject: JSON.stringify([subject, identity ?? null, userHandle ? toHex(userHandle) : null]),
})

const notAsked = (): KeymanError =>
  new KeymanError('denied', 'this answer of a passkey belongs to another request, or was used already', {
    hint: 'load the page again and try once more',
  })
