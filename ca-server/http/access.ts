import type { Access } from '#server/access/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { personOf } from './caller.ts'
import { type Handled, handle } from './handle.ts'

export type AccessRoutesDeps = {
  readonly access: Pick<Access, 'decide' | 'why'>
  readonly hosts: Pick<Hosts, 'find'>
}

/** `keyman why HOST`. */
export function accessRoutes({ access, hosts }: AccessRoutesDeps): Handled[] {
  return [
    handle(api.access.why, async request => {
      const caller = personOf(request)
      const person = request.query.person ?? caller.identity
      const looks = access.decide(caller, { kind: 'look', what: `why ${person} may log in` })
      if (person !== caller.identity && !looks.allow) throw new KeymanError('denied', looks.message)
      const host = hosts.find(request.query.host)
      if (!host)
        throw new KeymanError('not-found', `there is no host ${request.query.host}`, {
          hint: 'see `keyman status` for the hosts that you may log in to',
        })
      // Reasons name what others have, labels among it: they are for administrators (invariant 3).
      const { message, ...why } = access.why(person, host)
      return looks.allow || message === undefined ? why : { ...why, reasons: [message] }
    }),
  ]
}
