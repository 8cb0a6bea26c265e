import { z } from 'zod'
import { finding, hostName, id, login, personIdentity, seconds, time } from '../fields.ts'
import { route } from '../route.ts'
import { grantOptions } from './grants.ts'
import { hostState } from './hosts.ts'

const machines = ['machines'] as const

export const decisionAnswer = z.object({
  host: hostName,
  person: personIdentity,
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

export const access = {
  why: route({
    method: 'GET',
    path: '/v1/why',
    listeners: machines,
    caller: 'person',
    action: 'access.ask',
    summary: 'As whom I get in to a host, and by which grant; of another person only for administrators',
    query: z.strictObject({ host: hostName, person: personIdentity.optional() }),
    answer: decisionAnswer,
  }),
}
