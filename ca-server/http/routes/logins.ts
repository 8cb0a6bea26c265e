import type { Access } from '#server/access/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { LoginFilter, Logins } from '#server/logins/index.ts'
import { api } from '#shared/api/index.ts'
import { type HostName, parseHostName, parseSubjectPrincipal } from '#shared/names.ts'
import { actingOf, hostOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'

export type LoginsRoutesDeps = {
  readonly logins: Pick<Logins, 'report' | 'list'>
  readonly hosts: Pick<Hosts, 'living'>
  readonly access: Pick<Access, 'may'>
}

/** Who was let in on hosts. */
export function hostLoginRoutes({ logins, hosts, access }: LoginsRoutesDeps): Handled[] {
  return [
    handle(
      api.hosts.logins,
      async request => {
        const { host, person, since, until, open, limit } = request.query
        const caller = actingOf(request)
        const filter: LoginFilter = {
          limit,
          ...(person === undefined ? {} : { subject: parseSubjectPrincipal(person, 'person') }),
          ...(since === undefined ? {} : { since: new Date(since) }),
          ...(until === undefined ? {} : { until: new Date(until) }),
          ...(open === undefined ? {} : { open: true }),
        }
        const named = host === undefined ? undefined : parseHostName(host, 'host')
        // Of hosts that are gone nobody knows the place: they are for whoever may read all.
        const isForAll = access.may(caller, { action: 'login.read', in: undefined })
        const mayRead = (): HostName[] =>
          hosts
            .living()
            .flatMap(({ name, place }) => (access.may(caller, { action: 'login.read', in: place }) ? [name] : []))
        const readable = isForAll ? undefined : mayRead()
        const asked = named === undefined ? readable : readable?.includes(named) === false ? [] : [named]
        return { logins: await logins.list({ ...filter, ...(asked === undefined ? {} : { hosts: asked }) }) }
      },
      { takes: () => [{ action: 'login.read', in: 'anywhere' }] },
    ),
    handle(api.hostSelf.reportLogins, async request => {
      const { requestId, from, body } = request
      return { upTo: await logins.report(hostOf(request), body, { requestId, from }) }
    }),
  ]
}
