import type { Access } from '#server/access/index.ts'
import { api } from '#shared/api/index.ts'
import { grantText } from '#shared/grant-text.ts'
import { parsePersonIdentity, parseTeamName } from '#shared/names.ts'
import { byOf } from './caller.ts'
import { type Handled, handle } from './handle.ts'

export type GrantRoutesDeps = {
  readonly access: Pick<
    Access,
    'listGrants' | 'addGrant' | 'removeGrant' | 'listTeams' | 'addTeamMember' | 'removeTeamMember'
  >
}

/** Grants, and the teams that they are given to. */
export function grantRoutes({ access }: GrantRoutesDeps): Handled[] {
  return [
    handle(api.grants.list, async () => ({ grants: await access.listGrants() })),
    handle(
      api.grants.add,
      async request => access.addGrant(request.body, byOf(request)),
      ({ body }) => grantText(body),
    ),
    handle(api.grants.remove, async request => {
      await access.removeGrant(request.params.id ?? '', byOf(request))
      return undefined
    }),

    handle(api.teams.list, async () => ({ teams: await access.listTeams() })),
    handle(
      api.teams.addMember,
      async request => access.addTeamMember(...memberOf(request.params), byOf(request)),
      ({ params }) => `${params.identity} into ${params.name}`,
    ),
    handle(
      api.teams.removeMember,
      async request => access.removeTeamMember(...memberOf(request.params), byOf(request)),
      ({ params }) => `${params.identity} out of ${params.name}`,
    ),
  ]
}

const memberOf = (params: Readonly<Record<string, string>>) =>
  [parseTeamName(params.name ?? '', 'name'), parsePersonIdentity(params.identity ?? '', 'identity')] as const
