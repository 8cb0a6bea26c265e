import { z } from 'zod'
import { ACTION_NAMES } from '../catalogue.ts'
import { finding, hostName, id, login, place, seconds, subject, time } from '../fields.ts'
import { route } from '../route.ts'
import { grantOptions } from './grants.ts'
import { hostState } from './hosts.ts'

const machines = ['machines'] as const

export const decisionAnswer = z.object({
  host: hostName,
  person: subject,
  /** One entry a login that is possible there. */
  allowed: z.array(
    z.object({
      login,
      grant: id,
      via: z.string(),
      maxLifetime: seconds,
      endsAt: time.optional(),
      options: grantOptions,
    }),
  ),
  /** Where nothing is allowed: what is missing, each a sentence. */
  reasons: z.array(z.string()),
  /** What the host is at the moment, for whoever gets in there or administers. */
  hostState: hostState.optional(),
  lastSeenAt: time.optional(),
  /** What the host says is wrong. */
  message: z.string().optional(),
  /** What its own configuration says of these logins, or of everybody. */
  findings: z.array(finding).optional(),
})

/** Of an action: whether by some role, and by which; else what is missing. */
export const actionAnswer = z.object({
  person: subject,
  action: z.string(),
  in: place.optional(),
  allowed: z.boolean(),
  /** `owner on the organisation by alice@example.com`: each role that gives it. */
  roles: z.array(z.string()),
  reasons: z.array(z.string()),
})

export const access = {
  may: route({
    method: 'GET',
    path: '/v1/may',
    listeners: machines,
    caller: 'session',
    action: 'access.ask',
    summary:
      'Whether I may do something that takes a role, and by which; of another person or a workload it takes a role to ask',
    query: z.strictObject({
      action: z.enum(ACTION_NAMES, 'must be an action that keyman role list names'),
      in: place.optional(),
      /** In any place at all. */
      anywhere: z.literal('yes').optional(),
      person: subject.optional(),
    }),
    answer: actionAnswer,
  }),
  why: route({
    method: 'GET',
    path: '/v1/why',
    listeners: machines,
    caller: 'session',
    action: 'access.ask',
    summary: 'As whom I get in to a host, and by which grant; of another person or a workload it takes a role to ask',
    query: z.strictObject({ host: hostName, person: subject.optional() }),
    answer: decisionAnswer,
  }),
}
