import type { HostCaller } from '#server/identity/index.ts'
import { EpochsChanged } from '#server/ledger/index.ts'
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

export type HostCertificateDeps = Pick<AuthorityDeps, 'ledger' | 'access' | 'identity' | 'now' | 'random'> & {
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

/** A host has no decision that could be made anew: it was changed or taken out at this moment. */
export function hostChanged(error: unknown): never {
  if (error instanceof EpochsChanged)
    throw new KeymanError('conflict', 'this host is being changed at this moment', { hint: 'try again' })
  throw error
}
