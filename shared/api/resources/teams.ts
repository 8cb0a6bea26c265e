import { z } from 'zod'
import { personIdentity, teamName } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'
import { inForce, waits } from './in-force.ts'

const machines = ['machines'] as const

const someone = z.array(personIdentity).min(1, 'must name a person').max(200, 'must be at most 200 persons')

export const team = z.object({ name: teamName, members: z.array(personIdentity) })

export const teams = {
  list: route({
    method: 'GET',
    path: '/v1/teams',
    listeners: machines,
    caller: 'person',
    action: 'team.read',
    summary: 'All teams',
    answer: z.object({ teams: z.array(team) }),
  }),
  addMembers: route({
    method: 'POST',
    path: '/v1/teams/{name}/members',
    params: z.object({ name: teamName }),
    listeners: machines,
    caller: 'person',
    action: 'team.add',
    touch: true,
    mandated: true,
    summary: 'Put persons into a team, all at once; the team is made if it is new',
    body: z.strictObject({ persons: named('Put in', someone) }),
    answer: team,
  }),
  removeMembers: route({
    method: 'POST',
    path: '/v1/teams/{name}/members/remove',
    params: z.object({ name: teamName }),
    listeners: machines,
    caller: 'person',
    action: 'team.remove',
    touch: true,
    mandated: true,
    ends: true,
    summary: 'Take persons out of a team, all at once',
    query: waits,
    body: z.strictObject({ persons: named('Take out', someone) }),
    answer: team.extend(inForce.shape),
  }),
}
