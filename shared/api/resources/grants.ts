import { z } from 'zod'
import { isAddressRange } from '../../ip-address.ts'
import { isNamePattern } from '../../tls-names/index.ts'
import { isBuiltInRole, lettingIn, ORGANISATION_ROLES, PLACE_ROLES, ROLES } from '../catalogue.ts'
import { hostSelector, id, login, place, roleName, seconds, secondsUpTo, time, who } from '../fields.ts'
import { route } from '../route.ts'
import { named } from '../words.ts'
import { inForce, waits } from './in-force.ts'

const machines = ['machines'] as const

const NO_RANGE = {
  error: 'must be an address, or a network such as 10.0.0.0/8 with no bit behind its prefix',
  abort: true,
}

/** Of a network the pattern says less than the check: that no bit is behind the prefix. */
const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'

const RANGE_PATTERN = {
  anyOf: [
    { format: 'ipv4' },
    { format: 'ipv6' },
    { pattern: `^${OCTET}(\\.${OCTET}){3}/(3[0-2]|[12]?[0-9])$` },
    { pattern: z.regexes.cidrv6.source },
  ],
  description: 'An address, or a network with no bit behind its prefix',
}

const NO_COMMAND = { error: 'must be 1 to 500 characters of printable ASCII without ", \\ and #', abort: true }

const sourceAddress = z
  .array(z.string().max(64, NO_RANGE).refine(isAddressRange, NO_RANGE).meta(RANGE_PATTERN))
  .min(1, 'must be at least one address or network')
  .max(32, 'must be at most 32 addresses and networks')
const forceCommand = z
  .string()
  .min(1, NO_COMMAND)
  .max(500, NO_COMMAND)
  .regex(/^[\x20\x21\x24-\x5b\x5d-\x7e]+$/, NO_COMMAND)

/** What a grant lets a session do beyond a shell. Agent forwarding is off unless a grant gives it (CVE-2023-38408). */
export const grantOptions = z.strictObject({
  pty: named('With a terminal', z.boolean().default(true)),
  portForwarding: named('With port forwarding', z.boolean().default(true)),
  agentForwarding: named('With agent forwarding', z.boolean().default(false)),
  x11Forwarding: named('With X11 forwarding', z.boolean().default(false)),
  /** Addresses or CIDR ranges that the login may come from. */
  sourceAddress: named('From', sourceAddress.optional(), { absent: 'any address' }),
  /** The one command that runs. Refused are quotes, backslashes, control characters and `#`, at which sshd cuts the line that this goes into. */
  forceCommand: named('Command', forceCommand.optional(), { how: 'text', absent: 'any' }),
})

const ends = named('The grant ends', time.optional(), { absent: 'never' })

/** A login on hosts. */
const newLoginGrant = z.strictObject({
  kind: named('Gives', z.literal('login').default('login')),
  who: named('To', who),
  login: named('Login', login),
  hosts: hostSelector,
  /** seconds, of one certificate */
  maxLifetime: named('A certificate lives at most', secondsUpTo(7 * 86_400).default(8 * 3600), { how: 'duration' }),
  /** When the grant itself ends. */ endsAt: ends,
  options: grantOptions.prefault({}),
})

/** One that is built in, or an own one of the organisation: which of these there are says the server. */
const role = roleName
  .refine(name => name !== 'owner', {
    error: 'must be a role that a grant gives: an owner is made by keyman person change',
  })
  .meta({ not: { const: 'owner' } })
const isOfOrganisation = (name: string): boolean => ORGANISATION_ROLES.some(role => role === name)
/** A role is of the organisation or of a place: one that is given for the other would say nothing. Of an own one the server knows. */
const fitsIts = ({ role, in: where }: { readonly role: string; readonly in?: string | undefined }): boolean =>
  !isBuiltInRole(role) || isOfOrganisation(role) === (where === undefined)
const MISPLACED = {
  path: ['role'],
  error: `${ORGANISATION_ROLES.join(', ')} are roles of the organisation; ${PLACE_ROLES.join(', ')} of a project or environment, which in names`,
}

const letsNobodyIn = ({ who, role }: { readonly who: string; readonly role: string }): boolean =>
  !(who.startsWith('workload:') && isBuiltInRole(role) && lettingIn(ROLES[role]).length > 0)
const NOT_FOR_WORKLOADS = {
  path: ['role'],
  error: 'it lets others in, which takes a touch of a passkey: no workload gets it',
}

