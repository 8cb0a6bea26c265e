import type { MachineCaller } from '#server/identity/index.ts'
import { EpochsChanged, type Ledger } from '#server/ledger/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { fingerprint, publicKeyFromSpki } from '#shared/ssh/index.ts'
import { machineUri } from '#shared/x509/index.ts'
import { denied } from '../denied.ts'
import type { KeyRing } from '../keys.ts'
import type { Authority, AuthorityDeps, IssuedClientCertificate, Origin } from '../port.ts'
import { hostChanged } from '../ssh/issue-host-certificate.ts'
import { ATTEMPTS, changedTooOften, keyIdOf } from '../ssh/issue-user-certificate.ts'
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

/** See `Authority.issuePersonClientCertificate`. A person without any grant gets one too: it is what asks for one. */
export function issuePersonClientCertificate(
  deps: ClientCertificateDeps,
  caller: MachineCaller,
  origin: Origin,
): Promise<IssuedClientCertificate> {
  const { requestId, from } = origin
  return deps.signer.inTurn(async () => {
    const now = deps.now()
    if (caller.endsAt.getTime() <= now.getTime())
      throw new KeymanError('not-signed-in', 'the session has ended', { hint: 'keyman login' })
    if (deps.isKeyRevoked(fingerprint(publicKeyFromSpki(caller.clientSpki))))
      throw await denied(deps, origin, {
        actor: { kind: 'person', identity: caller.identity, session: caller.session },
        what: 'client-certificate',
        reasons: ["this session's client key was revoked"],
        hint: 'keyman login makes a new one',
      })
    const issueFor = async (current: MachineCaller) => ({
      pem: await recordAndSignX509(deps, {
        authority: deps.keys().activeMachines(),
        profile: 'client',
        spki: current.clientSpki,
        subjectAltNames: [{ uri: machineUri.person(deps.organisation, current.identity, current.session) }],
        notBefore: new Date(now.getTime() - CLOCK_SKEW),
        notAfter: lastSecondBefore(current.endsAt),
        entry: {
          requestId,
          kind: 'client-certificate',
          actor: { kind: 'person', identity: current.identity, session: current.session },
          ...(from === undefined ? {} : { from }),
        },
        keyId: keyIdOf(current),
        holder: { person: current.identity, session: current.session },
        epochs: current.epochs,
      }),
      endsAt: current.endsAt,
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
