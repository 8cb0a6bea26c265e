import type { HostInForce, Hosts } from '#server/hosts/index.ts'

/** `hosts.waitForAll`, or the KRL's. */
export type WaitForHosts = Pick<Hosts, 'waitForAll' | 'waitForKrl'>
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

export const untilAnswer = (goodUntil: Date | undefined): { goodUntil?: string } =>
  goodUntil === undefined ? {} : { goodUntil: goodUntil.toISOString() }