/** What somebody may do: a role, which is a list of actions (`catalogue.ts`). */
const newRoleGrant = z
  .strictObject({
    kind: named('Gives', z.literal('role')),
    who: named('To', who),
    role: named('Role', role),
    in: named('In', place.optional(), { absent: 'the whole organisation' }),
    endsAt: ends,
  })
  .refine(fitsIts, MISPLACED)
  .refine(letsNobodyIn, NOT_FOR_WORKLOADS)

export const newGrant = z.discriminatedUnion('kind', [newLoginGrant, newRoleGrant], {
  error: 'must be login or role',
})

/** What is left out stays as it is; `null` takes it off. */
export const grantChange = z
  .strictObject({
    endsAt: named('The grant ends', time.nullable().optional(), { absent: 'as before' }),
    maxLifetime: named('A certificate lives at most', secondsUpTo(7 * 86_400).optional(), {
      how: 'duration',
      absent: 'as before',
    }),
    options: z
      .strictObject({
        pty: named('With a terminal', z.boolean().optional(), { absent: 'as before' }),
        portForwarding: named('With port forwarding', z.boolean().optional(), { absent: 'as before' }),
        agentForwarding: named('With agent forwarding', z.boolean().optional(), { absent: 'as before' }),
        x11Forwarding: named('With X11 forwarding', z.boolean().optional(), { absent: 'as before' }),
        sourceAddress: named('From', sourceAddress.nullable().optional(), { absent: 'as before' }),
        forceCommand: named('Command', forceCommand.nullable().optional(), { how: 'text', absent: 'as before' }),
      })
      .optional(),
  })
  .refine(change => Object.values(change).some(value => value !== undefined), { error: 'must change something' })
  .meta({ minProperties: 1 })

/** Of TLS certificates. `both`: one certificate for both ends of a connection, or for one. */
export const tlsProfile = z.enum(['server', 'client', 'both'])

const IN_ORDER = { error: 'must be in the order of its characters, and each once' }
/** In their one spelling and one order, so that two grants which give the same are the same. */
export const namePatterns = z
  .array(z.string().max(2048).refine(isNamePattern, { error: 'must be a pattern of names, in its one spelling' }))
  .min(1, 'must be at least one pattern of names')
  .max(100, 'must be at most 100 patterns of names')
  .refine(all => all.every((pattern, i) => i === 0 || pattern > (all[i - 1] ?? '')), IN_ORDER)

const made = { id, createdAt: time, createdBy: z.string() }
export const grant = z.discriminatedUnion('kind', [
  z.object({
    ...made,
    kind: z.literal('login').default('login'),
    who,
    login,
    hosts: hostSelector,
    maxLifetime: seconds,
    endsAt: time.optional(),
    options: grantOptions,
  }),
  z
    .object({
      ...made,
      kind: z.literal('role'),
      who,
      role,
      in: place.optional(),
      endsAt: time.optional(),
    })
    .refine(fitsIts, MISPLACED),
  // Decided by already (`ca-server/access/tls-names.ts`), and given by nobody yet: there is no authority for services.
  z.object({
    ...made,
    kind: z.literal('names'),
    who,
    /** What its certificates may be for. */ profile: tlsProfile,
    names: namePatterns,
    /** Whether a certificate may have a wildcard that the patterns cover. */ wildcards: z.boolean(),
    /** seconds, of one certificate */ maxLifetime: seconds,
    in: place.optional(),
    endsAt: time.optional(),
  }),
])

export const grants = {
  list: route({
    method: 'GET',
    path: '/v1/grants',
    listeners: machines,
    caller: 'person',
    action: 'grant.read',
    summary: 'All grants',
    answer: z.object({ grants: z.array(grant) }),
  }),
  add: route({
    method: 'POST',
    path: '/v1/grants',
    listeners: machines,
    caller: 'person',
    action: 'grant.add',
    touch: true,
    mandated: true,
    status: 201,
    summary: 'Give a person or team a login on hosts, or a role',
    body: newGrant,
    answer: grant,
  }),
  change: route({
    method: 'PATCH',
    path: '/v1/grants/{id}',
    params: z.object({ id }),
    listeners: machines,
    caller: 'person',
    action: 'grant.change',
    touch: true,
    mandated: true,
    summary: 'Change the limits or the end of a grant; hosts hear of it at once',
    query: waits,
    body: grantChange,
    answer: z.object({ grant, ...inForce.shape }),
  }),
  remove: route({
    method: 'DELETE',
    path: '/v1/grants/{id}',
    params: z.object({ id }),
    listeners: machines,
    caller: 'person',
    action: 'grant.remove',
    touch: true,
    mandated: true,
    ends: true,
    summary: 'Take a grant away; hosts hear of it at once',
    query: waits,
    answer: inForce,
  }),
}
