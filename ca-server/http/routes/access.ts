import type { Access } from '#server/access/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { personOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'

export type AccessRoutesDeps = {
  readonly access: Pick<Access, 'why' | 'whyDo' | 'may'>
  readonly hosts: Pick<Hosts, 'named' | 'show'>
}

/** `keyman why`. */
export function accessRoutes({ access, hosts }: AccessRoutesDeps): Handled[] {
  return [
    handle(api.access.may, async request => {
      const { identity } = personOf(request)
      const { person = identity, action, in: place, anywhere } = request.query
      if (anywhere !== undefined && place !== undefined)
        throw new KeymanError('invalid-input', 'either in one place or anywhere', {
          fields: [{ field: 'anywhere', message: 'not together with in' }],
        })
      const where = anywhere === undefined ? place : 'anywhere'
      const answer = access.whyDo(identity, person, { action, in: where })
      return { person, ...answer, in: place }
    }),
    handle(api.access.why, async request => {
      const caller = personOf(request)
      const { host: asked } = request.query
      const person = request.query.person ?? caller.identity
      const host = hosts.named(asked)
      const name = host?.name ?? asked
      const answer = access.why(caller.identity, person, name, host)
      // Nobody else learns whether there is such a host, nor whose alias a name is.
      if (answer.allowed.length === 0 && !access.may(caller, { action: 'access.explain' }))
        return name === asked ? answer : access.why(caller.identity, person, asked, undefined)
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
