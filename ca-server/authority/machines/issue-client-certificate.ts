import type { SessionCaller } from '#server/identity/index.ts'
import { EpochsChanged, type Ledger } from '#server/ledger/index.ts'
import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { machineUri } from '#shared/x509/index.ts'
import { denied } from '../denied.ts'
import type { KeyRing } from '../keys.ts'
import type { Authority, AuthorityDeps, IssuedClientCertificate } from '../port.ts'
import { hostChanged } from '../ssh/issue-host-certificate.ts'
import {
  ATTEMPTS,
  actorOf,
  changedTooOften,
  endOf,
  holderOf,
  keyIdOf,
  NEW_SESSION,
  sessionEnded,
} from '../ssh/issue-user-certificate.ts'
import { recordAndSignX509, type X509Deps } from './sign-x509.ts'

/** Milliseconds. The same as the skew that user certificates allow. */
const CLOCK_SKEW = 60_000
const HOST_LIFETIME = 30 * 86_400_000

export type ClientCertificateDeps = X509Deps &
  Pick<AuthorityDeps, 'now' | 'organisation' | 'identity'> & {
    readonly ledger: Pick<Ledger, 'issue' | 'append'>
    readonly keys: () => KeyRing
    readonly isKeyRevoked: (fingerprint: string) => boolean
  }

/** See `Authority.issueSessionClientCertificate`. Who was given nothing gets one too: it is what asks for more. */
export function issueSessionClientCertificate(
  deps: ClientCertificateDeps,
  caller: SessionCaller,
  { proof, ...origin }: Parameters<Authority['issueSessionClientCertificate']>[1],
): Promise<IssuedClientCertificate> {
  const { requestId, from } = origin
  return deps.signer.inTurn(async () => {
    const now = deps.now()
    if (endOf(caller).getTime() <= now.getTime()) throw sessionEnded(caller)
    if (deps.isKeyRevoked(fingerprint(publicKeyFromSpki(caller.clientSpki))))
      throw await denied(deps, origin, {
        actor: actorOf(caller),
        what: 'client-certificate',
        reasons: ["this session's client key was revoked"],
        hint: NEW_SESSION[caller.kind],
      })
    const issueFor = async (current: SessionCaller) => ({
      pem: await recordAndSignX509(deps, {
        authority: deps.keys().activeMachines(),
        profile: 'client',
        spki: current.clientSpki,
        subjectAltNames: [{ uri: uriOf(deps.organisation, current) }],
        notBefore: new Date(now.getTime() - CLOCK_SKEW),
        notAfter: lastSecondBefore(endOf(current)),
        entry: {
          requestId,
          kind: 'client-certificate',
          actor: actorOf(current),
          ...(from === undefined ? {} : { from }),
        },
        keyId: keyIdOf(current),
        holder: holderOf(current),
        epochs: current.epochs,
        ...(proof === undefined ? {} : { proof }),
      }),
      endsAt: endOf(current),
    })
    let current = caller
    for (let attempt = 1; ; attempt++) {
      try {
        return await issueFor(current)
      } catch (error) {
        if (!(error instanceof EpochsChanged)) throw error
        if (attempt === ATTEMPTS) throw changedTooOften(caller)
        current = await deps.identity.reload(current)
      }
    }
  })
}

const uriOf = (organisation: string, caller: SessionCaller): string =>
  caller.kind === 'person'
    ? machineUri.person(organisation, caller.identity, caller.session)
    : machineUri.workload(organisation, caller.name, caller.session)

/** See `Authority.issueHostClientCertificate`. */
export function issueHostClientCertificate(
  deps: ClientCertificateDeps,
  parts: Parameters<Authority['issueHostClientCertificate']>[0],
): Promise<IssuedClientCertificate> {
  const { host, by } = parts
  return deps.signer.inTurn(async () => {
    const now = deps.now().getTime()
    const endsAt = new Date(now + HOST_LIFETIME)
    const pem = await recordAndSignX509(deps, {
      authority: deps.keys().activeMachines(),
      profile: 'client',
      spki: parts.clientSpki,
      subjectAltNames: [{ uri: machineUri.host(deps.organisation, host) }],
      notBefore: new Date(now - CLOCK_SKEW),
      notAfter: lastSecondBefore(endsAt),
      entry: { ...by, kind: 'client-certificate', target: host },
      keyId: `host:${host}`,
      holder: { host },
      epochs: parts.epochs,
      ...(parts.proof === undefined ? {} : { proof: parts.proof }),
    }).catch(hostChanged)
    return { pem, endsAt }
  })
}

/** Not-after is inclusive. */
const lastSecondBefore = (end: Date): Date => new Date(Math.ceil(end.getTime() / 1000) * 1000 - 1000)
