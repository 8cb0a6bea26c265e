import { labelsText } from '#shared/grant-text.ts'
import { selects } from '#shared/host-selector.ts'
import { workloadPrincipal } from '#shared/names.ts'
import { deny, describe } from './describe.ts'
import type {
  Action,
  AllowedLogin,
  CertificateAction,
  CertificateLimits,
  Decision,
  Deny,
  Extension,
  HostCertificateAction,
  HostCertificateLimits,
  LoginAction,
  LoginGrant,
  LoginLimits,
  NamedSubject,
  NoLimits,
  RoleAction,
  Subject,
  TlsCertificateAction,
  TlsCertificateLimits,
} from './port.ts'
import { lastsText, missing, rolesOf, roleText, wantText } from './roles.ts'
import { epochsOf, type Holder, liveGrantsOf, type Snapshot } from './snapshot.ts'
import { tlsCertificate } from './tls-names.ts'

/** Pure: may they. Everything that no rule below allows is denied, with reasons that an administrator can read. */

const HOST_CERTIFICATE_LIFETIME = 30 * 86_400

export function decide(
  snapshot: Snapshot,
  now: Date,
  subject: Subject,
  action: CertificateAction,
): Decision<CertificateLimits>
export function decide(snapshot: Snapshot, now: Date, subject: Subject, action: LoginAction): Decision<LoginLimits>
export function decide(
  snapshot: Snapshot,
  now: Date,
  subject: Subject,
  action: HostCertificateAction,
): Decision<HostCertificateLimits>
export function decide(snapshot: Snapshot, now: Date, subject: Subject, action: RoleAction): Decision<NoLimits>
export function decide(
  snapshot: Snapshot,
  now: Date,
  subject: Subject,
  action: TlsCertificateAction,
): Decision<TlsCertificateLimits>
export function decide(snapshot: Snapshot, now: Date, subject: Subject, action: Action): Decision
export function decide(snapshot: Snapshot, now: Date, subject: Subject, action: Action): Decision {
  if (action.kind === 'ssh-host-certificate') return hostCertificate(subject)
  if (subject.kind === 'host') return deny('a host may do nothing else but keep its own certificates')
  const holder = holderOf(snapshot, subject)
  if ('allow' in holder) return holder
  switch (action.kind) {
    case 'ssh-certificate':
      return certificate(snapshot, now, holder, action)
    case 'ssh-login':
      return login(snapshot, now, holder, action)
    case 'do':
      return byRole(snapshot, now, holder, action)
    case 'tls-certificate':
      return tlsCertificate(snapshot, now, holder, action)
    default:
      return deny('this action is not known')
  }
}

/** Who that is, if they may do anything at all. */
export function holderOf(snapshot: Snapshot, subject: NamedSubject): Holder | Deny {
  if (subject.kind === 'workload') {
    const workload = snapshot.workloads.get(workloadPrincipal(subject.name))
    return workload ?? deny(`${subject.name} is no workload of this organisation`, 'you are not known here')
  }
  const person = snapshot.persons.get(subject.identity)
  if (!person) return deny(`${subject.identity} is no person of this organisation`, 'you are not known here')
  return person.state === 'active' ? person : deny(`${subject.identity} is disabled`)
}

/** One certificate serves all hosts: the shortest maximum of all grants, and whatever any of them lets a session do. */
function certificate(
  snapshot: Snapshot,
  now: Date,
  holder: Holder,
  action: CertificateAction,
): Decision<CertificateLimits> {
  const grants = liveGrantsOf(snapshot, holder, now)
  const [first] = grants
  if (!first)
    return deny(
      `no grant gives ${holder.identity}${holder.teams.length > 0 ? ` or team ${holder.teams.join(', ')}` : ''} a login on any host`,
      'no grant gives you a login on any host',
    )
  const shortest = grants.reduce((a, b) => (b.maxLifetime < a.maxLifetime ? b : a), first)
  const asked = action.lifetime
  if (asked !== undefined && !(Number.isSafeInteger(asked) && asked > 0))
    return deny('a lifetime must be a whole number of seconds above 0')
  const narrowed = asked !== undefined && asked < shortest.maxLifetime
  const endsAt = latestEnd(grants)
  return {
    allow: true,
    limits: {
      principals: [holder.identity],
      maxLifetime: narrowed ? asked : shortest.maxLifetime,
      ...(narrowed ? {} : { limitedBy: describe(shortest) }),
      ...(endsAt === undefined ? {} : { endsAt }),
      extensions: EXTENSIONS.filter(([, gives]) => grants.some(gives)).map(([extension]) => extension),
    },
    epochs: epochsOf(holder),
  }
}

