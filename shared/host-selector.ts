import { isWithin, type Labels, type Place } from './names.ts'

/** As `shared/api` has it. */
export type HostSelector =
  | { readonly host: string }
  | { readonly labels: Labels }
  | { readonly in: Place; readonly labels?: Labels | undefined }

/** Pure: whether a grant is for a host. A selector without any label selects nothing: by an oversight it must not mean every host. */
export function selects(
  { hosts }: { readonly hosts: HostSelector },
  host: { readonly name: string; readonly labels: Labels; readonly place?: Place | undefined },
): boolean {
  if ('host' in hosts) return hosts.host === host.name
  const hasAll = (labels: Labels): boolean => {
    const wanted = Object.entries(labels)
    return wanted.length > 0 && wanted.every(([key, value]) => host.labels[key] === value)
  }
  if (!('in' in hosts)) return hasAll(hosts.labels)
  const isThere = host.place !== undefined && isWithin(host.place, hosts.in)
  return isThere && (hosts.labels === undefined || hasAll(hosts.labels))
}
