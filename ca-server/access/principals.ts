import { isPersonIdentity, isWorkloadPrincipal, type UserPrincipal } from '#shared/names.ts'
import { grantsOn } from './choosing.ts'
import type { LoginGrant, PrincipalsLine, SelectableHost } from './port.ts'
import { isLive, type Snapshot } from './snapshot.ts'

/** Pure: what a host's principals files hold. */

type Files = Readonly<Record<string, readonly PrincipalsLine[]>>

/** Most hosts of a fleet are chosen by the same grants: their files are made once a snapshot. */
const made = new WeakMap<Snapshot, Map<string, Files>>()

/** Login to lines. Hosts that the same grants choose get the very same object. */
export function principalsFor(snapshot: Snapshot, host: SelectableHost, now: Date): Files {
  const chosen = grantsOn(snapshot.grants, host).filter(grant => isLive(grant, now))
  const known = made.get(snapshot) ?? new Map<string, Files>()
  made.set(snapshot, known)
  const key = chosen.map(grant => grant.id).join()
  const files = known.get(key) ?? makeFiles(snapshot, chosen)
  known.set(key, files)
  return files
}

/**
 * One line a person and login, since sshd takes the options of the first line that names a certificate's principal and
 * looks no further: a second, wider line would never be read. Of several grants the widest makes the line; lines never mix
 * two grants, which could give what neither gives.
 */
function makeFiles(snapshot: Snapshot, grants: readonly LoginGrant[]): Files {
  const widest = new Map<string, Map<UserPrincipal, LoginGrant>>()
  for (const grant of grants) {
    const persons = widest.get(grant.login) ?? new Map<UserPrincipal, LoginGrant>()
    widest.set(grant.login, persons)
    for (const identity of expand(snapshot, grant.who)) {
      if (!isHere(snapshot, identity)) continue
      const other = persons.get(identity)
      if (!other || compareWidth(grant, other) > 0) persons.set(identity, grant)
    }
  }
  const files: Record<string, PrincipalsLine[]> = {}
  for (const [login, persons] of [...widest].sort(byKey))
    if (persons.size > 0) files[login] = [...persons].sort(byKey).map(([identity, grant]) => line(identity, grant))
  return files
}

const isHere = ({ workloads, persons }: Snapshot, identity: UserPrincipal): boolean =>
  isWorkloadPrincipal(identity)
    ? workloads.has(identity)
    : isPersonIdentity(identity) && persons.get(identity)?.state === 'active'

/** The persons, or the workload, that a grant names. */
export function expand(snapshot: Snapshot, who: string): readonly UserPrincipal[] {
  if (who.startsWith('team:')) return snapshot.teams.get(who.slice('team:'.length)) ?? []
  return isPersonIdentity(who) || isWorkloadPrincipal(who) ? [who] : []
}

export const line = <Principal extends string>(principal: Principal, grant: LoginGrant) => ({
  principal,
  pty: grant.options.pty,
  portForwarding: grant.options.portForwarding,
  agentForwarding: grant.options.agentForwarding,
  x11Forwarding: grant.options.x11Forwarding,
  ...(grant.options.sourceAddress === undefined ? {} : { sourceAddress: grant.options.sourceAddress }),
  ...(grant.options.forceCommand === undefined ? {} : { forceCommand: grant.options.forceCommand }),
  ...(grant.endsAt === undefined ? {} : { expiresAt: grant.endsAt }),
})

/** Above 0 where the first gives more: any command before one command, any address before some, then the later end, then what a session may do. */
function compareWidth(a: LoginGrant, b: LoginGrant): number {
  return (
    Number(a.options.forceCommand === undefined) - Number(b.options.forceCommand === undefined) ||
    Number(a.options.sourceAddress === undefined) - Number(b.options.sourceAddress === undefined) ||
    end(a) - end(b) ||
    freedoms(a) - freedoms(b) ||
    // The same choice on every server and at every time.
    (a.id < b.id ? 1 : -1)
  )
}
const end = (grant: LoginGrant): number => (grant.endsAt === undefined ? Number.MAX_VALUE : Date.parse(grant.endsAt))
const freedoms = ({ options }: LoginGrant): number =>
  Number(options.pty) + Number(options.portForwarding) + Number(options.agentForwarding) + Number(options.x11Forwarding)

const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : a > b ? 1 : 0)
