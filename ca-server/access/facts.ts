/** Pure: what of this room's rows lets somebody in, as the records say it (`shared/audit/facts.ts`). */
import { z } from 'zod'
import type { Fact, Ledger } from '#server/ledger/index.ts'
import type { AuditRecord } from '#shared/audit/index.ts'
import type { Given, Grant, OwnRole } from './port.ts'

export const grantId = (id: string): string => `grant:${id}`
export const grantFact = (grant: Grant): Fact => ({ id: grantId(grant.id), is: givenTo(grant) })
/** Of a login as it was said before there were other kinds. */
export function givenTo(grant: Given) {
  const { who, endsAt } = grant
  if (grant.kind === 'role') return { who, role: grant.role, in: grant.in, endsAt }
  if (grant.kind === 'names') {
    const { profile, names, wildcards, maxLifetime } = grant
    return { who, profile, names, wildcards, maxLifetime, in: grant.in, endsAt }
  }
  const { login, hosts, options, maxLifetime } = grant
  return { who, login, hosts, options: { ...options }, maxLifetime, endsAt }
}

/** A project or an environment. Said once, when it is made: see `placeIdOf` in `shared/audit`. */
export const placeId = (name: string): string => `place:${name}`
export const placeFact = (name: string): Fact => ({ id: placeId(name), is: 'place' })

export const concernsPlaces = (record: AuditRecord | undefined): boolean =>
  !record || Object.keys(record.facts).some(id => id.startsWith(placeId('')))

const WORKLOAD = 'workload-name:'
/** The names of all workloads: the room of workloads says which are taken. */
export const workloadNames = (ids: Ledger['facts']['ids']): string[] =>
  [...ids(WORKLOAD)].map(id => id.slice(WORKLOAD.length))

/** One of the organisation's own. The ledger keeps a number under it, too: see `changes/own-roles.ts`. */
export const roleId = (name: string): string => `role:${name}`
export const roleFact = ({ name, of, actions }: Pick<OwnRole, 'name' | 'of' | 'actions'>): Fact => ({
  id: roleId(name),
  is: { of, actions: [...actions] },
})

/** A space stands in no name. */
export const memberId = (team: string, person: string): string => `member:${team} ${person}`
export const memberFact = (team: string, person: string): Fact => ({ id: memberId(team, person), is: 'member' })

/** The IDs of grants that the log has and that are none of these. */
export function hiddenGrants(ids: Ledger['facts']['ids'], shown: { has(id: string): boolean }): string[] {
  return [...ids(grantId(''))].map(id => id.slice(grantId('').length)).filter(id => !shown.has(id))
}

/** Of these rows those that the log vouches for; and the IDs of grants that it has and none of these is. */
export function shownGrants(
  facts: Pick<Ledger['facts'], 'holds' | 'ids'>,
  rows: readonly Grant[],
): { readonly vouched: readonly Grant[]; readonly hidden: readonly string[] } {
  const vouched = rows.filter(grant => facts.holds(grantFact(grant)))
  return { vouched, hidden: hiddenGrants(facts.ids, new Set(vouched.map(({ id }) => id))) }
}

/** Whom the log says to be in it, in order. */
export function membersOf(ids: Ledger['facts']['ids'], team: string): string[] {
  const before = memberId(team, '')
  return [...ids('member:')].flatMap(id => (id.startsWith(before) ? [id.slice(before.length)] : [])).sort()
}

/** The teams that the log says somebody is in, in order. */
export const teamsOf = (ids: Ledger['facts']['ids'], person: string): string[] =>
  [...ids('member:')]
    .flatMap(id => {
      const [team, member] = id.slice('member:'.length).split(' ')
      return team !== undefined && member === person ? [team] : []
    })
    .sort()

/** Whether decisions may be others when this fact has changed. */
export const concernsAccess = (id: string): boolean => /^(grant|member|person|place|role|workload):/.test(id)

/** Whether a record says something of one of these own roles (`role:…`), or of a grant that gives one; or of a grant, and not what that gives. */
export function concernsRoles(record: AuditRecord | undefined, ids: readonly string[]): boolean {
  if (!record) return true
  const said = Object.keys(record.facts)
  if (said.some(id => ids.includes(id))) return true
  const { who, role } = given.safeParse(record.details).data ?? {}
  const isOfGrant = said.some(id => id.startsWith(grantId('')))
  return isOfGrant && (who === undefined || (role !== undefined && ids.includes(roleId(role))))
}

const given = z.looseObject({ who: z.string().optional(), role: z.string().optional() })
/**
 * Whether a record says something of what these (`person:…`, `team:…`) or a workload were given: by a role they do it, and whoever brings others into the
 * place of one who has a login gives that. Of what a team gets it is not asked who is in it, of an own role that is another now not who has it; of a
 * grant that a record says nothing of but its ID, nobody knows.
 */
export function concernsPowers(record: AuditRecord | undefined, subjects: ReadonlySet<string>): boolean {
  // What nobody can read may say anything.
  if (!record) return true
  const { who } = given.safeParse(record.details).data ?? {}
  return Object.keys(record.facts).some(id => {
    if (id.startsWith('person:')) return subjects.has(id)
    if (id.startsWith('member:')) return subjects.has(`person:${id.split(' ')[1]}`)
    if (id.startsWith(roleId(''))) return true
    if (!id.startsWith(grantId(''))) return false
    if (who?.startsWith('workload:')) return subjects.has(who)
    return who === undefined || who.startsWith('team:') || subjects.has(`person:${who}`)
  })
}
