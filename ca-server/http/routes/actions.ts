import type { Identity } from '#server/identity/index.ts'
import { api } from '#shared/api/index.ts'
import { type Handled, handle } from '../handle.ts'

/** Step-up: a fresh touch of a passkey for one session. */
export function actionRoutes({ identity }: { readonly identity: Pick<Identity, 'actions'> }): Handled[] {
  const { actions } = identity
  return [
    handle(api.actions.show, ({ params }) => actions.show(params.transaction ?? '')),
    handle(api.actions.options, async ({ params }) => ({ options: await actions.options(params.transaction ?? '') })),
    handle(api.actions.confirm, async request => {
      const { params, body, requestId, from, cookie } = request
      const confirmed = await actions.confirm(params.transaction ?? '', body.assertion, { requestId, from }, cookie)
      if (confirmed.cookie !== undefined) request.setCookie(confirmed.cookie)
      return confirmed.transaction
    }),
    handle(api.actions.refuse, ({ params }) => actions.refuse(params.transaction ?? '')),
  ]
}
