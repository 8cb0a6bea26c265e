import { z } from 'zod'
import { id, personIdentity, time } from '../fields.ts'
import { route } from '../route.ts'
import { waits } from './in-force.ts'
import { revocation } from './revocations.ts'
import { clientCertificateAnswer, reachableHost, revokedHosts } from './ssh.ts'

export const sessionAnswer = z.object({
  person: personIdentity,
  session: id,
  owner: z.boolean(),
  startedAt: time,
  endsAt: time,
  assertedAt: time,
  passkeys: z.int(),
  organisation: z.string(),
  device: z.string(),
})

export const session = {
  show: route({
    method: 'GET',
    path: '/v1/session',
    listeners: ['machines', 'pages'],
    caller: 'person',
    action: 'own-session.read',
    summary: 'Who the server takes me for',
    answer: sessionAnswer,
  }),
  end: route({
    method: 'DELETE',
    path: '/v1/session',
    listeners: ['machines', 'pages'],
    caller: 'person',
    action: 'own-session.end',
    status: 204,
    ends: true,
    summary: 'Log out: end this session and revoke its certificates',
  }),
  renewClientCertificate: route({
    method: 'POST',
    path: '/v1/session/client-certificate',
    listeners: ['machines'],
    caller: 'person',
    action: 'own-session.renew',
    cost: 10,
    summary: "A new client certificate for this session's key",
    answer: clientCertificateAnswer,
  }),
  hosts: route({
    method: 'GET',
    path: '/v1/session/hosts',
    listeners: ['machines'],
    caller: 'session',
    action: 'own-hosts.read',
    summary: 'The hosts that I may log in to',
    answer: z.object({ hosts: z.array(reachableHost), revokedHosts: revokedHosts.optional() }),
  }),
}

/** A session that is open: of a machine that has signed in, or of a browser. */
const openSession = z.object({
  id,
  person: personIdentity,
  kind: z.enum(['machine', 'browser']),
  /** As the machine calls itself; `browser` of one. */
  device: z.string(),
  /** The address it began from; absent of sessions that began before it was kept. */
  from: z.string().optional(),
  startedAt: time,
  endsAt: time,
  /** Of a machine the newest certificate that it got, of a browser a request, to some minutes. */
  lastUsedAt: time,
  /** What proved the person: the passkey that was touched last in this session; absent where it was removed since. */
  passkey: z.object({ id, name: z.string() }).optional(),
  /** Whether it is the one that asks. */
  current: z.boolean(),
})

export const sessions = {
  list: route({
    method: 'GET',
    path: '/v1/sessions',
    listeners: ['pages', 'machines'],
    caller: 'person',
    action: 'own-session.read',
    summary: 'My open sessions; those of another person, or of everybody, it takes a role to see',
    query: z.strictObject({ person: personIdentity.optional(), everybody: z.literal('yes').optional() }),
    answer: z.object({
      sessions: z.array(openSession),
      /** Whether there are more than five hundred, of which the oldest are left out. */ more: z.boolean(),
    }),
  }),
  /** Another person's is ended by `revocations.create`. */
  end: route({
    method: 'DELETE',
    path: '/v1/sessions/{id}',
    params: z.object({ id }),
    listeners: ['pages', 'machines'],
    caller: 'person',
    action: 'own-session.end',
    ends: true,
    summary: 'End one of my own sessions, with its certificates',
    query: waits,
    answer: revocation,
  }),
}
