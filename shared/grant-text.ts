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

/** `env=prod,team=sre`, or the one host. */
export const hostsText = (
  hosts: { readonly host: string } | { readonly labels: Readonly<Record<string, string>> },
): string =>
  'host' in hosts
    ? hosts.host
    : Object.entries(hosts.labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(',')

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
export function grantText(grant: {
  readonly who: string
  readonly login: string
  readonly hosts: { readonly host: string } | { readonly labels: Readonly<Record<string, string>> }
  readonly maxLifetime: number
  readonly endsAt?: string | undefined
  readonly options: GrantOptionsInWords
}): string {
  const { who, login, hosts, maxLifetime, endsAt, options } = grant
  const parts = [
    `${who} as ${login} on ${hostsText(hosts)} for at most ${formatDuration(maxLifetime)}`,
    endsAt === undefined ? '' : `until ${endsAt}`,
    optionsText(options),
  ]
  return parts.filter(part => part !== '').join(', ')
}
