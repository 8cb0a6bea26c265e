import { z } from 'zod'
import { id, personIdentity, time } from '../fields.ts'
import { route } from '../route.ts'
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
