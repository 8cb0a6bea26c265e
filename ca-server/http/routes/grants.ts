import type { Access, Given, Grant } from '#server/access/index.ts'
import type { Authority } from '#server/authority/index.ts'
import type { Hosts } from '#server/hosts/index.ts'
import type { Identity } from '#server/identity/index.ts'
import type { Queryable } from '#server/store/index.ts'
import type { Workloads } from '#server/workloads/index.ts'
import { api, type Line } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { selects } from '#shared/host-selector.ts'
import {
  isPersonIdentity,
  isWorkloadPrincipal,
  parseHostName,
  parsePersonIdentity,
  parseTeamName,
  type SubjectPrincipal,
  workloadNamed,
} from '#shared/names.ts'
import { actingOf, byOf } from '../caller.ts'
import { type Handled, handle } from '../handle.ts'
import { inForceAnswer } from './in-force.ts'

export type GrantRoutesDeps = {
  readonly identity: Pick<Identity, 'words'>
  readonly hosts: Pick<Hosts, 'words' | 'waitForAll'>
  readonly workloads: Pick<Workloads, 'words'>
  readonly authority: Pick<Authority, 'certificatesEnd'>
  readonly access: Pick<
    Access,
    | 'listGrants'
    | 'addGrant'
    | 'assertMayBeAdded'
    | 'changeGrant'
    | 'removeGrant'
    | 'listTeams'
    | 'changeTeam'
    | 'words'
    | 'takes'
    | 'gives'
    | 'placeOf'
    | 'roles'
    | 'may'
  >
}

/** Grants, the roles that they give, and the teams that they are given to. */
export function grantRoutes({ identity, access, hosts, workloads, authority }: GrantRoutesDeps): Handled[] {
  /** Where these grants have let somebody in, and until when they do where nobody heard that it ended. A role lets nobody in. */
  const told = async (
    query: { readonly wait: number },
    given: readonly Given[],
    whose: () => Promise<readonly SubjectPrincipal[]>,
  ) => {
    const grants = given.filter(grant => grant.kind === 'login')
    if (grants.length === 0) return { hosts: [] }
    const ends = [lastEnd(grants), await authority.certificatesEnd(await whose())].filter(end => end !== undefined)
    const goodUntil = ends.toSorted((a, b) => a.getTime() - b.getTime())[0]
    return inForceAnswer(hosts, query, goodUntil, host => grants.some(grant => selects(grant, host)))
  }
  const holdersOf = async (who: string): Promise<readonly SubjectPrincipal[]> => {
    if (isPersonIdentity(who) || isWorkloadPrincipal(who)) return [who]
    return (await access.listTeams()).find(({ name }) => who === `team:${name}`)?.members ?? []
  }
  const whomIn = async (on: Queryable, who: string): Promise<readonly Line[]> => {
    if (isWorkloadPrincipal(who)) return workloads.words(on, workloadNamed(who))
    const team = /^team:(.*)$/.exec(who)?.[1]
    return team === undefined ? personOrNobody(identity, on, who) : access.words.team(on, parseTeamName(team, 'who'))
  }
  return [
    handle(
      api.grants.list,
      async request => {
        const caller = actingOf(request)
        const mayRead = (grant: Grant) => access.may(caller, { action: 'grant.read', in: access.placeOf(grant) })
        return { grants: (await access.listGrants()).filter(mayRead) }
      },
      { takes: () => [{ action: 'grant.read', in: 'anywhere' }] },
    ),
    handle(api.grants.add, async request => access.addGrant(request.body, byOf(request)), {
      takes: ({ body }) => access.takes.giving(body),
      gives: ({ body }) => access.gives.grant(body),
      async names({ body }, on) {
        await access.assertMayBeAdded(on, body)
        const whom = await whomIn(on, body.who)
        // By its ID too: a removed host's name may be another machine's by now.
        const host = body.kind === 'login' && 'host' in body.hosts ? body.hosts.host : undefined
        const where = host === undefined ? [] : await hosts.words(on, parseHostName(host, 'hosts.host'))
        if (body.kind !== 'role') return [...whom, ...where]
        return [...(await access.words.givenRole(on, body.role)), ...whom]
      },
    }),
    handle(
      api.grants.change,
      async request => {
        const { before, grant } = await access.changeGrant(request.params.id ?? '', request.body, byOf(request))
        return { grant, ...(await told(request.query, [before], () => holdersOf(grant.who))) }
      },
      {
        takes: ({ params, body }) => access.takes.changing(params.id ?? '', body),
        gives: ({ params, body }) => access.gives.changed(params.id ?? '', body),
        names: ({ params, body }, on) => access.words.grant(on, params.id ?? '', body),
      },
    ),
    handle(
      api.grants.remove,
      async request => {
        const grant = await access.removeGrant(request.params.id ?? '', byOf(request))
        // What nobody knows may have let in anybody anywhere.
        if (!grant) return inForceAnswer(hosts, request.query, undefined)
        return told(request.query, [grant], () => holdersOf(grant.who))
      },
      {
        takes: ({ params }) => access.takes.takingAway(params.id ?? ''),
        names: ({ params }, on) => access.words.grant(on, params.id ?? ''),
      },
    ),

    handle(api.roles.list, async () => ({ roles: [...access.roles.list()] }), {
      takes: () => [{ action: 'role.read', in: 'anywhere' }],
    }),
    handle(api.roles.add, request => access.roles.add(request.body, byOf(request))),
    handle(api.roles.change, request => access.roles.change(request.params.name ?? '', request.body, byOf(request)), {
      gives: ({ params, body }) => access.gives.role(params.name ?? '', body),
      names: ({ params, body }, on) => access.words.role(on, params.name ?? '', body),
    }),
    handle(
      api.roles.remove,
      async request => {
        await access.roles.remove(request.params.name ?? '', byOf(request))
        return undefined
      },
      { names: ({ params }, on) => access.words.role(on, params.name ?? '') },
    ),

    handle(api.teams.list, async () => ({ teams: await access.listTeams() })),
    handle(
      api.teams.addMembers,
      async request =>
        access.changeTeam(teamOf(request.params), { add: request.body.persons, remove: [] }, byOf(request)),
      {
        takes: ({ params }) => access.takes.logins(`team:${teamOf(params)}`),
        gives: ({ params }) => access.gives.being(`team:${teamOf(params)}`),
        names: ({ params }, on) => access.words.team(on, teamOf(params)),
      },
    ),
    handle(
      api.teams.removeMembers,
      async request => {
        const { persons } = request.body
        const team = await access.changeTeam(teamOf(request.params), { add: [], remove: persons }, byOf(request))
        const grants = (await access.listGrants()).filter(({ who }) => who === `team:${team.name}`)
        return { ...team, ...(await told(request.query, grants, async () => persons)) }
      },
      { names: ({ params }, on) => access.words.team(on, teamOf(params)) },
    ),
  ]
}

/** `undefined` where one of them has none. */
function lastEnd(grants: readonly Given[]): Date | undefined {
  const ends = grants.map(({ endsAt }) => (endsAt === undefined ? Number.POSITIVE_INFINITY : Date.parse(endsAt)))
  const last = Math.max(...ends)
  return Number.isFinite(last) ? new Date(last) : undefined
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
