import type { Access } from '#server/access/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { personOf } from './caller.ts'
import { type Handled, handle } from './handle.ts'

export type AccessRoutesDeps = {
  readonly access: Pick<Access, 'why'>
  readonly hosts: Pick<Hosts, 'find'>
}

/** `keyman why HOST`. */
export function accessRoutes({ access, hosts }: AccessRoutesDeps): Handled[] {
  return [
    handle(api.access.why, async request => {
      const caller = personOf(request)
      const host = hosts.find(request.query.host)
      if (!host)
        throw new KeymanError('not-found', `there is no host ${request.query.host}`, {
          hint: 'see `keyman status` for the hosts that you may log in to',
        })
      return access.why(caller.identity, request.query.person ?? caller.identity, host)
    }),
  ]
}
