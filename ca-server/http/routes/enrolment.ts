import type { Identity } from '#server/identity/index.ts'
import { api } from '#shared/api/index.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { type Handled, handle } from '../handle.ts'

export type EnrolmentRoutesDeps = {
  readonly config: { readonly organisation: string }
  readonly identity: Pick<Identity, 'enrolment' | 'describe'>
}

/** Becoming a person of this organisation by a link. */
export function enrolmentRoutes({ config, identity }: EnrolmentRoutesDeps): Handled[] {
  const { enrolment } = identity
  return [
    handle(api.enrolment.open, async ({ body }) => {
      const link = await enrolment.open(body.secret)
      return { ...link, organisation: config.organisation, endsAt: link.endsAt.toISOString() }
    }),
    handle(api.enrolment.options, async ({ body }) => ({
      options: await enrolment.options(body.secret, parsePersonIdentity(body.identity, 'identity')),
    })),
    handle(api.enrolment.complete, async request => {
      const { body, requestId, from } = request
      const person = parsePersonIdentity(body.identity, 'identity')
      const signedIn = await enrolment.complete({ ...body, identity: person }, { requestId, from })
      if (signedIn === 'waits') return { person }
      request.setCookie(signedIn.cookie)
      return { person, session: await identity.describe(signedIn.caller) }
    }),
  ]
}
