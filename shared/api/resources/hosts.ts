import { z } from 'zod'
import {
  decimal,
  eachOnce,
  finding,
  hostName,
  labelChanges,
  labels,
  login,
  place,
  secondsUpTo,
  subject,
  time,
} from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'
import { LOGIN_METHODS } from './host-stream.ts'
import { inForce, waits } from './in-force.ts'

const machines = ['machines'] as const

export const hostState = z.enum(['invited', 'connected', 'failed', 'away'])

export const host = z.object({
  name: hostName,
  /** Further names that its certificates carry; absent where there are none. */
  aliases: z.array(hostName).optional(),
  labels,
  /** The project or environment that it is in. */
  in: place.optional(),
  port: z.int().optional(),
  address: z.string().optional(),
  /** `failed`: connected, but what it should have is not in force there, as `message` says. */
  state: hostState,
  revision: z.int(),
  inForce: z.int(),
  lastSeenAt: time.optional(),
  message: z.string().optional(),
  /** What its agent and its sshd said they are when it last connected. */
  agent: z.string().optional(),
  sshd: z.string().optional(),
  /** What its own configuration says beside KeyMan, as its agent found it: who is kept out, and what else lets in. */
  findings: z.array(finding).optional(),
  /** Whether its agent sees who is logged in, tells of it and ends sessions. */
  seesLogins: z.boolean(),
})

const port = z.int().min(1).max(65_535)
const address = z.union([z.ipv4(), z.ipv6(), hostName], { error: 'must be an IP address or an exact DNS name' })
const furtherNames = eachOnce(
  z.array(hostName).min(1, 'must name one').max(16, 'must be at most 16 names'),
  'must name each once',
).optional()

export const newHost = z.strictObject({
  name: named('Host', hostName),
  /** Further names that its certificates carry, such as a CNAME: under the organisation's suffixes, and no other host's. */
  aliases: named('Also called', furtherNames, { absent: 'no other name' }),
  labels: named('With the labels', labels.default({})),
  in: named('In', place.optional(), { absent: 'no project' }),
  port: named('Port', port.default(22)),
  /** Where clients reach it if the name does not resolve. */
  address: named('Reached at', address.optional(), { absent: 'its name' }),
  /** How long the join token is good, in seconds. */
  tokenLifetime: named('The join token is good for', secondsUpTo(7 * 86_400).default(3600), { how: 'duration' }),
})

/** What is left out stays as it is. */
const hostChange = z
  .strictObject({
    labels: named('Labels', labelChanges.optional(), { absent: 'as they are' }),
    /** `null`: in no project. */
    in: named('In', place.nullable().optional(), { absent: 'where it is' }),
    addAliases: named('Called as well', furtherNames, { absent: 'by no new name' }),
    removeAliases: named('Called no more', furtherNames, { absent: 'keeps its names' }),
    /** `null`: its name. */
    address: named('Reached at', address.nullable().optional(), { absent: 'as before' }),
    port: named('Port', port.optional(), { absent: 'as before' }),
  })
  .refine(change => Object.values(change).some(value => value !== undefined), { error: 'must change something' })
  .meta({ minProperties: 1 })

/** Somebody whom the sshd of a host let in, as the host tells it. */
export const hostLogin = z.object({
  host: hostName,
  login,
  /** Where the client called from. */
  address: z.string(),
  port: z.int(),
  openedAt: time,
  /** Absent while the session is open. */
  closedAt: time.optional(),
  /** Whether the host ended it because the server said so. */
  ended: z.boolean(),
  method: z.enum(LOGIN_METHODS),
  /** Whose certificate it was: a person, or a workload's principal. */
  who: subject.optional(),
  keyId: z.string().optional(),
  serial: z.string().optional(),
  /** The name of the authority that signed it; of one that is none of ours its fingerprint. */
  authority: z.string().optional(),
  /** Fingerprint of the key. */
  key: z.string().optional(),
  /** Of a certificate of ours: whether the audit log has the record by which it was signed. */
  recorded: z.boolean().optional(),
})

export const hosts = {
  list: route({
    method: 'GET',
    path: '/v1/hosts',
    listeners: machines,
    caller: 'person',
    action: 'host.read',
    summary: 'All hosts and what is in force on them',
    answer: z.object({ hosts: z.array(host) }),
  }),
  show: route({
    method: 'GET',
    path: '/v1/hosts/{name}',
    params: z.object({ name: hostName }),
    listeners: machines,
    caller: 'person',
    action: 'host.read',
    summary: 'One host',
    answer: host,
  }),
  logins: route({
    method: 'GET',
    path: '/v1/host-logins',
    listeners: machines,
    caller: 'person',
    action: 'login.read',
    summary: 'Who was let in on hosts by their sshd, the newest first, for a year; the audit log has all',
    query: z.strictObject({
      host: hostName.optional(),
      person: subject.optional(),
      since: time.optional(),
      until: time.optional(),
      /** Those alone that are logged in. */
      open: z.literal('true').optional(),
      limit: decimal(1, 1000).default(100),
    }),
    answer: z.object({ logins: z.array(hostLogin) }),
  }),
  add: route({
    method: 'POST',
    path: '/v1/hosts',
    listeners: machines,
    caller: 'person',
    action: 'host.add',
    touch: true,
    mandated: true,
    status: 201,
    summary: 'Name a host and get its join token',
    body: newHost,
    answer: z.object({
      host,
      /** Shown once. */ token: z.string(),
      endsAt: time,
      /** What to type on the host; the token goes in by stdin. */ command: z.string(),
    }),
  }),
  change: route({
    method: 'PATCH',
    path: '/v1/hosts/{name}',
    params: z.object({ name: hostName }),
    listeners: machines,
    caller: 'person',
    action: 'host.change',
    touch: true,
    mandated: true,
    summary: 'Change labels, place, further names, address or port of a host; by labels and place grants choose it',
    query: waits,
    body: hostChange,
    answer: host.extend({
      ...inForce.shape,
      /** Where names were taken from it: until when whoever has not heard of it believes the host by one of them. */
      namesGoodUntil: time.optional(),
    }),
  }),
  remove: route({
    method: 'DELETE',
    path: '/v1/hosts/{name}',
    params: z.object({ name: hostName }),
    listeners: machines,
    caller: 'person',
    action: 'host.remove',
    touch: true,
    mandated: true,
    ends: true,
    summary: 'Take a host out; its certificates are revoked',
    /** Until when whoever has not heard of it believes the host. */ answer: z.object({ goodUntil: time }),
  }),
}
