import type { Identity } from '#server/identity/index.ts'
import { actionWords, allRoutes, api } from '#shared/api/index.ts'
import { byPersonOf } from '../caller.ts'
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

/** Administering for some minutes without a touch for each change. */
export function mandateRoutes({ identity }: { readonly identity: Pick<Identity, 'touches'> }): Handled[] {
  const { touches } = identity
  return [
    handle(api.mandates.begin, request => touches.beginMandate(byPersonOf(request), request.body.lifetime), {
      names: async () => [
        { name: 'Allows', value: 'everything that you may administer but the following, from this session' },
        { name: 'But not', value: [...EXCEPTIONS, 'giving a role, by a grant or a team'].join(', ') },
      ],
    }),
    handle(api.mandates.end, async request => {
      await touches.endMandate(byPersonOf(request))
      return undefined
    }),
  ]
}

const EXCEPTIONS = [
  ...new Set(allRoutes.flatMap(({ action, touch, mandated }) => (touch && !mandated ? [actionWords(action)] : []))),
].sort()
