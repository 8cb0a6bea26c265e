import { formatDuration } from './durations.ts'

/** What a grant gives beside login and hosts, as `shared/api` has it. */
export type GrantOptionsInWords = {
  readonly pty: boolean
  readonly portForwarding: boolean
  readonly agentForwarding: boolean
  readonly x11Forwarding: boolean
  readonly sourceAddress?: readonly string[] | undefined
  readonly forceCommand?: string | undefined
}

type Labels = Readonly<Record<string, string>>
/** As `shared/api` has it. */
export type HostsInWords =
  | { readonly host: string }
  | { readonly labels: Labels }
  | { readonly in: string; readonly labels?: Labels | undefined }

export const labelsText = (labels: Labels): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')

/** `env=prod,team=sre`, or the one host, or `payments/prod`, or `payments/prod with team=sre`. */
export function hostsText(hosts: HostsInWords): string {
  if ('host' in hosts) return hosts.host
  if (!('in' in hosts)) return labelsText(hosts.labels)
  return hosts.labels ? `${hosts.in} with ${labelsText(hosts.labels)}` : hosts.in
}

/** Where a role holds. */
export const scopeText = (where: string | undefined): string => where ?? 'the organisation'

/** What a role is given for, as `shared/api` has it. */
export const roleScopeText = (of: 'organisation' | 'place'): string =>
  of === 'place' ? 'a project or environment' : 'the organisation'

/** What differs from an ordinary shell; empty where nothing does. */
export function optionsText(options: GrantOptionsInWords): string {
  const parts = [
    options.agentForwarding ? 'with agent forwarding' : '',
    options.x11Forwarding ? 'with X11 forwarding' : '',
    options.pty ? '' : 'without a terminal',
    options.portForwarding ? '' : 'without port forwarding',
    options.sourceAddress ? `from ${options.sourceAddress.join(' ')} alone` : '',
    options.forceCommand === undefined ? '' : `for the command "${options.forceCommand}" alone`,
  ]
  return parts.filter(part => part !== '').join(', ')
}

/**
 * The whole of a grant in words, for the page on which somebody touches a passkey for it: what it leaves out could be slipped
 * in under that touch. `endsAt` as it came, RFC 3339.
 */
export function grantText(grant: GrantInWords): string {
  const parts = [
    `${grant.who} ${givesText(grant)}`,
    grant.endsAt === undefined ? '' : `until ${grant.endsAt}`,
    grant.kind === 'login' ? optionsText(grant.options) : '',
  ]
  return parts.filter(part => part !== '').join(', ')
}

/** What it gives, and where; `as deploy on env=prod for at most 8h`, `the role operator on the organisation`. */
function givesText(grant: GrantInWords): string {
  if (grant.kind === 'role') return `the role ${grant.role} on ${scopeText(grant.in)}`
  if (grant.kind === 'names') return namesText(grant)
  return `as ${grant.login} on ${hostsText(grant.hosts)} for at most ${formatDuration(grant.maxLifetime)}`
}

/** `the names *.example.com, with wildcards, for server certificates on payments/prod for at most 90d`. */
export function namesText({ names, wildcards, profile, in: where, maxLifetime }: NamesInWords): string {
  const how = `${wildcards ? ', with wildcards,' : ''} for ${PROFILE_TEXT[profile]} certificates`
  return `the names ${names.join(' ')}${how} on ${scopeText(where)} for at most ${formatDuration(maxLifetime)}`
}

export const PROFILE_TEXT = { server: 'server', client: 'client', both: 'server and client' } as const

/** As `shared/api` has it. */
type NamesInWords = {
  readonly names: readonly string[]
  readonly wildcards: boolean
  readonly profile: keyof typeof PROFILE_TEXT
  readonly in?: string | undefined
  readonly maxLifetime: number
}

type GrantInWords = { readonly who: string; readonly endsAt?: string | undefined } & (
  | {
      readonly kind: 'login'
      readonly login: string
      readonly hosts: HostsInWords
      readonly maxLifetime: number
      readonly options: GrantOptionsInWords
    }
  | { readonly kind: 'role'; readonly role: string; readonly in?: string | undefined }
  | ({ readonly kind: 'names' } & NamesInWords)
)
