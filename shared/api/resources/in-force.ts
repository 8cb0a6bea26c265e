import { z } from 'zod'
import { decimal, finding, hostName, time } from '../fields.ts'
import { named } from '../words.ts'

export const hostInForce = z.object({
  name: hostName,
  state: z.enum(['in-force', 'waiting', 'failed', 'away']),
  revision: z.int(),
  message: z.string().optional(),
  /** Whether its agent sees who is logged in: else open sessions go on. */
  seesLogins: z.boolean(),
  /** How many open sessions it has ended; absent where none were to end. */
  sessionsEnded: z.int().optional(),
  /** What lets in there beside KeyMan: nothing that is ended here ends it. */
  findings: z.array(finding).optional(),
})

/** What whoever ends or narrows access is told. */
export const inForce = z.object({
  /** On which hosts it is in force, of those that it concerns, at the moment of the answer. */
  hosts: z.array(hostInForce),
  /** Until when what was given before is good where it is not; absent where no such time is known: it is renewed, say. */
  goodUntil: time.optional(),
})

/** What becomes of sessions on hosts that are open by what is ended. */
export const hostSessions = z.enum(['end', 'keep'])

/** How long to wait for hosts, in seconds; 0 answers at once. */
export const waits = z.strictObject({ wait: named('Seconds to wait for hosts', decimal(0, 30).default(0)) })
