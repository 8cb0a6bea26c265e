import type { Ledger } from '#server/ledger/index.ts'
import type { Queryable } from '#server/store/index.ts'
import {
  type ActionName,
  isBuiltInRole,
  type Line,
  lettingIn,
  RESERVED_ROLES,
  ROLE_ACTIONS,
  ROLES,
  schemas,
} from '#shared/api/index.ts'
import { invalid, KeymanError } from '#shared/errors.ts'
import { grantText, roleScopeText } from '#shared/grant-text.ts'
import { isWorkloadPrincipal } from '#shared/names.ts'
import { told } from '../describe.ts'
import { concernsRoles, roleFact, roleId, shownGrants } from '../facts.ts'
import type { By, Grant, NewRole, OwnRole, RoleChange, RoleGrant } from '../port.ts'
import { deleteRole, insertRole, selectGrants, selectRole, selectRoles, updateRole } from '../records.ts'
import type { KnownRole } from '../snapshot.ts'
import { type ChangeDeps, change, everybody, holdersOfAll, makerOf } from './change.ts'

/**
 * The organisation's own roles. Whoever gives one, or changes a grant of it, and whoever changes or removes the role take its number first of
 * all (`roleId`): so of two that meet the later one knows what the other did, and decides anew whether it gives more than its own.
 */

type RoleLedger = Pick<Ledger, 'facts'>

export const vouchedRoles = ({
  store,
  ledger,
}: {
  readonly store: Queryable
  readonly ledger: Pick<Ledger, 'vouched'>
}): Promise<OwnRole[]> =>
  ledger.vouched(
    () => selectRoles(store),
    role => [roleFact(role)],
    roleId(''),
  )

/** What an own role is named by among the numbers; none of one that is built in, which nobody changes. */
export const rolesTaken = (grant: Pick<Grant, 'kind'> & { readonly role?: string | undefined }): readonly string[] =>
  grant.kind === 'role' && grant.role !== undefined && !isBuiltInRole(grant.role) ? [roleId(grant.role)] : []

const ATTEMPTS = 3

/** `change`, whose work finds under the roles' locks all that the log says of them, and of the grants that give them, whoever asks. */
export async function changeUnderRoles<T>(
  deps: ChangeDeps,
  name: string,
  touched: Parameters<typeof change>[2],
  by: By,
  work: (t: Queryable) => Promise<T>,
): Promise<T> {
  const { roles = [] } = touched
  for (let attempt = 1; ; attempt++) {
    try {
      return await change(deps, name, touched, by, async t => {
        if (roles.length > 0 && (await deps.ledger.saysMore(t, said => concernsRoles(said, roles)))) throw new Unheard()
        return work(t)
      })
    } catch (error) {
      if (!(error instanceof Unheard)) throw error
      if (attempt === ATTEMPTS)
        throw new KeymanError('conflict', `${roles.join(', ')} changes at this moment`, { hint: 'try again' })
      // The log is followed outside of a transaction only; this one left nothing behind, not even a touch that was used.
      await deps.catchUp()
    }
  }
}
class Unheard extends Error {}

/**
 * Throws `not-found` for a role that is not there, `invalid-input` for one that is not given for this, or not to this one. Of an own one
 * what the decision to give it was made by: under its lock the log says the same, or nothing is given.
 */
export function assertMayBeGiven(deps: ChangeDeps, grant: RoleGrant): void {
  if (isBuiltInRole(grant.role)) return
  const own = deps.ownRole(grant.role)
  if (!own) throw noSuchRole(grant.role)
  // What it is decided by is older than what was heard.
  if (!deps.ledger.facts.holds(roleFact(own))) throw new Unheard()
  if ((own.of === 'organisation') !== (grant.in === undefined))
    throw invalid(
      'role',
      `${own.name} is given for ${roleScopeText(own.of)}${own.of === 'place' ? ', which in names' : ''}`,
    )
  const refused = lettingIn(own.gives)
  if (isWorkloadPrincipal(grant.who) && refused.length > 0)
    throw invalid(
      'role',
      `${own.name} lets others in (${refused.join(', ')}), which takes a touch of a passkey: no workload gets it`,
    )
}

/** See the door. */
export async function addRole(deps: ChangeDeps, { name, of, actions }: NewRole, by: By): Promise<void> {
  const { ledger, now } = deps
  const added: OwnRole = {
    ...{ name, of, actions: ROLE_ACTIONS[of].filter(action => actions.includes(action)) },
    ...{ createdAt: now(), createdBy: makerOf(by) },
  }
  await ledger.follow()
  await changeUnderRoles(deps, 'role add', { roles: [roleId(name)] }, by, async t => {
    if (ledger.facts.has(roleId(name)))
      throw new KeymanError('conflict', `there is a role ${name} already`, {
        hint: `see keyman role show ${name}; keyman role change gives it other actions`,
      })
    // Whoever was given one of this name would have whatever the new one gives.
    if (ledger.facts.isGone(roleId(name))) await assertNobodyHas(deps, t, name)
    // What the log does not know is nobody's role.
    await deleteRole(t, name)
    await insertRole(t, added)
    const details = { of, actions: [...added.actions] }
    await ledger.appendIn(t, [{ ...by, kind: 'role-added', target: name, details, facts: [roleFact(added)] }])
  })
}

