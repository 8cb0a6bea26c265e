import type { Access } from '#server/access/index.ts'
import type { Authority } from '#server/authority/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { BrowserCaller, Identity } from '#server/identity/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { byPersonOf, personOf } from '../caller.ts'
import { type ApiRequest, type Handled, handle } from '../handle.ts'
import { inForceAnswer, mayHearOf, toldTo } from './in-force.ts'

/** One's own passkeys. */
export function passkeyRoutes({
  identity,
  authority,
  access,
  hosts,
}: {
  readonly identity: Pick<Identity, 'passkeys' | 'words'>
  readonly authority: Pick<Authority, 'revokeSessionsIn'>
  readonly access: Pick<Access, 'reachableBy' | 'may'>
  readonly hosts: Pick<Hosts, 'waitForAll' | 'find'>
}): Handled[] {
  const { passkeys, words } = identity
  const named = (request: ApiRequest<unknown, unknown>, on: Queryable) =>
    words.passkey(on, personOf(request).identity, request.params.id ?? '')
  return [
    handle(api.passkeys.list, async request => ({ passkeys: await passkeys.list(personOf(request).identity) })),
    handle(api.passkeys.addOptions, async request => ({ options: await passkeys.addOptions(browserOf(request)) })),
    handle(api.passkeys.add, request => passkeys.add(byPersonOf(request), request.body)),
    handle(
      api.passkeys.rename,
      request => passkeys.rename(byPersonOf(request), request.params.id ?? '', request.body.name),
      { names: named },
    ),
    handle(
      api.passkeys.remove,
      async request => {
        const by = byPersonOf(request)
        let goodUntil: Date | undefined
        await passkeys.remove(by, request.params.id ?? '', async (t, sessions) => {
          const revoked = await authority.revokeSessionsIn(t, sessions, by)
          goodUntil = revoked.goodUntil
          return revoked.entries
        })
        const caller = personOf(request)
        const answer = await inForceAnswer(hosts, request.query, goodUntil, mayHearOf(access, caller))
        return { ...answer, hosts: toldTo(access, caller, hosts, answer.hosts) }
      },
      { names: named },
    ),
  ]
}

function browserOf(request: ApiRequest<unknown, unknown>): BrowserCaller {
  const person = personOf(request)
  if (person.via === 'browser') return person
  throw new KeymanError('denied', 'this is for a browser that is signed in')
}
