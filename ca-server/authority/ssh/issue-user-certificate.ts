import type { CertificateLimits, Decision } from '#server/access/index.ts'
import { principalOf, type SessionCaller, sessionKeyFact } from '#server/identity/index.ts'
import { type Actor, EpochsChanged } from '#server/ledger/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { type KeyId, parseKeyId, type SubjectPrincipal } from '#shared/names.ts'
import { decodePublicKey, formatCertificate, parsePublicKey, type SshPublicKey } from '#shared/ssh/index.ts'
import { denied } from '../denied.ts'
import type { KeyRing } from '../keys.ts'
import type { AuthorityDeps, IssuedSshCertificate, UserCertificateRequest } from '../port.ts'
import type { Serials } from '../serials.ts'
import type { Signer } from '../sign.ts'
import { recordAndSign } from './sign-certificate.ts'

/** Clocks of hosts may be behind by this much (invariant 5 allows five minutes). Seconds. */
const CLOCK_SKEW = 60n
/** How often a decision is made anew when what it was made from has changed. */
export const ATTEMPTS = 3

export type UserCertificateDeps = Pick<
  AuthorityDeps,
  'store' | 'ledger' | 'access' | 'identity' | 'now' | 'random' | 'defaultLifetime'
> & {
  readonly newRequestId: () => string
  /** Whether the list of what is revoked has room for the key of one more session of theirs (`KrlRoom`). */
  readonly room: { hasRoomFor(whose: SubjectPrincipal): boolean }
  readonly keys: () => KeyRing
  /** Of the key with this label. */
  readonly serials: (label: string) => Serials
  readonly signer: Signer
  /** `SHA256:…`: whether this key was revoked. */
  readonly isKeyRevoked: (fingerprint: string) => boolean
}

/** See `Authority.issueUserCertificate`. Everything in the certificate comes from the decision; the request can only narrow. */
export function issueUserCertificate(
  deps: UserCertificateDeps,
  caller: SessionCaller,
  request: UserCertificateRequest,
): Promise<IssuedSshCertificate> {
  return deps.signer.inTurn(async () => {
    const subjectKey = provenKey(caller, request.publicKey)
    if (deps.isKeyRevoked(caller.ssh.fingerprint))
      throw await denied(deps, request, {
        actor: actorOf(caller),
        what: 'ssh-user-certificate',
        reasons: ['this key was revoked'],
        hint: NEW_SESSION[caller.kind],
      })
    let current = caller
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const decision = deps.access.decide(current, {
        kind: 'ssh-certificate',
        lifetime: request.lifetime ?? deps.defaultLifetime,
      })
      try {
        return await issue(deps, current, request, subjectKey, decision)
      } catch (error) {
        if (!(error instanceof EpochsChanged))
          throw error
          // Not a denial: what it was decided from is read anew. The session too, which may have ended.
        ;[current] = await Promise.all([deps.identity.reload(current), deps.access.reload()])
      }
    }
    throw changedTooOften(caller)
  })
}

/** How whoever has none any more gets another. */
export const NEW_SESSION = {
  person: 'run keyman login',
  workload: 'ask for a new token (keyman workload token NAME), and let the workload join with it',
} as const

export const changedTooOften = (caller: SessionCaller): KeymanError =>
  new KeymanError('conflict', `what ${principalOf(caller)} may do is being changed at this moment`, {
    hint: 'try again',
  })

async function issue(
  deps: UserCertificateDeps,
  caller: SessionCaller,
  request: UserCertificateRequest,
  subjectKey: SshPublicKey,
  decision: Decision<CertificateLimits>,
): Promise<IssuedSshCertificate> {
  if (!decision.allow)
    throw await denied(deps, request, {
      actor: actorOf(caller),
      what: 'ssh-user-certificate',
      reasons: decision.reasons,
      message: decision.message,
      hint: 'ask an administrator for a grant',
    })
  const { limits } = decision
  const now = BigInt(Math.floor(deps.now().getTime() / 1000))
  const ends = [
    now + BigInt(limits.maxLifetime),
    seconds(endOf(caller)),
    ...(limits.endsAt ? [seconds(limits.endsAt)] : []),
  ]
  const validBefore = ends.reduce((a, b) => (a < b ? a : b))
  if (validBefore <= now) throw sessionEnded(caller)
  if (!named.has(caller)) await nameKey(deps, caller)
  const authority = deps.keys().active('ssh-user')
  const validAfter = now - CLOCK_SKEW
  const serial = await deps.serials(authority.label).next()
  const keyId = keyIdOf(caller)

  const blob = await recordAndSign(deps, {
    authority,
    body: {
      kind: 'user',
      nonce: deps.random(32),
      subjectKey,
      serial,
      keyId,
      principals: limits.principals,
      validAfter,
      validBefore,
      criticalOptions: {},
      extensions: limits.extensions,
      authorityKey: authority.ssh,
    },
    entry: {
      requestId: request.requestId,
      kind: 'ssh-user-certificate',
      actor: actorOf(caller),
      decision: 'allow',
      ...(limits.limitedBy === undefined ? {} : { reason: limits.limitedBy }),
      ...(request.from === undefined ? {} : { from: request.from }),
    },
    holder: holderOf(caller),
    // Those of the session, and those that the decision read: where the two know a person by different numbers, one is stale.
    epochs: [
      ...caller.epochs,
      ...decision.epochs.filter(e => !caller.epochs.some(c => c.subject === e.subject && c.epoch === e.epoch)),
    ],
    subjectKey: caller.ssh.fingerprint,
  })
  // The shortest of all is what limits, and it is a grant unless session or request end sooner.
  const byGrant = limits.limitedBy !== undefined && validBefore < seconds(endOf(caller))
  return {
    certificate: formatCertificate(blob),
    serial: serial.toString(),
    keyId,
    principals: [...limits.principals],
    startsAt: isoTime(validAfter),
    endsAt: isoTime(validBefore),
    ...(byGrant ? { limitedBy: limits.limitedBy } : {}),
  }
}