/** See the door. What it has of an earlier release, and gives no more, goes with any change. */
export async function changeRole(deps: ChangeDeps, name: string, wanted: RoleChange, by: By): Promise<void> {
  const { ledger } = deps
  await ledger.follow()
  const touched = { roles: [roleId(name)], ...holdersOfAll(ledger, t => whoHas(ledger, t, name)) }
  await changeUnderRoles(deps, 'role change', touched, by, async t => {
    const before = await knownRole(ledger, t, name)
    const { actions, added, removed } = changed(before, wanted)
    assertNoWorkloadLetsIn(name, added, (await grantsOf(ledger, t, name)).given)
    await updateRole(t, { name, actions })
    const details = { of: before.of, actions, added, removed }
    const facts = [roleFact({ ...before, actions })]
    await ledger.appendIn(t, [{ ...by, kind: 'role-changed', target: name, details, facts }])
  })
}

/** Throws `conflict` where a workload would let others in by what is added. */
function assertNoWorkloadLetsIn(name: string, added: readonly ActionName[], given: readonly Grant[]): void {
  const refused = lettingIn(added)
  const toWorkload = given.find(({ who }) => isWorkloadPrincipal(who))
  if (refused.length === 0 || !toWorkload) return
  throw new KeymanError(
    'conflict',
    `${toWorkload.id} gives ${name} to a workload, which lets nobody in: ${refused.join(', ')}`,
    { hint: `make another role; or take it from there first: keyman grant remove ${toWorkload.id}` },
  )
}

/** See the door. */
export async function removeRole(deps: ChangeDeps, name: string, by: By): Promise<void> {
  const { ledger } = deps
  await ledger.follow()
  await changeUnderRoles(deps, 'role remove', { roles: [roleId(name)] }, by, async t => {
    if (!ledger.facts.has(roleId(name))) throw noSuchRole(name)
    await assertNobodyHas(deps, t, name)
    // By the log: a row that is hidden now, or that a trigger keeps, counts for nothing from now on.
    await deleteRole(t, name)
    const facts = [{ id: roleId(name), is: null }]
    await ledger.appendIn(t, [{ ...by, kind: 'role-removed', target: name, facts }])
  })
}

/** What becomes of it. Throws `invalid-input` for what it can't have, `conflict` where it is so already. */
function changed({ name, of, actions }: OwnRole, { add, remove }: RoleChange) {
  const has = (action: string): boolean => actions.includes(action)
  const misplaced = add.filter(action => !ROLE_ACTIONS[of].includes(action))
  if (misplaced.length > 0) throw invalid('add', schemas.notOf(of, misplaced))
  const after = ROLE_ACTIONS[of].filter(action => (has(action) || add.includes(action)) && !remove.includes(action))
  if (after.length === 0)
    throw invalid('remove', `nothing would be left of ${name}: take it away instead, keyman role remove ${name}`)
  const added = after.filter(action => !has(action))
  const removed = actions.filter(action => !after.some(kept => kept === action))
  if (added.length + removed.length === 0)
    throw new KeymanError('conflict', `${name} is so already: nothing would change`, {
      hint: `see keyman role show ${name}`,
    })
  return { actions: after, added, removed }
}

/** The grants that give it and that the log vouches for; all rows that say so; and which grants the log has that are not shown. */
async function grantsOf({ facts }: RoleLedger, t: Queryable, name: string) {
  const rows = await selectGrants(t)
  const isOf = (grant: Grant): grant is RoleGrant => grant.kind === 'role' && grant.role === name
  const { vouched, hidden } = shownGrants(facts, rows)
  return { given: vouched.filter(isOf), rows: rows.filter(isOf), hidden }
}

/** To whom it is given: to anybody, where a grant is not shown. Rows that the log was not asked for yet count, too. */
async function whoHas(ledger: RoleLedger, t: Queryable, name: string): Promise<readonly string[]> {
  const { rows, hidden } = await grantsOf(ledger, t, name)
  return hidden.length > 0 ? everybody(ledger.facts) : rows.map(({ who }) => who)
}

const SHOWN = 8

