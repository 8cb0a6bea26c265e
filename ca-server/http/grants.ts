import type { Access } from '#server/access/index.ts'
import type { Identity } from '#server/identity/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { api, type Line } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parsePersonIdentity, parseTeamName } from '#shared/names.ts'
import { byOf } from './caller.ts'
import { type Handled, handle } from './handle.ts'

export type GrantRoutesDeps = {
  readonly identity: Pick<Identity, 'words'>
  readonly access: Pick<Access, 'listGrants' | 'addGrant' | 'removeGrant' | 'listTeams' | 'changeTeam' | 'words'>
}

/** Grants, and the teams that they are given to. */
export function grantRoutes({ identity, access }: GrantRoutesDeps): Handled[] {
  return [
    handle(api.grants.list, async () => ({ grants: await access.listGrants() })),
    handle(
      api.grants.add,
      async request => access.addGrant(request.body, byOf(request)),
      ({ body: { who } }, on) => {
        const team = /^team:(.*)$/.exec(who)?.[1]
        return team === undefined
          ? personOrNobody(identity, on, who)
          : access.words.team(on, parseTeamName(team, 'who'))
      },
    ),
    handle(
      api.grants.remove,
      async request => {
        await access.removeGrant(request.params.id ?? '', byOf(request))
        return undefined
      },
      ({ params }, on) => access.words.grant(on, params.id ?? ''),
    ),

    handle(api.teams.list, async () => ({ teams: await access.listTeams() })),
    handle(
      api.teams.addMembers,
      async request =>
        access.changeTeam(teamOf(request.params), { add: request.body.persons, remove: [] }, byOf(request)),
      ({ params }, on) => access.words.team(on, teamOf(params)),
    ),
    handle(
      api.teams.removeMembers,
      async request =>
        access.changeTeam(teamOf(request.params), { add: [], remove: request.body.persons }, byOf(request)),
      ({ params }, on) => access.words.team(on, teamOf(params)),
    ),
  ]
}

const teamOf = (params: Readonly<Record<string, string>>) => parseTeamName(params.name ?? '', 'name')

/** A grant may come before its person does. */
async function personOrNobody(identity: Pick<Identity, 'words'>, on: Queryable, who: string): Promise<Line[]> {
  try {
    return await identity.words.person(on, parsePersonIdentity(who, 'who'))
  } catch (error) {
    if (error instanceof KeymanError && error.code === 'not-found')
      return [{ name: `Who ${who} is`, value: 'nobody who has been here yet' }]
    throw error
  }
}
