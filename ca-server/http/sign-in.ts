import type { Identity } from '#server/identity/index.ts'
import { api } from '#shared/api/index.ts'
import { type Handled, handle } from './handle.ts'

/** Signing in to the pages. */
export function signInRoutes({ identity }: { readonly identity: Pick<Identity, 'signIns' | 'describe'> }): Handled[] {
  return [
    handle(api.signIn.options, async () => ({ options: await identity.signIns.options() })),
    handle(api.signIn.complete, async request => {
      const { body, requestId, from, cookie } = request
      const signedIn = await identity.signIns.complete(body.assertion, { requestId, from }, cookie)
      request.setCookie(signedIn.cookie)
      return identity.describe(signedIn.caller)
    }),
  ]
}
