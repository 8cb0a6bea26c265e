import type { Hosts, HostsDeps } from './port.ts'

export function createHosts(_deps: HostsDeps): Hosts {
  throw new Error('not yet')
}
