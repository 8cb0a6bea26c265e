import { selects } from '#shared/host-selector.ts'
import type { LoginGrant, SelectableHost } from './port.ts'

/**
 * Pure: which grants choose a host. Each is found by one thing that its hosts must have (the name, the place, a label): of a fleet with
 * hundreds of grants a host is not asked about each of them.
 */

type Index = ReadonlyMap<string, readonly { readonly grant: LoginGrant; readonly at: number }[]>
const indexes = new WeakMap<readonly LoginGrant[], Index>()

/** In their order. */
export function grantsOn(grants: readonly LoginGrant[], host: SelectableHost): LoginGrant[] {
  const index = indexes.get(grants) ?? indexOf(grants)
  indexes.set(grants, index)
  return keysOf(host)
    .flatMap(key => index.get(key) ?? [])
    .filter(({ grant }) => selects(grant, host))
    .sort((a, b) => a.at - b.at)
    .map(({ grant }) => grant)
}

const indexOf = (grants: readonly LoginGrant[]): Index =>
  Map.groupBy(
    grants.map((grant, at) => ({ grant, at })),
    ({ grant }) => keyOf(grant),
  )

const named = (what: 'host' | 'in' | 'label', value: string): string => `${what} ${value}`

/** One without a label chooses nothing, and is found by nothing. */
function keyOf({ hosts }: LoginGrant): string {
  if ('host' in hosts) return named('host', hosts.host)
  if ('in' in hosts) return named('in', hosts.in)
  const [label] = Object.entries(hosts.labels)
  return label ? named('label', label.join('=')) : ''
}

const keysOf = ({ name, place, labels }: SelectableHost): string[] => [
  named('host', name),
  ...(place === undefined ? [] : within(place).map(each => named('in', each))),
  ...Object.entries(labels).map(label => named('label', label.join('='))),
]

/** A place, and what it is in. */
const within = (place: string): string[] => {
  const parts = place.split('/')
  return parts.map((_, n) => parts.slice(0, n + 1).join('/'))
}
