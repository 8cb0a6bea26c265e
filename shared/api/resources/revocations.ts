import { z } from 'zod'
import { id, keyId, personIdentity, publicKeyLine, reason, uint64 } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'
import { hostSessions, inForce } from './in-force.ts'

const machines = ['machines'] as const

export const revocation = z.object({
  id,
  revoked: z.int(),
  sessions: z.int(),
  target: z.string(),
  /** `goodUntil`: absent also where a revocation is asked for later. */ ...inForce.shape,
})

export const revocations = {
  create: route({
    method: 'POST',
    path: '/v1/revocations',
    listeners: machines,
    caller: 'person',
    action: 'certificate.revoke',
    touch: true,
    mandated: true,
    status: 201,
    ends: true,
    summary: 'Revoke by person, session, key ID, serial or key; waits for the hosts that are connected',
    body: z.strictObject({
      target: z.union([
        z.strictObject({ person: named('Everything of', personIdentity) }),
        z.strictObject({ session: named('The session', id) }),
        z.strictObject({ keyId: named('The certificates with the key ID', keyId) }),
        z.strictObject({ serial: named('The certificate with the serial', uint64) }),
        z.strictObject({ publicKey: named('The key', publicKeyLine, { how: 'text' }) }),
      ]),
      reason: named('Because', reason.optional(), { how: 'text', absent: 'no reason given' }),
      /** What becomes of open sessions on hosts. */
      hostSessions: named('Open sessions on hosts', hostSessions.optional(), {
        absent: 'end with all of a person, go on otherwise',
      }),
      /** How long to wait for hosts, in seconds; 0 answers at once. */
      wait: named('Seconds to wait for hosts', z.int().min(0).max(30).default(5)),
    }),
    answer: revocation,
  }),
  /** Oneself, without a fresh assertion. */
  own: route({
    method: 'POST',
    path: '/v1/session/revoke-all',
    listeners: machines,
    caller: 'person',
    action: 'own-session.end',
    status: 201,
    ends: true,
    summary: 'End all my own sessions and certificates',
    answer: revocation,
  }),
  status: route({
    method: 'GET',
    path: '/v1/revocations/{id}',
    params: z.object({ id }),
    listeners: machines,
    caller: 'person',
    action: 'revocation.read',
    summary: 'On which hosts a revocation is in force',
    answer: revocation,
  }),
}
