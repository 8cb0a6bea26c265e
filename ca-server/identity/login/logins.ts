import { StoreError } from '#server/store/index.ts'
import { equalBytes, fromBase64, toHex } from '#shared/bytes.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { loginChallenge } from '#shared/login-challenge.ts'
import { fingerprint, parsePublicKey } from '#shared/ssh/index.ts'
import { readSpki } from '#shared/x509/index.ts'
import { asBegun, endOf, redeemLogin } from '../links/redeem.ts'
import type { Logins, LoginTransaction, Proofs } from '../port.ts'
import { CONSENT_WITHIN, makeLoginId, REDEEM_WITHIN } from '../records/login-id.ts'
import {
  boundLogins,
  confirmLogin,
  countAttempt,
  insertLogin,
  type LoginRow,
  refuseLogin,
  selectLogin,
  selectLoginByUserCode,
} from '../records/login-records.ts'
import {
  hashSecret,
  newSecret,
  newUserCode,
  noSuchCode,
  parseUserCode,
  sha256,
  showUserCode,
} from '../records/secrets.ts'
import { addSeconds, type Room } from '../room.ts'
import { consentSeal } from '../touches/consent-seal.ts'
import { beginAssertion, checkAssertion } from '../webauthn/assertions.ts'

/** Seconds between polls of a device login (RFC 8628 section 3.2). */
const POLL_INTERVAL = 2
/** Logins between two looks at how many there are of all addresses. */
const LOOK_AT_ALL_EVERY = 20
/** WebAuthn ceremonies that one transaction may begin. */
const MAX_ATTEMPTS = 10

