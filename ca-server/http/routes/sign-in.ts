import type { Identity } from '#server/identity/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { type Handled, handle } from '../handle.ts'

/** Signing in to the pages. */
export function signInRoutes({
  identity,
}: {
  readonly identity: Pick<Identity, 'signIns' | 'describe' | 'callerFromCookie'>
}): Handled[] {
  return [
    handle(api.signIn.show, async ({ cookie }) => ({
      isSignedIn: cookie !== undefined && (await isGood(identity, cookie)),
    })),
    handle(api.signIn.options, async () => ({ options: await identity.signIns.options() })),
    handle(api.signIn.complete, async request => {
      const { body, requestId, from, cookie } = request
      const signedIn = await identity.signIns.complete(body.assertion, { requestId, from }, cookie)
      request.setCookie(signedIn.cookie)
      return identity.describe(signedIn.caller)
    }),
  ]
}

async function isGood(identity: Pick<Identity, 'callerFromCookie'>, cookie: string): Promise<boolean> {
  try {
    await identity.callerFromCookie(cookie)
    return true
  } catch (error) {
    if (error instanceof KeymanError && error.code === 'not-signed-in') return false
    throw error
  }
}
