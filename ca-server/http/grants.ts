import type { Access } from '#server/access/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { Identity } from '#server/identity/index.ts'
import type { Queryable } from '#server/store/index.ts'
import { api, type Line } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseHostName, parsePersonIdentity, parseTeamName } from '#shared/names.ts'
import { byOf } from './caller.ts'
import { type Handled, handle } from './handle.ts'

export type GrantRoutesDeps = {
  readonly identity: Pick<Identity, 'words'>
  readonly hosts: Pick<Hosts, 'words'>
  readonly access: Pick<Access, 'listGrants' | 'addGrant' | 'removeGrant' | 'listTeams' | 'changeTeam' | 'words'>
}

/** Grants, and the teams that they are given to. */
export function grantRoutes({ identity, access, hosts }: GrantRoutesDeps): Handled[] {
  return [
    handle(api.grants.list, async () => ({ grants: await access.listGrants() })),
    handle(
      api.grants.add,
      async request => access.addGrant(request.body, byOf(request)),
      async ({ body }, on) => {
        const team = /^team:(.*)$/.exec(body.who)?.[1]
        const whom =
          team === undefined
            ? await personOrNobody(identity, on, body.who)
            : await access.words.team(on, parseTeamName(team, 'who'))
        // By its ID too: a removed host's name may be another machine's by now.
        const where = 'host' in body.hosts ? await hosts.words(on, parseHostName(body.hosts.host, 'hosts.host')) : []
        return [...whom, ...where]
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
