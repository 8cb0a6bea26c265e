import type { Authority } from '#server/authority/index.ts'
import type { BrowserCaller, Identity } from '#server/identity/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { byOf, personOf } from './caller.ts'
import { type ApiRequest, type Handled, handle } from './handle.ts'

/** One's own passkeys. */
export function passkeyRoutes({
  identity,
  authority,
}: {
  readonly identity: Pick<Identity, 'passkeys'>
  readonly authority: Pick<Authority, 'revokeSessionsIn'>
}): Handled[] {
  const { passkeys } = identity
  return [
    handle(api.passkeys.list, async request => ({ passkeys: await passkeys.list(personOf(request).identity) })),
    handle(
      api.passkeys.addOptions,
      async request => ({ options: await passkeys.addOptions(browserOf(request)) }),
      ownPasskeys,
    ),
    handle(
      api.passkeys.add,
      request => {
        const { body, requestId, from } = request
        return passkeys.add(browserOf(request), body, { requestId, from })
      },
      ownPasskeys,
    ),
    handle(api.passkeys.rename, request => {
      const { params, body, requestId, from } = request
      return passkeys.rename(personOf(request), params.id ?? '', body.name, { requestId, from })
    }),
    handle(api.passkeys.remove, async request => {
      const { params, requestId, from } = request
      const by = byOf(request)
      await passkeys.remove(personOf(request), params.id ?? '', { requestId, from }, (t, sessions) =>
        authority.revokeSessionsIn(t, sessions, by),
      )
      return undefined
    }),
  ]
}

/** What adding a passkey is done to. */
const ownPasskeys = (request: ApiRequest<unknown, unknown>): string => personOf(request).identity

function browserOf(request: ApiRequest<unknown, unknown>): BrowserCaller {
  const person = personOf(request)
  if (person.via === 'browser') return person
  throw new KeymanError('denied', 'this is for a browser that is signed in')
}
