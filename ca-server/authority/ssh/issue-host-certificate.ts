import type { HostCaller } from '#server/identity/index.ts'
import { EpochsChanged } from '#server/ledger/index.ts'
import { revokedSerials } from '#shared/audit/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseKeyId } from '#shared/names.ts'
import { fingerprint, formatCertificate, parsePublicKey } from '#shared/ssh/index.ts'
import { denied } from '../denied.ts'
import type { KeyRing } from '../keys.ts'
import type { AuthorityDeps, HostCertificateRequest, IssuedSshCertificate } from '../port.ts'
import type { Serials } from '../serials.ts'
import type { Signer } from '../sign.ts'
import { isoTime } from './issue-user-certificate.ts'
import { recordAndSign } from './sign-certificate.ts'

/**
 * Of one host at a time, good and not revoked. A host has a few keys, and each certified anew now and then: some ten. It may show any key for its own, so what ends
 * when it is taken out is named one by one: never more than one transaction can.
 */
const MOST_HOST_CERTIFICATES = 1_000

export type HostCertificateDeps = Pick<AuthorityDeps, 'store' | 'ledger' | 'access' | 'identity' | 'now' | 'random'> & {
  /** An alarm, once of each subject. */
  readonly tellOnce: (of: string, message: string) => void
  readonly keys: () => KeyRing
  /** Of the key with this label. */
  readonly serials: (label: string) => Serials
  readonly signer: Signer
  readonly isKeyRevoked: (fingerprint: string) => boolean
}

/** See `Authority.issueHostCertificate`. The principals are those of the decision: the request names no name at all. */
export function issueHostCertificate(
  deps: HostCertificateDeps,
  caller: HostCaller,
  request: HostCertificateRequest,
): Promise<IssuedSshCertificate> {
  return deps.signer.inTurn(async () => {
    const subjectKey = parsePublicKey(request.publicKey)
    const proof = deps.identity.proofs.checkSsh({
      purpose: 'host-key',
      sshPublicKey: subjectKey,
      clientSpki: caller.clientSpki,
      challenge: request.challenge,
      signature: request.signature,
    })
    const refused = (reasons: readonly string[], message?: string) =>
      denied(deps, request, {
        actor: { kind: 'host', name: caller.name },
        what: 'ssh-host-certificate',
        reasons,
        ...(message === undefined ? {} : { message }),
      })
    if (deps.isKeyRevoked(fingerprint(subjectKey))) throw await refused(['this host key was revoked'])
    const decision = deps.access.decide(caller, { kind: 'ssh-host-certificate' })
    if (!decision.allow) throw await refused(decision.reasons, decision.message)
    await assertNotTooMany(deps, caller)
    const { principals, maxLifetime } = decision.limits
    const now = BigInt(Math.floor(deps.now().getTime() / 1000))
    const validAfter = now - 60n
    const validBefore = now + BigInt(maxLifetime)
    const authority = deps.keys().active('ssh-host')
    const serial = await deps.serials(authority.label).next()
    const keyId = parseKeyId(`host:${caller.name}`, 'keyId')
    const blob = await recordAndSign(deps, {
      authority,
      body: {
        kind: 'host',
        nonce: deps.random(32),
        subjectKey,
        serial,
        keyId,
        principals,
        validAfter,
        validBefore,
        authorityKey: authority.ssh,
      },
      entry: {
        requestId: request.requestId,
        kind: 'ssh-host-certificate',
        actor: { kind: 'host', name: caller.name },
        decision: 'allow',
        ...(request.from === undefined ? {} : { from: request.from }),
      },
      holder: { host: caller.name },
      epochs: caller.epochs,
      proof,
    }).catch(hostChanged)
    return {
      certificate: formatCertificate(blob),
      serial: serial.toString(),
      keyId,
      principals: [...principals],
      startsAt: isoTime(validAfter),
      endsAt: isoTime(validBefore),
    }
  })
}

/** Not a denial: it is no record. */
async function assertNotTooMany(deps: HostCertificateDeps, { name }: HostCaller): Promise<void> {
  const { store, ledger, keys, tellOnce } = deps
  const authorities = keys()
    .ssh.filter(({ purpose }) => purpose === 'ssh-host')
    .map(({ label }) => label)
  const live = await ledger.liveKeys(store, { host: name }, authorities)
  if (live.reduce((sum, { certificates }) => sum + certificates, 0) < MOST_HOST_CERTIFICATES) return
  // Of a host of this name that was taken out, or that has lost a name, some were revoked.
  await ledger.follow()
  const isRevoked = revokedSerials(ledger.facts.ids)
  const good = (await ledger.liveCertificates(store, { host: name }, { authorities })).filter(each => !isRevoked(each))
  if (good.length < MOST_HOST_CERTIFICATES) return
  const said = `${name} has had ${good.length} host certificates made that are still good`
  tellOnce(
    `host:${name}`,
    `${said}: it gets no more until it is taken out (keyman host remove ${name}) and has joined again`,
  )
  throw new KeymanError('too-many-requests', said, {
    retryAfter: 3600,
    hint: `ask an administrator to take the host out and let it join again: keyman host remove ${name}`,
  })
}

/** A host has no decision that could be made anew: it was changed or taken out at this moment. */
export function hostChanged(error: unknown): never {
  if (error instanceof EpochsChanged)
    throw new KeymanError('conflict', 'this host is being changed at this moment', { hint: 'try again' })
  throw error
}
