import type { Access } from '#server/access/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import { api } from '#shared/api/index.ts'
import { personOf } from './caller.ts'
import { type Handled, handle } from './handle.ts'

export type AccessRoutesDeps = {
  readonly access: Pick<Access, 'why'>
  readonly hosts: Pick<Hosts, 'find' | 'show'>
}

/** `keyman why HOST`. */
export function accessRoutes({ access, hosts }: AccessRoutesDeps): Handled[] {
  return [
    handle(api.access.why, async request => {
      const caller = personOf(request)
      const { host: name, person } = request.query
      const answer = access.why(caller.identity, person ?? caller.identity, name, hosts.find(name))
      // Nobody else learns whether there is such a host.
      if (answer.allowed.length === 0 && !caller.administrator) return answer
      const { state, lastSeenAt, message } = await hosts.show(name)
      return {
        ...answer,
        hostState: state,
        ...(lastSeenAt === undefined ? {} : { lastSeenAt }),
        ...(message === undefined ? {} : { message }),
      }
    }),
  ]
}
