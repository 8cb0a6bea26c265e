import type { Authority } from '#server/authority/index.ts'
import type { Identity } from '#server/identity/index.ts'
import { api } from '#shared/api/index.ts'
import { byOf, byPersonOf, ownSession, personOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'

export type SessionRoutesDeps = {
  readonly identity: Pick<Identity, 'describe' | 'signIns'>
  readonly authority: Pick<Authority, 'revoke'>
}

/** One's own session. */
export function sessionRoutes({ identity, authority }: SessionRoutesDeps): Handled[] {
  return [
    handle(api.session.show, request => identity.describe(personOf(request))),
    handle(api.session.end, async request => {
      const caller = personOf(request)
      if (caller.via === 'machine') {
        await authority.revoke({ session: ownSession(caller) }, 'logged out', byOf(request))
        return undefined
      }
      await identity.signIns.end(byPersonOf(request))
      request.setCookie(undefined)
      return undefined
    }),
  ]
}
