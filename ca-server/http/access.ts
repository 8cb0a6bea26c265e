import type { Access } from '#server/access/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import { api } from '#shared/api/index.ts'
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
      const { host: name, person } = request.query
      return access.why(caller.identity, person ?? caller.identity, name, hosts.find(name))
    }),
  ]
}
