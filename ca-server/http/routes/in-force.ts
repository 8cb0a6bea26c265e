import type { Access, SelectableHost } from '#server/access/index.ts'
import type { HostInForce, Hosts } from '#server/hosts/index.ts'
import type { PersonCaller } from '#server/identity/index.ts'

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

/** Of which hosts somebody may hear that they are there: where they get in themselves, or all for an administrator. */
export const mayHearOf =
  (
    access: Pick<Access, 'reachableBy'>,
    { identity, administrator }: Pick<PersonCaller, 'identity' | 'administrator'>,
  ) =>
  (host: SelectableHost): boolean =>
    administrator || access.reachableBy(identity, [host]).length > 0

/** What else lets in on a host, as whom and by which keys, is for administrators alone, as in `host show`. */
export const toldTo = (
  { administrator }: Pick<PersonCaller, 'administrator'>,
  told: readonly HostInForce[],
): HostInForce[] => told.map(({ findings, ...host }) => (administrator && findings ? { ...host, findings } : host))

export const untilAnswer = (goodUntil: Date | undefined): { goodUntil?: string } =>
  goodUntil === undefined ? {} : { goodUntil: goodUntil.toISOString() }
