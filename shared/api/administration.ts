import { z } from 'zod'
import { RECORD_KINDS, STATE_KINDS } from '../audit/index.ts'
import { isAddressRange } from '../ip-address.ts'
import {
  armoredSignature,
  decimal,
  finding,
  hostName,
  hostSelector,
  INT4_MAX,
  id,
  int8,
  keyId,
  labels,
  login,
  personIdentity,
  publicKeyLine,
  reason,
  seconds,
  secondsUpTo,
  teamName,
  time,
  uint64,
  who,
} from './fields.ts'
import { route } from './route.ts'
import { named } from './words.ts'

const machines = ['machines'] as const

export const hostInForce = z.object({
  name: hostName,
  state: z.enum(['in-force', 'waiting', 'failed', 'away']),
  revision: z.int(),
  message: z.string().optional(),
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
/** How long to wait for hosts, in seconds; 0 answers at once. */
export const waits = z.strictObject({ wait: named('Seconds to wait for hosts', decimal(0, 30).default(0)) })

export const person = z.object({
  identity: personIdentity,
  administrator: z.boolean(),
  state: z.enum(['active', 'disabled']),
  passkeys: z.int(),
  teams: z.array(z.string()),
  createdAt: time,
  lastLoginAt: time.optional(),
  /** Who has reset this administrator, where the new passkey waits for the yes of another: `enable`. */
  resetBy: z.string().optional(),
})
export const invitation = z.object({
  id,
  /** For whom; a proposal where an operator named nobody, or empty. */ identity: z.string(),
  administrator: z.boolean(),
  /** An identity, `operator` or `server`. */ createdBy: z.string(),
  createdAt: time,
  endsAt: time,
})
export const persons = {
  list: route({
    method: 'GET',
    path: '/v1/persons',
    listeners: machines,
    caller: 'administrator',
    summary: 'All persons',
    answer: z.object({ persons: z.array(person) }),
  }),
  show: route({
    method: 'GET',
    path: '/v1/persons/{identity}',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'administrator',
    summary: 'One person',
    answer: person,
  }),
  invite: route({
    method: 'POST',
    path: '/v1/invitations',
    listeners: machines,
    caller: 'administrator',
    action: 'person invite',
    status: 201,
    summary: 'Invite a person: a single-use link with an end',
    body: z.strictObject({
      identity: named('Invited', personIdentity),
      administrator: named('As administrator', z.boolean().default(false)),
      lifetime: named('The link is good for', secondsUpTo(30 * 86_400).default(86_400), { how: 'duration' }),
    }),
    /** `login` is the line that the invited person types: server and root fingerprint in one. */
    answer: z.object({ identity: personIdentity, link: z.string(), login: z.string(), endsAt: time }),
  }),
  invitations: route({
    method: 'GET',
    path: '/v1/invitations',
    listeners: machines,
    caller: 'administrator',
    summary: 'Links that somebody could still use: invitations, and those that an operator made',
    answer: z.object({ invitations: z.array(invitation) }),
  }),
  uninvite: route({
    method: 'DELETE',
    path: '/v1/invitations/{id}',
    params: z.object({ id }),
    listeners: machines,
    caller: 'administrator',
    action: 'invitation remove',
    status: 204,
    ends: true,
    summary: 'End a link before it is used',
  }),
  disable: route({
    method: 'POST',
    path: '/v1/persons/{identity}/disable',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'administrator',
    action: 'person disable',
    ends: true,
    summary: 'End everything of a person and forbid signing in',
    query: waits,
    answer: person.extend(inForce.shape),
  }),
  enable: route({
    method: 'POST',
    path: '/v1/persons/{identity}/enable',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'administrator',
    action: 'person enable',
    summary: 'Let a disabled person sign in again; of an administrator who was reset, the yes to the new passkey',
    answer: person,
  }),
  change: route({
    method: 'PATCH',
    path: '/v1/persons/{identity}',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'administrator',
    action: 'person change',
    summary: 'Make a person an administrator, or no administrator any more',
    body: z.strictObject({ administrator: named('Administrator', z.boolean()) }),
    answer: person,
  }),
  reset: route({
    method: 'POST',
    path: '/v1/persons/{identity}/reset',
    params: z.object({ identity: personIdentity }),
    listeners: machines,
    caller: 'administrator',
    action: 'person reset',
    status: 201,
    summary: 'End everything of a person who has lost the passkeys, and make a link for a new one',
    query: waits,
    body: z.strictObject({
      removePasskeys: named('Remove the passkeys of today', z.boolean().default(false)),
      lifetime: named('The link is good for', secondsUpTo(30 * 86_400).default(86_400), { how: 'duration' }),
    }),
    answer: z.object({
      identity: personIdentity,
      administrator: z.boolean(),
      /** Whether another administrator has to say yes to the new passkey: `enable`. */ waits: z.boolean(),
      link: z.string(),
      login: z.string(),
      endsAt: time,
      ...inForce.shape,
    }),
  }),
}

const someone = z.array(personIdentity).min(1, 'must name a person').max(200, 'must be at most 200 persons')
export const team = z.object({ name: teamName, members: z.array(personIdentity) })
export const teams = {
  list: route({
    method: 'GET',
    path: '/v1/teams',
    listeners: machines,
    caller: 'administrator',
    summary: 'All teams',
    answer: z.object({ teams: z.array(team) }),
  }),
  addMembers: route({
    method: 'POST',
    path: '/v1/teams/{name}/members',
    params: z.object({ name: teamName }),
    listeners: machines,
    caller: 'administrator',
    action: 'team add',
    mandated: true,
    summary: 'Put persons into a team, all at once; the team is made if it is new',
    body: z.strictObject({ persons: named('Put in', someone) }),
    answer: team,
  }),
  removeMembers: route({
    method: 'POST',
    path: '/v1/teams/{name}/members/remove',
    params: z.object({ name: teamName }),
    listeners: machines,
    caller: 'administrator',
    action: 'team remove',
    mandated: true,
    ends: true,
    summary: 'Take persons out of a team, all at once',
    query: waits,
    body: z.strictObject({ persons: named('Take out', someone) }),
    answer: team.extend(inForce.shape),
  }),
}

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

/** What a grant lets a session do beyond a shell. Agent forwarding is off unless a grant gives it (CVE-2023-38408). */
export const grantOptions = z.strictObject({
  pty: named('With a terminal', z.boolean().default(true)),
  portForwarding: named('With port forwarding', z.boolean().default(true)),
  agentForwarding: named('With agent forwarding', z.boolean().default(false)),
  x11Forwarding: named('With X11 forwarding', z.boolean().default(false)),
  /** Addresses or CIDR ranges that the login may come from. */
  sourceAddress: named(
    'From',
    z
      .array(z.string().max(64, NO_RANGE).refine(isAddressRange, NO_RANGE).meta(RANGE_PATTERN))
      .min(1, 'must be at least one address or network')
      .max(32, 'must be at most 32 addresses and networks')
      .optional(),
    { absent: 'any address' },
  ),
  /** The one command that runs. Refused are quotes, backslashes, control characters and `#`, at which sshd cuts the line that this goes into. */
  forceCommand: named(
    'Command',
    z
      .string()
      .min(1, NO_COMMAND)
      .max(500, NO_COMMAND)
      .regex(/^[\x20\x21\x24-\x5b\x5d-\x7e]+$/, NO_COMMAND)
      .optional(),
    { how: 'text', absent: 'any' },
  ),
})
export const newGrant = z.strictObject({
  who: named('To', who),
  login: named('Login', login),
  hosts: hostSelector,
  /** seconds, of one certificate */
  maxLifetime: named('A certificate lives at most', secondsUpTo(7 * 86_400).default(8 * 3600), { how: 'duration' }),
  /** When the grant itself ends. */ endsAt: named('The grant ends', time.optional(), { absent: 'never' }),
  options: grantOptions.prefault({}),
})
export const grant = z.object({
  id,
  who,
  login,
  hosts: hostSelector,
  maxLifetime: seconds,
  endsAt: time.optional(),
  options: grantOptions,
  createdAt: time,
  createdBy: z.string(),
})
export const grants = {
  list: route({
    method: 'GET',
    path: '/v1/grants',
    listeners: machines,
    caller: 'administrator',
    summary: 'All grants',
    answer: z.object({ grants: z.array(grant) }),
  }),
  add: route({
    method: 'POST',
    path: '/v1/grants',
    listeners: machines,
    caller: 'administrator',
    action: 'grant add',
    mandated: true,
    status: 201,
    summary: 'Give a person or team a login on hosts',
    body: newGrant,
    answer: grant,
  }),
  remove: route({
    method: 'DELETE',
    path: '/v1/grants/{id}',
    params: z.object({ id }),
    listeners: machines,
    caller: 'administrator',
    action: 'grant remove',
    mandated: true,
    ends: true,
    summary: 'Take a grant away; hosts hear of it at once',
    query: waits,
    answer: inForce,
  }),
}

const hostState = z.enum(['invited', 'connected', 'failed', 'away'])

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
    summary: 'As whom I get in to a host, and by which grant; of another person only for administrators',
    query: z.strictObject({ host: hostName, person: personIdentity.optional() }),
    answer: decisionAnswer,
  }),
}

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
    caller: 'administrator',
    action: 'revoke',
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
    caller: 'administrator',
    summary: 'On which hosts a revocation is in force',
    answer: revocation,
  }),
}

