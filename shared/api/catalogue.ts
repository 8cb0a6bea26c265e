/**
 * Pure: what can be done here. Each route names one of these actions, and a role is a list of them. `by` says who may do it without
 * a role: anyone, a person for what is their own, a host or a workload for itself, and of a person or a workload whoever has a session. Whatever wants a role is done to the organisation, or in a
 * place (a project or an environment), where a role on that place is enough.
 */
type Whose =
  | { readonly by: 'anyone' | 'person' | 'host' | 'workload' | 'session' }
  | { readonly by: 'role'; readonly in: 'organisation' | 'place' }
type Described = Whose & {
  /** As the page and the log name it, where that is not the action's name with a blank for the dot. */
  readonly words?: string
}

const anyone = { by: 'anyone' } as const
const own = { by: 'person' } as const
const host = { by: 'host' } as const
const workload = { by: 'workload' } as const
const session = { by: 'session' } as const
const organisation = { by: 'role', in: 'organisation' } as const
const place = { by: 'role', in: 'place' } as const

const catalogue = {
  'login.begin': anyone,
  'login.confirm': anyone,
  'touch.confirm': anyone,
  'enrolment.use': anyone,
  'page.sign-in': anyone,
  'trust.read': anyone,
  'host.join': anyone,
  'workload.join': anyone,

  'ssh.issue': own,
  'own-session.read': own,
  'own-session.end': own,
  'own-session.renew': own,
  'passkey.read': own,
  'passkey.add': own,
  'passkey.rename': own,
  'passkey.remove': own,
  'checkpoint.read': session,
  'own-hosts.read': session,
  'access.ask': session,
  'mandate.begin': { ...own, words: 'admin' },
  'mandate.end': own,

  'own-host.certify': host,
  'own-host.report': host,

  'own-workload.read': workload,
  'own-workload.renew': workload,
  'own-workload.end': workload,

  'audit.read': organisation,
  'person.read': organisation,
  'person.invite': organisation,
  'person.disable': organisation,
  'person.enable': organisation,
  'person.reset': organisation,
  'invitation.read': organisation,
  'invitation.remove': organisation,
  'team.read': organisation,
  'team.add': organisation,
  'team.remove': organisation,
  'session.read': organisation,
  'certificate.revoke': { ...organisation, words: 'revoke' },
  'revocation.read': organisation,
  'access.explain': organisation,
  /** Making somebody an owner, or taking that away. */
  'owner.change': { ...organisation, words: 'person change' },
  'trust.propose': organisation,
  'trust.publish': organisation,
  'role.add': organisation,
  'role.change': organisation,
  'role.remove': organisation,

  'host.read': place,
  'host.add': place,
  'host.change': place,
  'host.remove': place,
  /** Who was let in on hosts, by these. */
  'login.read': place,
  'workload.read': place,
  'workload.add': place,
  'workload.change': place,
  /** A new token of one that is there: whoever has it becomes the workload. */
  'workload.token': place,
  'workload.end': place,
  'workload.remove': place,
  'project.read': place,
  'project.add': place,
  'project.remove': place,
  'grant.read': place,
  'grant.add': place,
  'grant.change': place,
  'grant.remove': place,
  /** Roles are the organisation's; whoever may read anything in some place may read what a grant there gives. */
  'role.read': place,
} as const satisfies Readonly<Record<string, Described>>

export type ActionName = keyof typeof catalogue
export const ACTIONS: Readonly<Record<ActionName, Described>> = catalogue
export const isActionName = (name: string): name is ActionName => Object.hasOwn(catalogue, name)
export const ACTION_NAMES: readonly ActionName[] = Object.keys(catalogue).filter(isActionName)

/** As people read it: `host add`. */
export const actionWords = (action: ActionName): string => ACTIONS[action].words ?? action.replace('.', ' ')

/** What wants a role; in the order above. */
const inRoles: readonly ActionName[] = ACTION_NAMES.filter(name => ACTIONS[name].by === 'role')
const inPlaces = inRoles.filter(name => isInPlace(ACTIONS[name]))
function isInPlace(action: Described): boolean {
  return action.by === 'role' && action.in === 'place'
}
const reading = (names: readonly ActionName[]) => names.filter(name => name.endsWith('.read'))

export const ORGANISATION_ROLES = ['administrator', 'operator', 'auditor'] as const
export const PLACE_ROLES = ['admin', 'editor', 'viewer'] as const
/** What a grant can give beside the organisation's own roles. */
export type BuiltInRole = (typeof ORGANISATION_ROLES)[number] | (typeof PLACE_ROLES)[number]
export const BUILT_IN_ROLES: readonly BuiltInRole[] = [...ORGANISATION_ROLES, ...PLACE_ROLES]
export const isBuiltInRole = (name: string): name is BuiltInRole => BUILT_IN_ROLES.some(role => role === name)
/**
 * What no role of an organisation's own is called: what somebody is without a grant, and what is kept for later. A role that is built in
 * later takes one of these: by any other name it would give its actions to whoever has an own role of that name.
 */
export const RESERVED_ROLES: readonly string[] = [...BUILT_IN_ROLES, 'owner', 'member', 'consumer', 'issuer']
/** What a role is given for: the organisation, or a project or environment. */
export type RoleOf = 'organisation' | 'place'

/** What only owners do: it gives everything, now or for good. */
const OWNERS_ALONE: readonly ActionName[] = ['owner.change', 'trust.propose', 'trust.publish']

/**
 * By what others are let in, which takes a touch of a passkey: no workload has a role with any of it. A new role lets nobody in, but by whom
 * and when it is given may have been agreed on before.
 */
const LETS_IN: readonly ActionName[] = [
  'person.invite',
  'person.enable',
  'person.reset',
  'team.add',
  'grant.add',
  'grant.change',
  'role.add',
  'role.change',
  ...OWNERS_ALONE,
]
/** Those of these by which others are let in. */
export const lettingIn = (actions: readonly ActionName[]): ActionName[] =>
  actions.filter(action => LETS_IN.includes(action))

/** What an own role can have: of a place what is done in one, and never what owners alone do. */
export const ROLE_ACTIONS: Readonly<Record<RoleOf, readonly ActionName[]>> = {
  organisation: inRoles.filter(name => !OWNERS_ALONE.includes(name)),
  place: inPlaces,
}

/** Hosts and workloads, not what they are given. */
const keeping = inPlaces.filter(name => /^(host|workload)\./.test(name) && !name.endsWith('.read'))

/**
 * The roles that are built in, and what each may do. Who has none is a member, who does what `by: 'person'` names. `owner` is nobody's
 * by a grant: it stands with the person, has no end, and the last one is kept.
 */
export const ROLES: Readonly<Record<BuiltInRole | 'owner', readonly ActionName[]>> = {
  owner: inRoles,
  administrator: ROLE_ACTIONS.organisation,
  operator: [...reading(inRoles), 'access.explain', ...keeping, 'certificate.revoke'],
  auditor: ['audit.read', 'login.read'],
  admin: inPlaces,
  editor: [...reading(inPlaces), ...keeping],
  viewer: reading(inPlaces),
}