/** In the order of their names, as a certificate has them. */
const EXTENSIONS: readonly (readonly [Extension, (grant: LoginGrant) => boolean])[] = [
  ['permit-X11-forwarding', grant => grant.options.x11Forwarding],
  ['permit-agent-forwarding', grant => grant.options.agentForwarding],
  ['permit-port-forwarding', grant => grant.options.portForwarding],
  ['permit-pty', grant => grant.options.pty],
]

/** `undefined` where one of them has no end. Each host holds the end of the grant that it applies by itself. */
function latestEnd(grants: readonly LoginGrant[]): Date | undefined {
  let latest = 0
  for (const grant of grants) {
    if (grant.endsAt === undefined) return undefined
    latest = Math.max(latest, Date.parse(grant.endsAt))
  }
  return new Date(latest)
}

function login(snapshot: Snapshot, now: Date, holder: Holder, action: LoginAction): Decision<LoginLimits> {
  const grants = liveGrantsOf(snapshot, holder, now)
  const here = grants.filter(grant => selects(grant, action.host))
  const logins = here
    .filter(grant => action.login === undefined || grant.login === action.login)
    .map(allowedLogin)
    .sort((a, b) => (a.login < b.login ? -1 : a.login > b.login ? 1 : a.grant < b.grant ? -1 : 1))
  if (logins.length > 0)
    return {
      allow: true,
      limits: { logins },
      epochs: epochsOf(holder),
    }
  const { name, labels, place } = action.host
  const reasons = [
    here.length > 0
      ? `no grant gives ${holder.identity} the login ${action.login} on ${name}, only ${[...new Set(here.map(g => g.login))].join(', ')}`
      : `no grant gives ${holder.identity} a login on ${name}, ${place === undefined ? '' : `which is in ${place} and `}whose labels are ${labelsText(labels).replaceAll(',', ', ') || 'none'}`,
  ]
  if (here.length === 0 && grants.length > 0)
    reasons.push(`the grants of ${holder.identity} are for other hosts: ${grants.slice(0, 8).map(describe).join('; ')}`)
  return {
    allow: false,
    reasons,
    message: `no grant gives you ${action.login === undefined ? 'a' : 'this'} login on ${name}`,
  }
}

const allowedLogin = (grant: LoginGrant): AllowedLogin => ({
  login: grant.login,
  grant: grant.id,
  via: grant.who,
  maxLifetime: grant.maxLifetime,
  ...(grant.endsAt === undefined ? {} : { endsAt: grant.endsAt }),
  options: grant.options,
})

function byRole(snapshot: Snapshot, now: Date, holder: Holder, { wants }: RoleAction): Decision<NoLimits> {
  const held = rolesOf(snapshot, holder, now)
  const want = missing(held, wants)
  if (want === undefined) return { allow: true, limits: {}, epochs: epochsOf(holder) }
  const has = held.length === 0 ? 'no role' : `only the roles ${held.map(roleText).join(', ')}`
  return deny(
    `${holder.identity} has ${has}: none gives ${wantText(want)}`,
    // Not where: that something is there, and in which place, is for whoever may read it.
    `this takes a role that you do not have: ${want.action}${lastsText(want.until)}`,
  )
}

/** A host gets a certificate for its own exact name and its aliases. That it exists, and holds this key, is what made it a caller. */
function hostCertificate(subject: Subject): Decision<HostCertificateLimits> {
  if (subject.kind !== 'host') return deny('only a host gets a host certificate')
  return {
    allow: true,
    limits: { principals: [subject.name, ...(subject.aliases ?? [])], maxLifetime: HOST_CERTIFICATE_LIFETIME },
    epochs: [],
  }
}