export const host = z.object({
  name: hostName,
  /** Further names that its certificates carry; absent where there are none. */
  aliases: z.array(hostName).optional(),
  labels,
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
})
export const newHost = z.strictObject({
  name: named('Host', hostName),
  /** Further names that its certificates carry, such as a CNAME: under the organisation's suffixes, and no other host's. */
  aliases: named(
    'Also called',
    z
      .array(hostName)
      .min(1, 'must name one')
      .max(16, 'must be at most 16 names')
      .meta({ uniqueItems: true })
      .optional(),
    {
      absent: 'no other name',
    },
  ),
  labels: named('With the labels', labels.default({})),
  port: named('Port', z.int().min(1).max(65_535).default(22)),
  /** Where clients reach it if the name does not resolve. */
  address: named(
    'Reached at',
    z.union([z.ipv4(), z.ipv6(), hostName], { error: 'must be an IP address or an exact DNS name' }).optional(),
    { absent: 'its name' },
  ),
  /** How long the join token is good, in seconds. */
  tokenLifetime: named('The join token is good for', secondsUpTo(7 * 86_400).default(3600), { how: 'duration' }),
})
export const hosts = {
  list: route({
    method: 'GET',
    path: '/v1/hosts',
    listeners: machines,
    caller: 'administrator',
    summary: 'All hosts and what is in force on them',
    answer: z.object({ hosts: z.array(host) }),
  }),
  show: route({
    method: 'GET',
    path: '/v1/hosts/{name}',
    params: z.object({ name: hostName }),
    listeners: machines,
    caller: 'administrator',
    summary: 'One host',
    answer: host,
  }),
  add: route({
    method: 'POST',
    path: '/v1/hosts',
    listeners: machines,
    caller: 'administrator',
    action: 'host add',
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
  remove: route({
    method: 'DELETE',
    path: '/v1/hosts/{name}',
    params: z.object({ name: hostName }),
    listeners: machines,
    caller: 'administrator',
    action: 'host remove',
    mandated: true,
    ends: true,
    summary: 'Take a host out; its certificates are revoked',
    /** Until when whoever has not heard of it believes the host. */ answer: z.object({ goodUntil: time }),
  }),
}

/** What somebody asks for who works through a series of changes: see `mandated` in `route.ts`. */
export const mandate = z.object({ id, endsAt: time })
export const mandates = {
  begin: route({
    method: 'POST',
    path: '/v1/mandates',
    listeners: machines,
    caller: 'administrator',
    action: 'admin',
    status: 201,
    summary:
      'Administer from this session without a touch for each change, for some minutes; some things want one all the same',
    body: z.strictObject({ lifetime: named('For', secondsUpTo(3600), { how: 'duration' }) }),
    answer: mandate,
  }),
  end: route({
    method: 'DELETE',
    path: '/v1/mandates',
    listeners: machines,
    caller: 'person',
    status: 204,
    ends: true,
    summary: 'End that before its time',
  }),
}

export const auditRecord = z.object({
  index: z.string(),
  /** The record's exact bytes, canonical JSON: the leaf of the tree. */ record: z.string(),
  leafHash: z.string(),
})
export const stateRow = z.object({
  id: z.string(),
  /** Canonical JSON of what the row says, in what matters; a record names it by its SHA-256. */ row: z.string(),
})
export const auditTrail = {
  list: route({
    method: 'GET',
    path: '/v1/audit/records',
    listeners: machines,
    caller: 'administrator',
    summary: 'Records in order, at most 1,000 at a time',
    query: z.strictObject({
      from: int8.optional(),
      before: int8.optional(),
      limit: decimal(1, 1000).default(100),
      kind: z.enum(RECORD_KINDS, `must be one of ${RECORD_KINDS.join(', ')}`).optional(),
      actor: z
        .string()
        .max(128)
        .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')
        .optional(),
      since: time.optional(),
      until: time.optional(),
      /** What the record names: who did it, on whom it was done, or otherwise. */
      person: personIdentity.optional(),
      host: hostName.optional(),
    }),
    answer: z.object({ records: z.array(auditRecord) }),
  }),
  show: route({
    method: 'GET',
    path: '/v1/audit/records/{index}',
    params: z.object({ index: int8 }),
    listeners: machines,
    caller: 'administrator',
    summary: 'One record with its inclusion proof under the newest checkpoint',
    answer: auditRecord.extend({ checkpoint: z.string(), proof: z.array(z.string()) }),
  }),
  checkpoint: route({
    method: 'GET',
    path: '/v1/audit/checkpoint',
    listeners: machines,
    caller: 'person',
    summary: 'The newest signed tree head, C2SP tlog-checkpoint',
    answer: z.object({ checkpoint: z.string() }),
  }),
  consistency: route({
    method: 'GET',
    path: '/v1/audit/consistency',
    listeners: machines,
    caller: 'person',
    summary: 'Proof that the tree of one size is the beginning of another',
    query: z.strictObject({ from: int8, to: int8 }),
    answer: z.object({ proof: z.array(z.string()) }),
  }),
  state: route({
    method: 'GET',
    path: '/v1/audit/state',
    listeners: machines,
    caller: 'administrator',
    summary:
      'Rows of one table as the records name them, in order, to be held against the log; none left: an empty page',
    query: z.strictObject({
      kind: z.enum(STATE_KINDS, `must be one of ${STATE_KINDS.join(', ')}`),
      /** The last ID of the page before. */
      after: z
        .string()
        .max(300)
        .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')
        .optional(),
      limit: decimal(1, 1000).default(1000),
    }),
    answer: z.object({ rows: z.array(stateRow) }),
  }),
  krl: route({
    method: 'GET',
    path: '/v1/audit/krl',
    listeners: machines,
    caller: 'administrator',
    summary: 'What hosts refuse by: the revocation list (KRL) of the newest version, and its signature by the log key',
    answer: z.object({ base64: z.string(), signature: z.string() }),
  }),
}

/** The document is bounded so that a body of 64 kB has room for signatures, too; the body's own limit holds for all of it. */
export const signedBundle = z.object({
  /** The exact text that was signed. */ document: named('Document', z.string().max(40_000), { how: 'digest' }),
  signatures: named('Signatures', z.array(armoredSignature).max(16), { how: 'digest' }),
})
export const trust = {
  show: route({
    method: 'GET',
    path: '/v1/trust',
    listeners: machines,
    caller: 'anyone',
    summary: 'The signed trust bundle, and those before it that changed the root, oldest first',
    query: z.strictObject({ after: decimal(0, INT4_MAX).optional() }),
    answer: z.object({ bundles: z.array(signedBundle) }),
  }),
  next: route({
    method: 'POST',
    path: '/v1/trust/next',
    listeners: machines,
    caller: 'administrator',
    summary: 'The next document to be signed: what the server now holds, with the roots given or those of today',
    body: z.strictObject({
      roots: z
        .strictObject({ threshold: z.int().min(1).max(16), keys: z.array(publicKeyLine).min(1).max(16) })
        .optional(),
    }),
    answer: z.object({ document: z.string() }),
  }),
  publish: route({
    method: 'POST',
    path: '/v1/trust',
    listeners: machines,
    caller: 'administrator',
    action: 'trust publish',
    status: 201,
    summary: 'Publish a document that the roots of today have signed',
    body: signedBundle,
    answer: z.object({ version: z.int() }),
  }),
}