/**
 * Before its first certificate the log knows the session's key, by which it is revoked (`sessionKeyFact`): most sessions have said so when they
 * began. Throws `unavailable` where the list of what is revoked has no room for one more.
 */
async function nameKey(deps: UserCertificateDeps, caller: SessionCaller): Promise<void> {
  const { store, ledger, room, newRequestId } = deps
  const fact = sessionKeyFact(principalOf(caller), caller.ssh.fingerprint, caller.endsAt)
  if (!ledger.facts.has(fact.id)) await ledger.follow()
  if (!ledger.facts.has(fact.id)) {
    if (!room.hasRoomFor(principalOf(caller)))
      throw new KeymanError('unavailable', 'the list of what is revoked has no room for one more session of yours', {
        retryAfter: 3600,
        hint: 'sessions that have had certificates go on: ask an administrator to see who ends so many',
      })
    await store.transaction({ name: 'session key', deadlineMs: 10_000 }, async t => {
      await ledger.takeEpochs(t, { share: caller.epochs })
      await ledger.appendIn(t, [
        {
          requestId: newRequestId(),
          kind: 'session-key',
          actor: { kind: 'server' },
          target: principalOf(caller),
          details: { session: caller.session, sshKey: caller.ssh.fingerprint },
          facts: [fact],
        },
      ])
    })
    // Remembered before anything is made for it.
    await ledger.follow()
  }
  named.add(caller)
}
/** Of those that are in memory. */
const named = new WeakSet<SessionCaller>()

/** The key that the session has proven, and no other: a stolen client certificate must not get another key certified. */
function provenKey(caller: SessionCaller, line: string | undefined): SshPublicKey {
  if (line !== undefined && line !== caller.ssh.line && !equalBytes(parsePublicKey(line).blob, caller.ssh.blob))
    throw new KeymanError('denied', "this is not the key that this session's login has proven", {
      hint: NEW_SESSION[caller.kind],
    })
  const known = decoded.get(caller.ssh.blob)
  if (known) return known
  const key = decodePublicKey(caller.ssh.blob)
  decoded.set(caller.ssh.blob, key)
  return key
}
/** A session's caller stays the same object while it is cached, and so does its key. */
const decoded = new WeakMap<Uint8Array, SshPublicKey>()

/** `alice@example.com/passkey/SESSION`, `workload:payments/prod/backup/token/SESSION`: who, how authenticated, which session. */
export const keyIdOf = (caller: SessionCaller): KeyId => {
  const how = caller.kind === 'person' ? 'passkey' : 'token'
  return parseKeyId(`${principalOf(caller)}/${how}/${caller.session}`, 'keyId')
}

export const actorOf = (caller: SessionCaller): Actor => ({
  kind: caller.kind,
  identity: principalOf(caller),
  session: caller.session,
})
/** As a certificate's record names whose it is. */
export const holderOf = (caller: SessionCaller) => ({ person: principalOf(caller), session: caller.session })
/** When its session ends, unless that is renewed. */
export const endOf = (caller: SessionCaller): Date => {
  const ends = caller.kind === 'person' ? [caller.endsAt] : [caller.endsAt, caller.idleEndsAt]
  return new Date(Math.min(...ends.map(Number)))
}
export const sessionEnded = ({ kind }: SessionCaller): KeymanError =>
  new KeymanError('not-signed-in', 'the session has ended', { hint: NEW_SESSION[kind] })

const seconds = (date: Date): bigint => BigInt(Math.floor(date.getTime() / 1000))
export const isoTime = (unixSeconds: bigint): string => new Date(Number(unixSeconds) * 1000).toISOString()
