import { z } from 'zod'
import { base64, id, place, publicKeyLine, reason, secondsUpTo, secret, time, workloadName } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'
import { inForce, waits } from './in-force.ts'
import { proof } from './login.ts'
import { certificateAnswer, clientCertificateAnswer, reachableHost, revokedHosts } from './ssh.ts'

/**
 * Workloads: named machine identities of a project or an environment. Who has a workload's token, which is good once, proves two keys and
 * gets its session: an SSH key for as long as that lasts, and a client key that is replaced at each renewal. A key that was
 * replaced is no key any more: whoever comes with one has a copy, and the session ends.
 */

const machines = ['machines'] as const
const ofWorkload = z.object({ name: workloadName })

/** `invited`: nobody has come with its token yet; `ended`: it has no session any more, as `ended` says. */
export const workloadState = z.enum(['invited', 'active', 'ended'])

export const workload = z.object({
  name: workloadName,
  in: place,
  /** seconds, after which a session ends that was not renewed */ idle: z.int(),
  /** seconds, after which a session ends in any case */ lifetime: z.int(),
  state: workloadState,
  createdAt: time,
  createdBy: z.string(),
  /** Of its session: when it came with its token, and when it was renewed last, from which address. */
  joinedAt: time.optional(),
  renewedAt: time.optional(),
  from: z.string().optional(),
  /** When it ends in any case, and when it ends unless it is renewed before. */
  endsAt: time.optional(),
  idleEndsAt: time.optional(),
  /** Why its last session has ended. */
  ended: z.string().optional(),
})

const idle = secondsUpTo(90 * 86_400)
const lifetime = secondsUpTo(400 * 86_400)
const tokenLifetime = named('Its token is good for', secondsUpTo(7 * 86_400).default(3600), { how: 'duration' })

export const newWorkload = z.strictObject({
  name: named('Workload', workloadName),
  idle: named('Its session ends when it is not renewed for', idle.default(7 * 86_400), { how: 'duration' }),
  lifetime: named('Its session lasts at most', lifetime.default(90 * 86_400), { how: 'duration' }),
  tokenLifetime,
})

/** What is left out stays as it is; what changes holds for the session that there is, too. */
export const workloadChange = z
  .strictObject({
    idle: named('Its session ends when it is not renewed for', idle.optional(), {
      how: 'duration',
      absent: 'as before',
    }),
    lifetime: named('Its session lasts at most', lifetime.optional(), { how: 'duration', absent: 'as before' }),
  })
  .refine(change => Object.values(change).some(value => value !== undefined), { error: 'must change something' })
  .meta({ minProperties: 1 })

const tokenAnswer = z.object({
  workload,
  /** Shown once. */ token: z.string(),
  endsAt: time,
  /** What to type where the workload runs; the token goes in by stdin. */ command: z.string(),
})

export const ended = z.object({
  /** How many SSH certificates were revoked. */ revoked: z.int(),
  ...inForce.shape,
})

/** What a workload is told of its own session. */
export const workloadSession = z.object({
  workload: workloadName,
  session: id,
  organisation: z.string(),
  startedAt: time,
  /** In any case; unless it is renewed it ends with its client certificate. */ endsAt: time,
})

export const workloadLogin = z.object({
  session: workloadSession,
  /** Absent where no grant gives it a login on any host; `denial` says why. */
  ssh: certificateAnswer.optional(),
  denial: z.string().optional(),
  client: clientCertificateAnswer,
  hosts: z.array(reachableHost),
  revokedHosts: revokedHosts.optional(),
})

export const workloads = {
  list: route({
    method: 'GET',
    path: '/v1/workloads',
    listeners: machines,
    caller: 'person',
    action: 'workload.read',
    summary: 'All workloads',
    answer: z.object({ workloads: z.array(workload) }),
  }),
  show: route({
    method: 'GET',
    path: '/v1/workloads/{name}',
    params: ofWorkload,
    listeners: machines,
    caller: 'person',
    action: 'workload.read',
    summary: 'One workload',
    answer: workload,
  }),
  add: route({
    method: 'POST',
    path: '/v1/workloads',
    listeners: machines,
    caller: 'person',
    action: 'workload.add',
    touch: true,
    mandated: true,
    status: 201,
    summary: 'Name a workload and get its token',
    body: newWorkload,
    answer: tokenAnswer,
  }),
  change: route({
    method: 'PATCH',
    path: '/v1/workloads/{name}',
    params: ofWorkload,
    listeners: machines,
    caller: 'person',
    action: 'workload.change',
    touch: true,
    mandated: true,
    summary: 'Change how long the session of a workload lasts',
    body: workloadChange,
    answer: workload,
  }),
  token: route({
    method: 'POST',
    path: '/v1/workloads/{name}/tokens',
    params: ofWorkload,
    listeners: machines,
    caller: 'person',
    action: 'workload.token',
    touch: true,
    status: 201,
    summary: 'A new token: whoever comes with it becomes the workload, and the session that there is ends',
    body: z.strictObject({ tokenLifetime }),
    answer: tokenAnswer,
  }),
  end: route({
    method: 'DELETE',
    path: '/v1/workloads/{name}/session',
    params: ofWorkload,
    listeners: machines,
    caller: 'person',
    action: 'workload.end',
    touch: true,
    mandated: true,
    ends: true,
    summary: 'End the session of a workload, its tokens and its certificates; it stays, and so do its grants',
    query: waits.extend({ reason: named('Because', reason.optional(), { how: 'text', absent: 'no reason given' }) }),
    answer: ended,
  }),
  remove: route({
    method: 'DELETE',
    path: '/v1/workloads/{name}',
    params: ofWorkload,
    listeners: machines,
    caller: 'person',
    action: 'workload.remove',
    touch: true,
    mandated: true,
    ends: true,
    summary: 'Take a workload away that no grant names any more; its session ends, its certificates are revoked',
    query: waits,
    answer: ended,
  }),
}

/** What a workload does for itself. */
export const workloadSelf = {
  join: route({
    method: 'POST',
    path: '/v1/workloads/join',
    listeners: machines,
    caller: 'anyone',
    action: 'workload.join',
    status: 201,
    summary: 'Begin the session of a workload with its token, once (purpose `workload`)',
    body: z.strictObject({ token: secret, sshPublicKey: publicKeyLine, clientPublicKey: base64, proof }),
    answer: workloadLogin,
  }),
  show: route({
    method: 'GET',
    path: '/v1/workload',
    listeners: machines,
    caller: 'workload',
    action: 'own-workload.read',
    summary: 'Which workload the server takes me for',
    answer: workloadSession,
  }),
  renew: route({
    method: 'POST',
    path: '/v1/workload/renewal',
    listeners: machines,
    caller: 'workload',
    action: 'own-workload.renew',
    cost: 10,
    summary:
      "New certificates: for a new client key, which takes the place of the one that asks, and for the session's SSH key (purpose `workload`)",
    body: z.strictObject({ clientPublicKey: base64, proof }),
    answer: workloadLogin,
  }),
  end: route({
    method: 'DELETE',
    path: '/v1/workload',
    listeners: machines,
    caller: 'workload',
    action: 'own-workload.end',
    status: 204,
    ends: true,
    summary: 'End this session and revoke its certificates',
  }),
}
