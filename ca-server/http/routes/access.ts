import type { Access } from '#server/access/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import { principalOf } from '#server/identity/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { actingOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'

export type AccessRoutesDeps = {
  readonly access: Pick<Access, 'why' | 'whyDo' | 'may'>
  readonly hosts: Pick<Hosts, 'named' | 'show'>
}

/** `keyman why`. */
export function accessRoutes({ access, hosts }: AccessRoutesDeps): Handled[] {
  return [
    handle(api.access.may, async request => {
      const asker = principalOf(actingOf(request))
      const { person = asker, action, in: place, anywhere } = request.query
      if (anywhere !== undefined && place !== undefined)
        throw new KeymanError('invalid-input', 'either in one place or anywhere', {
          fields: [{ field: 'anywhere', message: 'not together with in' }],
        })
      const where = anywhere === undefined ? place : 'anywhere'
      const answer = access.whyDo(asker, person, { action, in: where })
      return { person, ...answer, in: place }
    }),
    handle(api.access.why, async request => {
      const caller = actingOf(request)
      const asker = principalOf(caller)
      const { host: asked, person = asker } = request.query
      const host = hosts.named(asked)
      const name = host?.name ?? asked
      const answer = access.why(asker, person, name, host)
      // Nobody else learns whether there is such a host, nor whose alias a name is.
      if (answer.allowed.length === 0 && !access.may(caller, { action: 'access.explain' }))
        return name === asked ? answer : access.why(asker, person, asked, undefined)
      const { state, lastSeenAt, message, findings = [] } = await hosts.show(name)
      const logins = new Set<string>(answer.allowed.map(({ login }) => login))
      // What else lets in is for whoever may read the host: `host show`.
      const ofThese = findings.filter(
        ({ about, login }) => about === 'narrows' && (login === undefined || logins.has(login)),
      )
      return {
        ...answer,
        hostState: state,
        ...(lastSeenAt === undefined ? {} : { lastSeenAt }),
        ...(message === undefined ? {} : { message }),
        ...(ofThese.length === 0 ? {} : { findings: ofThese }),
      }
    }),
  ]
}
