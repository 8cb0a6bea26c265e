import { z } from 'zod'
import { id, LONGEST_LINK, personIdentity, secondsUpTo, time } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'
import { hostSessions, inForce, waits } from './in-force.ts'

const machines = ['machines'] as const

export const person = z.object({
  identity: personIdentity,
  owner: z.boolean(),
  state: z.enum(['active', 'disabled']),
  passkeys: z.int(),
  teams: z.array(z.string()),
  createdAt: time,
  lastLoginAt: time.optional(),
  /** Who has reset this owner, where the new passkey waits for the yes of another: `enable`. */
  resetBy: z.string().optional(),
})

export const invitation = z.object({
  id,
  /** For whom; a proposal where an operator named nobody, or empty. */ identity: z.string(),
  owner: z.boolean(),
  /** An identity, `operator` or `server`. */ createdBy: z.string(),
  createdAt: time,
  endsAt: time,
})

export const persons = {
  list: route({
    method: 'GET',
    path: '/v1/persons',
    listeners: machines,
    caller: 'person',
    action: 'person.read',
    summary: 'All persons',
    answer: z.object({ persons: z.array(person) }),
  }),
  show: route({
    method: 'GET',
    path: '/v1/persons/{identity}',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'person',
    action: 'person.read',
    summary: 'One person',
    answer: person,
  }),
  invite: route({
    method: 'POST',
    path: '/v1/invitations',
    listeners: machines,
    caller: 'person',
    action: 'person.invite',
    touch: true,
    status: 201,
    summary: 'Invite a person: a single-use link with an end',
    body: z.strictObject({
      identity: named('Invited', personIdentity),
      owner: named('As owner', z.boolean().default(false)),
      lifetime: named('The link is good for', secondsUpTo(LONGEST_LINK).default(86_400), { how: 'duration' }),
    }),
    /** `login` is the line that the invited person types: server and root fingerprint in one. */
    answer: z.object({ identity: personIdentity, link: z.string(), login: z.string(), endsAt: time }),
  }),
  invitations: route({
    method: 'GET',
    path: '/v1/invitations',
    listeners: machines,
    caller: 'person',
    action: 'invitation.read',
    summary: 'Links that somebody could still use: invitations, and those that an operator made',
    answer: z.object({ invitations: z.array(invitation) }),
  }),
  uninvite: route({
    method: 'DELETE',
    path: '/v1/invitations/{id}',
    params: z.object({ id }),
    listeners: machines,
    caller: 'person',
    action: 'invitation.remove',
    touch: true,
    status: 204,
    ends: true,
    summary: 'End a link before it is used',
  }),
  disable: route({
    method: 'POST',
    path: '/v1/persons/{identity}/disable',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'person',
    action: 'person.disable',
    touch: true,
    ends: true,
    summary: 'End everything of a person and forbid signing in',
    query: waits.extend({ hostSessions: named('Open sessions on hosts', hostSessions.default('end')) }),
    answer: person.extend(inForce.shape),
  }),
  enable: route({
    method: 'POST',
    path: '/v1/persons/{identity}/enable',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'person',
    action: 'person.enable',
    touch: true,
    summary: 'Let a disabled person sign in again; of an owner who was reset, the yes to the new passkey',
    answer: person,
  }),
  change: route({
    method: 'PATCH',
    path: '/v1/persons/{identity}',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'person',
    action: 'owner.change',
    touch: true,
    summary: 'Make a person an owner, or no owner any more',
    body: z.strictObject({ owner: named('Owner', z.boolean()) }),
    answer: person,
  }),
  reset: route({
    method: 'POST',
    path: '/v1/persons/{identity}/reset',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'person',
    action: 'person.reset',
    touch: true,
    status: 201,
    summary: 'End everything of a person who has lost the passkeys, and make a link for a new one',
    query: waits,
    body: z.strictObject({
      removePasskeys: named('Remove the passkeys of today', z.boolean().default(false)),
      lifetime: named('The link is good for', secondsUpTo(LONGEST_LINK).default(86_400), { how: 'duration' }),
    }),
    answer: z.object({
      identity: personIdentity,
      owner: z.boolean(),
      /** Whether another owner has to say yes to the new passkey: `enable`. */ waits: z.boolean(),
      link: z.string(),
      login: z.string(),
      endsAt: time,
      ...inForce.shape,
    }),
  }),
}