export function createLogins(room: Room, proofs: Proofs): Logins {
  const { deps, rp, ceremonyKey } = room
  const { store, now, random, publicUrl } = deps
  let started = 0

  /** What the passkey of this login signs, as the rows say now. */
  const challengeOf = (login: LoginRow, nonce: Uint8Array): Uint8Array =>
    loginChallenge({
      nonce,
      sshPublicKey: login.sshKey,
      clientSpki: login.clientSpki,
      lifetime: login.lifetime,
      device: login.device,
      origin: rp.origin,
    })

  async function waiting(id: string): Promise<LoginRow> {
    const login = asBegun(room, id, await selectLogin(store, id))
    if (!login) throw noSuchLogin()
    return stillWaiting(login)
  }
  function stillWaiting(login: LoginRow): LoginRow {
    if (login.state !== 'waiting') throw tooLate('this login was answered already')
    if (login.endsAt <= now()) throw tooLate('this login has ended')
    return login
  }
  const view = (login: LoginRow): LoginTransaction => ({
    transaction: login.id,
    kind: login.kind,
    organisation: deps.organisation,
    device: login.device,
    from: login.startedFrom,
    sshFingerprint: fingerprint(login.sshKey),
    clientFingerprint: toHex(sha256(login.clientSpki)),
    lifetime: login.lifetime,
    endsAt: login.endsAt.toISOString(),
  })

  return {
    async start(request, from) {
      const sshPublicKey = parsePublicKey(request.sshPublicKey, 'sshPublicKey')
      const clientSpki = parseClientKey(request.clientPublicKey)
      const proof = proofs.checkBoth({ purpose: 'login', sshPublicKey, clientSpki, proof: request.proof })
      await boundLogins(store, from, started++ % LOOK_AT_ALL_EVERY === 0)
      const at = now()
      const begun = {
        sshKey: sshPublicKey.blob,
        clientSpki,
        lifetime: Math.min(request.lifetime, deps.maxLifetime),
        device: request.device,
        startedFrom: from,
        endsAt: addSeconds(at, CONSENT_WITHIN),
      }
      const rest = { proof, pollInterval: POLL_INTERVAL, createdAt: at }
      const ended = { interval: POLL_INTERVAL, endsAt: begun.endsAt.toISOString() }
      if (request.flow.kind === 'loopback') {
        const { redirectUri: uri, codeChallenge, state } = request.flow
        const login = { ...begun, kind: 'loopback', redirect: { uri, codeChallenge, state } } as const
        const id = makeLoginId(ceremonyKey, random(16), login)
        await once(insertLogin(store, { ...login, ...rest, id }))
        return { ...ended, transaction: id, page: `${publicUrl}/login/${id}` }
      }
      const userCode = newUserCode(random)
      const deviceCode = newSecret(random)
      const hashes = { userCodeHash: hashSecret(userCode), deviceCodeHash: deviceCode.hash }
      const login = { ...begun, ...hashes, kind: 'device' } as const
      const id = makeLoginId(ceremonyKey, random(16), login)
      await once(insertLogin(store, { ...login, ...rest, id }))
      return {
        ...ended,
        transaction: id,
        page: `${publicUrl}/device`,
        userCode: showUserCode(userCode),
        deviceCode: deviceCode.text,
      }
    },

    async show(id) {
      const login = await waiting(id)
      // A link that leads to the consent of a device login is how people are phished.
      if (login.kind === 'device')
        throw new KeymanError('denied', 'this login is shown to whoever types its code', {
          hint: `open ${publicUrl}/device and type the code that your own terminal shows`,
        })
      return view(login)
    },

    async find(userCode) {
      const hash = hashSecret(parseUserCode(userCode))
      const found = await selectLoginByUserCode(store, hash)
      const isAsked = found?.userCodeHash !== undefined && equalBytes(found.userCodeHash, hash)
      const login = isAsked ? asBegun(room, found.id, found) : undefined
      if (login?.state !== 'waiting' || login.endsAt <= now()) throw noSuchCode()
      return view(login)
    },

    async options(id) {
      const login = await waiting(id)
      if (!(await countAttempt(store, id, MAX_ATTEMPTS)))
        throw new KeymanError('too-many-requests', 'this login was tried too often', {
          hint: 'begin again: keyman login',
        })
      return beginAssertion(room, { purpose: 'login', subject: id, challengeFor: nonce => challengeOf(login, nonce) })
    },

    async consent(id, json, at) {
      const login = await waiting(id)
      const { person, evidence } = await checkAssertion(room, json, {
        purpose: 'login',
        subject: id,
        at,
        challengeFor: nonce => challengeOf(login, nonce),
      })
      const code = login.redirect ? newSecret(random) : undefined
      const consented = {
        person,
        assertedAt: now(),
        assertedFrom: at.from,
        evidence,
        ended: endOf(room, person),
        codeHash: code?.hash,
        codeEndsAt: addSeconds(now(), REDEEM_WITHIN),
      }
      const seal = consentSeal(ceremonyKey, id, consented)
      const confirmed = await confirmLogin(store, { ...consented, id, seal })
      // Of an address that begins many, the oldest that waits gives way.
      if (!confirmed)
        throw tooLate('this login was answered meanwhile, has ended, or gave way to newer ones from its address')
      return login.redirect && code
        ? { person, redirectTo: redirection(login.redirect, { code: code.text }) }
        : { person }
    },

    async refuse(id) {
      const login = await waiting(id)
      if (!(await refuseLogin(store, id))) throw tooLate('this login was answered already')
      // RFC 6749 section 4.1.2.1.
      return login.redirect ? { redirectTo: redirection(login.redirect, { error: 'access_denied' }) } : {}
    },

    redeem: (request, at) => redeemLogin(room, request, at, challengeOf),
  }
}

/** Only ever to the address that the transaction was begun with, which the schema bounds to loopback. */
function redirection(to: { uri: string; state: string }, answer: Record<string, string>): string {
  return `${to.uri}?${new URLSearchParams({ ...answer, state: to.state })}`
}

function parseClientKey(text: string): Uint8Array {
  let spki: Uint8Array
  try {
    spki = fromBase64(text)
  } catch {
    throw invalid('clientPublicKey', 'this is not base64')
  }
  if (readSpki(spki, 'clientPublicKey').algorithm !== 'ecdsa-p256')
    throw invalid('clientPublicKey', 'the client key has to be a P-256 key')
  return spki
}

async function once(insert: Promise<void>): Promise<void> {
  try {
    await insert
  } catch (error) {
    if (error instanceof StoreError && error.constraint === 'login_transaction_proof')
      throw new KeymanError('expired', 'this challenge was used already', { hint: 'ask for a new one' })
    throw error
  }
}

const noSuchLogin = (): KeymanError =>
  new KeymanError('not-found', 'there is no such login', { hint: 'begin again: keyman login' })
const tooLate = (message: string): KeymanError =>
  new KeymanError('expired', message, { hint: 'begin again: keyman login' })
