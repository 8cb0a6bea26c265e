import type { Access } from '#server/access/index.ts'
import type { Authority, Revocation, RevocationTarget } from '#server/authority/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { Identity, PersonCaller } from '#server/identity/index.ts'
import type { Logins } from '#server/logins/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { byOf, personOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'
import { mayHearOf, toldTo, untilAnswer, withEnded } from './in-force.ts'

export type RevocationRoutesDeps = {
  readonly authority: Pick<Authority, 'revoke' | 'findRevocation' | 'words' | 'knowsKey'>
  readonly identity: Pick<Identity, 'words' | 'sessions'>
  readonly access: Pick<Access, 'reachableBy' | 'may'>
  readonly hosts: Pick<Hosts, 'waitForKrl' | 'find'>
  readonly logins: Pick<Logins, 'endedBy'>
}

/** What revoking a key costs that nothing here was certified for, in requests. */
const STRANGE_KEY = 20

/** Revoking, with the hosts' own word on where it is in force. */
export function revocationRoutes({ authority, identity, access, hosts, logins }: RevocationRoutesDeps): Handled[] {
  return [
    handle(
      api.revocations.create,
      async request => {
        const { target, reason, hostSessions, wait } = request.body
        const named = 'session' in target ? { session: await identity.sessions.find(target.session) } : targetOf(target)
        return revocationAnswer(
          { hosts, logins },
          await authority.revoke(named, reason, byOf(request), hostSessions),
          wait,
        )
      },
      {
        // Whoever may revoke could name keys without number, each of which stays on the list for good.
        async costs({ body: { target } }) {
          return 'publicKey' in target && !(await authority.knowsKey(parsePublicKey(target.publicKey)))
            ? STRANGE_KEY
            : 0
        },
        names({ body: { target } }, on) {
          if ('person' in target) return identity.words.person(on, target.person)
          if ('session' in target) return identity.words.session(on, target.session)
          return authority.words(on, targetOf(target))
        },
      },
    ),
    handle(api.revocations.own, async request => {
      const caller = personOf(request)
      const ended = await authority.revoke({ person: caller.identity }, 'by the person', byOf(request))
      return revocationAnswer({ hosts, logins }, ended, 5, { access, caller })
    }),
    handle(api.revocations.status, async ({ params }) => {
      const found = await authority.findRevocation(params.id ?? '')
      if (!found) throw new KeymanError('not-found', 'there is no such revocation')
      return revocationAnswer({ hosts, logins }, found, 0)
    }),
  ]
}

/** `to`: who hears no more than a person may; without it somebody with a role for it. */
export async function revocationAnswer(
  { hosts, logins }: Pick<RevocationRoutesDeps, 'hosts' | 'logins'>,
  { krlVersion, order, goodUntil, id, target, revoked, sessions }: Revocation,
  seconds: number,
  to?: { readonly access: Pick<Access, 'reachableBy' | 'may'>; readonly caller: PersonCaller },
) {
  const told = await withEnded(logins, order, await hosts.waitForKrl(krlVersion, seconds))
  const rest = { id, target, revoked, sessions, ...untilAnswer(goodUntil) }
  if (to === undefined) return { ...rest, hosts: told }
  const hears = mayHearOf(to.access, to.caller)
  const there = told.filter(({ name }) => {
    const host = hosts.find(name)
    return host !== undefined && hears(host)
  })
  return { ...rest, hosts: toldTo(to.access, to.caller, hosts, there) }
}

type Target = Exclude<
  NonNullable<(typeof api.revocations.create)['body']>['_output']['target'],
  { readonly session: string }
>

function targetOf(target: Target): RevocationTarget {
  if ('serial' in target) return { serial: BigInt(target.serial) }
  if ('publicKey' in target) return { publicKey: parsePublicKey(target.publicKey, 'target.publicKey') }
  return target
}
