import { timingSafeEqual } from 'node:crypto'
import { endedId } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { fromBase64Url, toBase64Url, toHex, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import type { PersonIdentity } from '#shared/names.ts'
import { fingerprint } from '#shared/ssh/index.ts'
import type { Epoch } from '../caller.ts'
import type { LoginToken, Redeemed } from '../port.ts'
import {
  assertionFact,
  assertionId,
  loginFact,
  loginId,
  passkeyFact,
  sessionFact,
  sessionKeyFact,
} from '../records/facts.ts'
import { isBegunAs, REDEEM_WITHIN } from '../records/login-id.ts'
import {
  type Evidence,
  type LoginRow,
  lockLogin,
  notePoll,
  selectLogin,
  setLoginState,
} from '../records/login-records.ts'
import { lockPerson, selectCredential, touchLogin } from '../records/person-records.ts'
import { hashSecret, newSessionId, sha256 } from '../records/secrets.ts'
import { insertSession } from '../records/session-records.ts'
import { addSeconds, inTransaction, type Room } from '../room.ts'
import { ended } from '../sessions/sessions.ts'
import type { At } from '../standing.ts'
import { epochsOf } from '../touches/acting.ts'
import { isConsent } from '../touches/consent-seal.ts'
import { anew } from '../touches/under-role.ts'
import { keyText } from '../webauthn/assertions.ts'
import { CEREMONY_SECONDS, verifyAssertion } from '../webauthn.ts'

/** RFC 8628 section 3.5: who polls too fast has to wait this many seconds longer. */
const SLOW_DOWN = 5

/** The login that was begun under this ID, whoever wrote what stands in its row: `undefined` where anything is otherwise. */
export function asBegun({ ceremonyKey, deps }: Room, id: string, login: LoginRow | undefined): LoginRow | undefined {
  if (!login || (login.id === id && isBegunAs(ceremonyKey, id, login))) return login
  deps.onError?.(
    new KeymanError(
      'internal',
      `${id} in the database is not what was begun: somebody changed it; it counts for nothing`,
    ),
  )
  return undefined
}

/** The record by which all that this person had was ended last. */
export const endOf = ({ deps }: Room, person: PersonIdentity): string =>
  deps.ledger.facts.saidAt(endedId(person))?.toString() ?? ''

/** What a transaction came to: a refusal has to be committed too, so it is thrown after it. */
type Outcome = { session: string } | { pending: number } | { refused: true } | { error: KeymanError }

/** Turns a consent into a session, once. */
export async function redeemLogin(
  room: Room,
  request: LoginToken,
  at: At,
  challengeOf: (login: LoginRow, nonce: Uint8Array) => Uint8Array,
): Promise<Redeemed> {
  // A look without a lock tells whose row to take first: whoever disables a person takes person, then logins.
  const id = request.transaction
  const seen = asBegun(room, id, await selectLogin(room.deps.store, id))?.consent
  const person = seen?.person
  // What the log says below is of now.
  if (seen) await room.deps.ledger.follow()
  const { facts } = room.deps.ledger
  const whose = person === undefined ? [] : [`person:${person}`]
  const redeeming = (share: readonly Epoch[]) =>
    inTransaction(room, 'login redeem', undefined, async (t): Promise<Outcome> => {
      await room.deps.ledger.takeEpochs(t, { share })
      const state = person && (await lockPerson(t, person))?.state
      const login = asBegun(room, id, await lockLogin(t, id))
      if (!login || !isHeldBy(login, request)) return { error: wrongCode() }
      if (login.state === 'refused') return { refused: true }
      if (login.state === 'redeemed')
        return { error: new KeymanError('expired', 'this login was redeemed already', AGAIN) }
      if (login.state === 'waiting') return pending(room, t, login)
      const { consent } = login
      const refuse = async (error: KeymanError): Promise<Outcome> => {
        await setLoginState(t, login.id, 'refused')
        return { error }
      }
      // Consented between the two looks: the next poll finds it.
      if (!consent || consent.person !== person) return { pending: login.pollInterval }
      // When the code ends says a row that somebody may have changed; when the login ended says its ID.
      if (consent.codeEndsAt <= room.deps.now() || addSeconds(login.endsAt, REDEEM_WITHIN) <= room.deps.now())
        return refuse(new KeymanError('expired', 'this login has ended', AGAIN))
      if (request.grant === 'code' && !verifierFits(login, request.codeVerifier))
        return refuse(new KeymanError('denied', 'the code verifier does not fit this login (RFC 7636)', AGAIN))
      if (state !== 'active') return refuse(new KeymanError('denied', `${person} is disabled`))
      // What it says of itself is recorded, and it ended with all that the person had, though its row was hidden from that end.
      if (!isConsent(room.ceremonyKey, login.id, consent))
        return refuse(new KeymanError('denied', 'this login is not what was consented to', AGAIN))
      if (consent.ended !== endOf(room, person))
        return refuse(new KeymanError('expired', 'this login was redeemed or refused already', AGAIN))
      // The row may say again what it said before it was redeemed or refused; the log says that once.
      const challenge = challengeOf(login, fromBase64Url(consent.evidence.nonce))
      if (facts.has(loginId(login.id)) || facts.has(assertionId(challenge)))
        return refuse(new KeymanError('expired', 'this login was redeemed or refused already', AGAIN))
      const passkey = await signedBy(room, t, person, consent.evidence, challenge)
      if (passkey === undefined)
        return refuse(new KeymanError('denied', 'this login is not what was consented to', AGAIN))
      return { session: await makeSession(room, t, login, { ...consent, challenge }, passkey, at) }
    })
  const outcome = await anew(() => (whose.length === 0 ? Promise.resolve([]) : epochsOf(room, whose)), redeeming)
  if ('error' in outcome) throw outcome.error
  if ('refused' in outcome) return { state: 'refused' }
  if ('pending' in outcome) return { state: 'pending', interval: outcome.pending }
  if (!person) throw ended()
  const caller = await room.sessions.load(outcome.session, person)
  if (caller.via !== 'machine') throw ended()
  return { state: 'done', caller }
}

async function makeSession(
  room: Room,
  t: Queryable,
  login: LoginRow,
  consent: NonNullable<LoginRow['consent']> & { readonly challenge: Uint8Array },
  passkey: string,
  at: At,
): Promise<string> {
  const { now, random, ledger } = room.deps
  const { person, evidence } = consent
  const { nonce, ...assertion } = evidence
  const id = newSessionId(random)
  const startedAt = now()
  await setLoginState(t, login.id, 'redeemed')
  await touchLogin(t, person, startedAt)
  const session = {
    id,
    person,
    device: login.device,
    sshKey: login.sshKey,
    clientSpki: login.clientSpki,
    startedAt,
    endsAt: addSeconds(startedAt, login.lifetime),
    assertedAt: consent.assertedAt,
    passkey,
    from: at.from,
  }
  await insertSession(t, session)
  await ledger.appendIn(t, [
    {
      requestId: at.requestId,
      kind: 'login',
      actor: { kind: 'person', identity: person, session: id },
      target: id,
      decision: 'allow',
      from: at.from,
      sinceEnd: consent.ended,
      details: {
        flow: login.kind,
        sshKey: fingerprint(login.sshKey),
        clientKey: toHex(sha256(login.clientSpki)),
        startedFrom: login.startedFrom,
        assertedFrom: consent.assertedFrom,
        assertedAt: consent.assertedAt.toISOString(),
        // With these an auditor makes the challenge anew (`shared/login-challenge.ts`) and verifies the assertion over it.
        challenge: {
          nonce,
          sshPublicKey: keyText(login.sshKey),
          clientSpki: keyText(login.clientSpki),
          lifetime: login.lifetime,
          device: login.device,
          origin: room.rp.origin,
        },
        assertion,
      },
      facts: [
        sessionFact(session),
        ...(room.deps.mayBeCertified(person)
          ? [sessionKeyFact(person, fingerprint(login.sshKey), session.endsAt)]
          : []),
        loginFact(login.id, 'redeemed', addSeconds(login.endsAt, REDEEM_WITHIN)),
        assertionFact(consent.challenge, addSeconds(login.endsAt, REDEEM_WITHIN + CEREMONY_SECONDS)),
      ],
    },
  ])
  return id
}

async function pending(room: Room, t: Queryable, login: LoginRow): Promise<Outcome> {
  const now = room.deps.now()
  if (login.endsAt <= now) return { error: new KeymanError('expired', 'nobody confirmed this login in time', AGAIN) }
  const early = login.polledAt !== undefined && addSeconds(login.polledAt, login.pollInterval - 0.5) > now
  const interval = early ? Math.min(60, login.pollInterval + SLOW_DOWN) : login.pollInterval
  await notePoll(t, login.id, now, interval)
  return { pending: interval }
}

/** Whether whoever asks holds the login's own secret: the code that came by the browser, or the device code. */
function isHeldBy(login: LoginRow, request: LoginToken): boolean {
  if (request.grant === 'device') return sameHash(login.deviceCodeHash, request.deviceCode)
  return login.redirect !== undefined && sameHash(login.consent?.codeHash, request.code)
}

const sameHash = (hash: Uint8Array | undefined, secret: string): boolean =>
  hash !== undefined && timingSafeEqual(hash, hashSecret(secret))

/** RFC 7636 section 4.6, S256 and nothing else. */
function verifierFits(login: LoginRow, verifier: string): boolean {
  const expected = utf8(login.redirect?.codeChallenge ?? '')
  const given = utf8(toBase64Url(sha256(utf8(verifier))))
  return expected.length === given.length && timingSafeEqual(expected, given)
}

/**
 * The ID of the passkey that this person has today and that signed exactly these keys, lifetime, device and origin: verified once more,
 * whatever befell the row or the passkey since.
 */
async function signedBy(
  { deps, rp }: Room,
  t: Queryable,
  person: PersonIdentity,
  { credentialId, authenticatorData, clientDataJSON, signature }: Evidence,
  challenge: Uint8Array,
): Promise<string | undefined> {
  const passkey = await selectCredential(t, fromBase64Url(credentialId))
  if (passkey?.person !== person || !deps.ledger.facts.holds(passkeyFact(passkey))) return undefined
  const response = { authenticatorData, clientDataJSON, signature }
  const value = { id: credentialId, rawId: credentialId, type: 'public-key' as const, response }
  // The counter was looked at, and has gone on, when consent was given.
  return verifyAssertion(rp, { value, challenge }, { publicKey: passkey.publicKey, counter: 0 }).then(
    () => passkey.id,
    () => undefined,
  )
}

const AGAIN = { hint: 'begin again: keyman login' }
const wrongCode = (): KeymanError => new KeymanError('denied', 'there is no login with this code', AGAIN)
