import type { Access } from '#server/access/index.ts'
import type { Authority, IssuedSshCertificate } from '#server/authority/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { At, Identity, MachineCaller, SessionCaller } from '#server/identity/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { addressKey } from '#shared/ip-address.ts'
import { createRateLimiter, type RateLimiter } from '../connections/rate-limit.ts'
import { type Handled, handle } from '../handle.ts'
import { reachableHosts, revokedHosts } from './ssh.ts'

export type LoginRoutesDeps = {
  readonly identity: Pick<Identity, 'proofs' | 'logins' | 'describe'>
  readonly authority: Pick<Authority, 'ready' | 'issueUserCertificate' | 'issueSessionClientCertificate' | 'currentKrl'>
  readonly access: Pick<Access, 'reachableBy'>
  readonly hosts: Pick<Hosts, 'living' | 'keyTypes'>
  /** Codes of device logins that are tried, by address (RFC 8628 section 5.1). */
  readonly codeLimiter?: RateLimiter
}

/** Login of a person's machine. */
export function loginRoutes(deps: LoginRoutesDeps): Handled[] {
  const { proofs, logins } = deps.identity
  const codes = deps.codeLimiter ?? createRateLimiter({ burst: 10, perMinute: 5, now: () => performance.now() })
  return [
    handle(api.login.challenge, async () => ({ challenge: proofs.challenge() })),
    handle(api.login.start, ({ body, from }) => logins.start(body, from)),
    handle(api.login.token, async ({ body, requestId, from }) => {
      // A code is good once: where nothing can be signed it is not used up, and whoever has it comes again.
      await deps.authority.ready()
      const redeemed = await logins.redeem(body, { requestId, from })
      if (redeemed.state !== 'done') return redeemed
      return { state: 'done' as const, login: await answer(deps, redeemed.caller, { requestId, from }) }
    }),
    handle(api.login.find, async ({ body, from }) => {
      codes.take(addressKey(from))
      return logins.find(body.userCode)
    }),
    handle(api.login.show, ({ params }) => logins.show(params.transaction ?? '')),
    handle(api.login.consentOptions, async ({ params }) => ({
      options: await logins.options(params.transaction ?? ''),
    })),
    handle(api.login.consent, ({ params, body, requestId, from }) =>
      logins.consent(params.transaction ?? '', body.assertion, { requestId, from }),
    ),
    handle(api.login.refuse, ({ params }) => logins.refuse(params.transaction ?? '')),
  ]
}

/** What a machine gets that has just signed in. */
async function answer(deps: LoginRoutesDeps, caller: MachineCaller, at: At) {
  const [session, certificates] = await Promise.all([deps.identity.describe(caller), certificatesFor(deps, caller, at)])
  return { session, ...certificates }
}

export type CertificatesDeps = Pick<LoginRoutesDeps, 'access' | 'hosts'> & {
  readonly authority: Pick<Authority, 'issueUserCertificate' | 'issueSessionClientCertificate' | 'currentKrl'>
}

/** All that a session has. Without any grant there is no SSH certificate; a session there is none the less. `proof`: see `Authority`. */
export async function certificatesFor(
  { authority, access, hosts }: CertificatesDeps,
  caller: SessionCaller,
  { proof, ...at }: At & { readonly proof?: string },
) {
  const [client, ssh, krl, reachable] = await Promise.all([
    authority.issueSessionClientCertificate(caller, { ...at, ...(proof === undefined ? {} : { proof }) }),
    certificateOrDenial(authority, caller, at),
    authority.currentKrl(),
    reachableHosts(access, hosts, caller),
  ])
  return {
    ...ssh,
    client: { certificate: client.pem, endsAt: client.endsAt.toISOString() },
    hosts: reachable,
    revokedHosts: revokedHosts(krl),
  }
}

async function certificateOrDenial(
  authority: Pick<Authority, 'issueUserCertificate'>,
  caller: SessionCaller,
  at: At,
): Promise<{ ssh: IssuedSshCertificate } | { denial: string }> {
  try {
    return { ssh: await authority.issueUserCertificate(caller, at) }
  } catch (error) {
    if (error instanceof KeymanError && error.code === 'denied') return { denial: error.message }
    throw error
  }
}
