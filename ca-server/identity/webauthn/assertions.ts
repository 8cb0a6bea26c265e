import type { Fact } from '#server/ledger/index.ts'
import { equalBytes, fromBase64Url, toBase64, toBase64Url } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { addressKey } from '#shared/ip-address.ts'
import type { PersonIdentity } from '#shared/names.ts'
import type { WebauthnJson } from '../port.ts'
import { assertionFact } from '../records/facts.ts'
import type { Evidence } from '../records/login-records.ts'
import { advanceCounter, type PasskeyRow } from '../records/person-records.ts'
import { vouchedCredential } from '../records/vouched.ts'
import type { Room } from '../room.ts'
import type { At } from '../standing.ts'
import { type Allowed, parseAssertion, refused, requestOptions, verifyAssertion } from '../webauthn.ts'
import { type Ceremony, giveChallenge, takeChallenge } from './challenges.ts'

/** Begins an assertion: stores the challenge, and gives the options for the browser. */
export async function beginAssertion(
  room: Room,
  ceremony: Ceremony,
  allowed?: readonly Allowed[],
): Promise<WebauthnJson> {
  return requestOptions(room.rp, await giveChallenge(room, ceremony), allowed)
}

export type CheckedAssertion = {
  readonly passkey: PasskeyRow
  readonly person: PersonIdentity
  /** What an auditor needs to check the assertion without us, all in base64url; no secret is in it. */
  readonly evidence: Evidence
  /** To be recorded with what it was given for: it never counts again. */
  readonly used: Fact
}

/**
 * Checks an assertion in full and uses it up: the challenge, what it binds, whose passkey, user verification, origin, RP ID,
 * signature, counter, the person's state. Throws `denied`, `invalid-input`, `too-many-requests`.
 */
export async function checkAssertion(
  room: Room,
  json: WebauthnJson,
  wanted: Ceremony & {
    readonly at: At
    /** Only this person will do; otherwise the person is who the passkey says. */
    readonly person?: PersonIdentity
  },
): Promise<CheckedAssertion> {
  const { deps, rp } = room
  const { store, now } = deps
  const { at } = wanted
  const assertion = parseAssertion(json)
  const { nonce, endsAt } = await takeChallenge(room, { ...wanted, challenge: assertion.challenge })

  const { id, response } = assertion.value
  const passkey = await vouchedCredential(room, id)
  if (!passkey)
    throw new KeymanError('denied', 'this passkey is not known here', {
      hint: 'it may have been removed, or belong to another server: use another passkey, or ask an administrator for an invitation',
    })
  // Level 3, section 7.2 step 6: who was not named beforehand has to be named by the authenticator.
  const { userHandle } = response
  if (userHandle ? !equalBytes(fromBase64Url(userHandle), passkey.userHandle) : wanted.person === undefined)
    throw refused('it does not name its person')
  deps.assertionLimiter.take(`${addressKey(at.from)} ${passkey.person}`)
  const { counter, backedUp } = await verifyAssertion(rp, assertion, passkey)
  if (wanted.person !== undefined && passkey.person !== wanted.person)
    throw refused(`it is not a passkey of ${wanted.person}`)
  if (passkey.state !== 'active') {
    if (mayBeRecorded(deps, passkey.person))
      await deps.ledger.append({
        requestId: at.requestId,
        kind: 'login-denied',
        actor: { kind: 'person', identity: passkey.person },
        decision: 'deny',
        reason: 'the person is disabled',
        from: at.from,
        details: { purpose: wanted.purpose },
      })
    throw new KeymanError('denied', `${passkey.person} is disabled`, { hint: 'ask an administrator' })
  }
  if (!(await advanceCounter(store, { id: passkey.id, counter, backedUp, at: now() })))
    throw refused('its counter went backwards: there may be a copy of this passkey')
  return {
    passkey,
    person: passkey.person,
    used: assertionFact(assertion.challenge, endsAt),
    evidence: {
      nonce: toBase64Url(nonce),
      credentialId: id,
      publicKey: toBase64Url(passkey.publicKey),
      authenticatorData: response.authenticatorData,
      clientDataJSON: response.clientDataJSON,
      signature: response.signature,
    },
  }
}

/** A record is for good, and whoever holds a disabled person's passkey can ask without end, from as many addresses as they like. */
function mayBeRecorded({ denialLimiter }: Room['deps'], person: PersonIdentity): boolean {
  try {
    denialLimiter.take(person)
    return true
  } catch {
    return false
  }
}

/** How keys stand in the ledger: base64 as in `.pub` files and PEM. */
export const keyText = (bytes: Uint8Array): string => toBase64(bytes)
