import type { Access, SelectableHost } from '#server/access/index.ts'
import type { HostInForce, Hosts } from '#server/hosts/index.ts'
import type { PersonCaller } from '#server/identity/index.ts'
import type { Logins } from '#server/logins/index.ts'

type Concerns = Parameters<Hosts['waitForAll']>[1]

/**
 * What whoever ends or narrows access is told: where it is in force, and until when what is out is good elsewhere; without
 * `goodUntil` there is no such time.
 */
export async function inForceAnswer(
  hosts: Pick<Hosts, 'waitForAll'>,
  { wait }: { readonly wait: number },
  goodUntil: Date | undefined,
  concerns: Concerns = () => true,
): Promise<{ hosts: HostInForce[]; goodUntil?: string }> {
  return { hosts: await hosts.waitForAll(wait, concerns), ...untilAnswer(goodUntil) }
}

type May = Pick<Access, 'may'>
const mayRead = (access: May, caller: PersonCaller, host: Pick<SelectableHost, 'place'> | undefined): boolean =>
  access.may(caller, { action: 'host.read', in: host?.place })

/** Of which hosts somebody may hear that they are there: where they get in themselves, or which they may read. */
export const mayHearOf =
  (access: May & Pick<Access, 'reachableBy'>, caller: PersonCaller) =>
  (host: SelectableHost): boolean =>
    mayRead(access, caller, host) || access.reachableBy(caller, [host]).length > 0

/** What else lets in on a host, as whom and by which keys, is for whoever may read it, as in `host show`. */
export const toldTo = (
  access: May,
  caller: PersonCaller,
  hosts: Pick<Hosts, 'find'>,
  told: readonly HostInForce[],
): HostInForce[] =>
  told.map(({ findings, ...host }) =>
    findings && mayRead(access, caller, hosts.find(host.name)) ? { ...host, findings } : host,
  )

/** How many open sessions each host has ended, where the server ordered it and the host sees them. */
export async function withEnded(
  logins: Pick<Logins, 'endedBy'>,
  order: bigint | undefined,
  told: readonly HostInForce[],
): Promise<HostInForce[]> {
  if (order === undefined) return [...told]
  const ended = await logins.endedBy(order)
  return told.map(host =>
    host.seesLogins && host.state === 'in-force' ? { ...host, sessionsEnded: endedOn(ended, host.name) } : host,
  )
}
const endedOn = (ended: ReadonlyMap<string, number>, host: string): number => ended.get(host) ?? 0

export const untilAnswer = (goodUntil: Date | undefined): { goodUntil?: string } =>
  goodUntil === undefined ? {} : { goodUntil: goodUntil.toISOString() }
