import type { Access } from '#server/access/index.ts'
import type { Authority } from '#server/authority/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { Identity, OpenSession } from '#server/identity/index.ts'
import type { Logins } from '#server/logins/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { byOf, byPersonOf, ownSession, personOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'
import { revocationAnswer } from './revocations.ts'

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

export type SessionsRoutesDeps = {
  readonly identity: Pick<Identity, 'sessions'>
  readonly authority: Pick<Authority, 'revoke'>
  readonly access: Pick<Access, 'reachableBy' | 'may'>
  readonly hosts: Pick<Hosts, 'waitForKrl' | 'find'>
  readonly logins: Pick<Logins, 'endedBy'>
}

/** Which sessions are open, and ending one. */
export function sessionsRoutes({ identity, authority, access, hosts, logins }: SessionsRoutesDeps): Handled[] {
  return [
    handle(
      api.sessions.list,
      async request => {
        const caller = personOf(request)
        const { person = caller.identity, everybody } = request.query
        if (everybody !== undefined && request.query.person !== undefined)
          throw new KeymanError('invalid-input', 'either one person or everybody', {
            fields: [{ field: 'person', message: 'not together with everybody' }],
          })
        const found = await identity.sessions.list(everybody === undefined ? person : undefined)
        return { sessions: found.sessions.map(session => view(session, caller.session)), more: found.more }
      },
      {
        takes(request) {
          const { person, everybody } = request.query
          const isOwn = everybody === undefined && (person ?? personOf(request).identity) === personOf(request).identity
          return isOwn ? [] : [{ action: 'session.read' }]
        },
      },
    ),
    handle(api.sessions.end, async request => {
      const caller = personOf(request)
      const id = request.params.id ?? ''
      const session = id === caller.session ? ownSession(caller) : await identity.sessions.find(id, caller.identity)
      const ended = await authority.revoke({ session }, 'by the person', byOf(request))
      return revocationAnswer({ hosts, logins }, ended, request.query.wait, { access, caller })
    }),
  ]
}

const view = ({ startedAt, endsAt, lastUsedAt, ...session }: OpenSession, current: string) => ({
  ...session,
  startedAt: startedAt.toISOString(),
  endsAt: endsAt.toISOString(),
  lastUsedAt: lastUsedAt.toISOString(),
  current: session.id === current,
})
