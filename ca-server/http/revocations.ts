import type { Access } from '#server/access/index.ts'
import type { Authority, Revocation, RevocationTarget } from '#server/authority/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { Identity } from '#server/identity/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { byOf, personOf } from './caller.ts'
import { type Handled, handle } from './handle.ts'
import { mayHearOf, untilAnswer } from './in-force.ts'

export type RevocationRoutesDeps = {
  readonly authority: Pick<Authority, 'revoke' | 'findRevocation' | 'words'>
  readonly identity: Pick<Identity, 'words'>
  readonly access: Pick<Access, 'reachableBy'>
  readonly hosts: Pick<Hosts, 'waitForKrl' | 'find'>
}

/** Revoking, with the hosts' own word on where it is in force. */
export function revocationRoutes({ authority, identity, access, hosts }: RevocationRoutesDeps): Handled[] {
  const answer = async ({ krlVersion, goodUntil, ...revocation }: Revocation, seconds: number) => ({
    id: revocation.id,
    target: revocation.target,
    revoked: revocation.revoked,
    sessions: revocation.sessions,
    hosts: await hosts.waitForKrl(krlVersion, seconds),
    ...untilAnswer(goodUntil),
  })
  return [
    handle(
      api.revocations.create,
      async request => {
        const { target, reason, wait } = request.body
        return answer(await authority.revoke(targetOf(target), reason, byOf(request)), wait)
      },
      ({ body: { target } }, on) =>
        'person' in target ? identity.words.person(on, target.person) : authority.words(on, targetOf(target)),
    ),
    handle(api.revocations.own, async request => {
      const caller = personOf(request)
      const own = await answer(await authority.revoke({ person: caller.identity }, 'by the person', byOf(request)), 5)
      const hears = mayHearOf(access, caller)
      const there = own.hosts.filter(({ name }) => {
        const host = hosts.find(name)
        return host !== undefined && hears(host)
      })
      return { ...own, hosts: there }
    }),
    handle(api.revocations.status, async ({ params }) => {
      const found = await authority.findRevocation(params.id ?? '')
      if (!found) throw new KeymanError('not-found', 'there is no such revocation')
      return answer(found, 0)
    }),
  ]
}

type Target = NonNullable<(typeof api.revocations.create)['body']>['_output']['target']

function targetOf(target: Target): RevocationTarget {
  if ('serial' in target) return { serial: BigInt(target.serial) }
  if ('publicKey' in target) return { publicKey: parsePublicKey(target.publicKey, 'target.publicKey') }
  return target
}