/** Throws `conflict` where a grant gives it, which is named; or may give it, since the database does not show it. */
async function assertNobodyHas({ ledger }: { readonly ledger: RoleLedger }, t: Queryable, name: string): Promise<void> {
  const { given, hidden } = await grantsOf(ledger, t, name)
  const named = (ids: readonly string[]): string =>
    `${ids.slice(0, SHOWN).join(', ')}${ids.length > SHOWN ? ` and ${ids.length - SHOWN} more` : ''}`
  if (given.length > 0)
    throw new KeymanError('conflict', `the role ${name} is given by ${named(given.map(({ id }) => id))}`, {
      hint: 'take these away first: keyman grant remove ID',
    })
  if (hidden.length > 0)
    throw new KeymanError('conflict', `the database does not show ${named(hidden)}, which may give the role ${name}`, {
      hint: 'try again in a moment; if it stays so, see the server log: keyman grant remove ID takes one away by the audit log',
    })
}

/** Throws `not-found` where no row has that name, `conflict` where the log says otherwise of it. */
async function knownRole({ facts }: RoleLedger, on: Queryable, name: string): Promise<OwnRole> {
  const role = await selectRole(on, name)
  if (!role && !facts.has(roleId(name))) throw noSuchRole(name)
  if (role?.name !== name || !facts.holds(roleFact(role))) throw notAsRecorded(name)
  return role
}

/** What is taken away, for whoever is to touch a passkey for it. Nobody is asked for what would be refused: throws as `removeRole`. */
export async function roleRemovalInWords(ledger: RoleLedger, on: Queryable, name: string): Promise<Line[]> {
  const isHidden = !(await selectRole(on, name)) && ledger.facts.has(roleId(name))
  const role = isHidden ? undefined : await knownRole(ledger, on, name)
  await assertNobodyHas({ ledger }, on, name)
  if (!role) return [{ name: 'It may', value: 'unknown: the database does not show what the audit log says of it' }]
  return [
    { name: 'Is given for', value: roleScopeText(role.of) },
    { name: 'It may', value: role.actions.join(', ') },
  ]
}

/** What a role may do, who has it, and what these gain and lose by a change, for whoever is to touch a passkey for it. Throws as `changeRole`. */
export async function roleChangeInWords(
  ledger: RoleLedger,
  on: Queryable,
  name: string,
  wanted: RoleChange,
): Promise<Line[]> {
  const { given, hidden } = await grantsOf(ledger, on, name)
  const unknown = hidden.map(id => `maybe ${id}, which the database does not show`)
  const whose = { name: 'Given by', value: told([...given.map(grantText), ...unknown]) || 'no grant' }
  const role = await knownRole(ledger, on, name)
  const { actions, added, removed } = changed(role, wanted)
  assertNoWorkloadLetsIn(name, added, given)
  return [
    { name: 'Is given for', value: roleScopeText(role.of) },
    { name: 'It may now', value: role.actions.join(', ') },
    { name: 'It may then', value: actions.join(', ') },
    { name: 'Whoever has it gains', value: added.join(', ') || 'nothing' },
    { name: 'Whoever has it loses', value: removed.join(', ') || 'nothing' },
    whose,
  ]
}

/** What whoever is given it may. */
export async function givenRoleInWords(ledger: RoleLedger, on: Queryable, name: string): Promise<Line[]> {
  const actions = isBuiltInRole(name) ? ROLES[name] : (await knownRole(ledger, on, name)).actions
  return [{ name: 'The role may', value: actions.join(', ') || 'nothing' }]
}

/** What the own roles may that these grants give: their names say nothing, and what is touched for is what they may. */
export async function ownRolesInWords({ facts }: RoleLedger, on: Queryable, grants: readonly Grant[]): Promise<Line[]> {
  const names = grants.flatMap(grant => (grant.kind === 'role' && !isBuiltInRole(grant.role) ? [grant.role] : []))
  const given = new Set(names)
  if (given.size === 0) return []
  const known = (await selectRoles(on)).filter(role => facts.holds(roleFact(role)))
  const texts = [...given].sort().map(name => {
    const actions = known.find(role => role.name === name)?.actions
    return `${name}: ${actions?.join(', ') ?? 'unknown, the database does not show what the audit log says of it'}`
  })
  return [{ name: 'Own roles may', value: told(texts) }]
}

/** As the API shows it. */
export const roleView = ({ name, of, gives, actions, createdAt, createdBy }: KnownRole) => ({
  ...{ name, of, builtIn: false, actions: [...gives] },
  lapsed: actions.filter(action => !gives.some(given => given === action)),
  ...{ createdAt: createdAt.toISOString(), createdBy },
})

export const noSuchRole = (name: string): KeymanError =>
  new KeymanError('not-found', `there is no role ${name}`, {
    hint: RESERVED_ROLES.includes(name)
      ? 'see keyman role list: what is built in stays as it is, and no other role has its name'
      : `see keyman role list; keyman role add ${name} makes it`,
  })
const notAsRecorded = (name: string): KeymanError =>
  new KeymanError('conflict', `what the database says of the role ${name} is not what the audit log says`, {
    hint: 'try again in a moment; if it stays so, somebody changed it: see the server log',
  })
