import { invalid } from './errors.ts'
import { shown } from './text.ts'

/**
 * Names are an allow-list, everywhere: what does not fit is refused, never cleaned up. Each kind is a branded type, so
 * that an encoder which takes a `UserPrincipal` cannot be handed a plain string.
 *
 * Why so strict: sshd cuts a principals line at any `#` and reads what stands before its last blank as key options; one
 * of its checks once read a comma inside a principal as two principals (CVE-2026-35414); its log shows a key ID verbatim.
 */
declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** A name that a user certificate is valid for: `alice@example.com`, `team:sre`, `canary:keyman`. Holds `@` or `:`, so it never equals a Unix login. */
export type UserPrincipal = Branded<'UserPrincipal'>
/** A person's identity, a `UserPrincipal` with `@`: `alice@example.com`. */
export type PersonIdentity = UserPrincipal & { readonly [personBrand]: true }
declare const personBrand: unique symbol
/** An exact DNS name, lower case, no trailing dot, no wildcard. */
export type HostName = Branded<'HostName'>
/** A Unix user name. */
export type Login = Branded<'Login'>
/** The free text of an SSH certificate that sshd writes to its log. */
export type KeyId = Branded<'KeyId'>
/** A team's short name: `sre`. Its principal is `team:sre`. */
export type TeamName = Branded<'TeamName'>

/** A project, or an environment of one: `payments`, `payments/prod`. What is in an environment is in its project too. */
export type Place = Branded<'Place'>

/** A machine identity of a project or an environment, its place before the last slash: `payments/prod/backup`. */
export type WorkloadName = Branded<'WorkloadName'>

/** Which texts a name of each kind may be, and how long; the schemas of the API, and so its document, say the same. */
const kind = (most: number, pattern: RegExp) => ({ most, pattern })
const DNS_LABEL = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?'
export const NAMES = {
  userPrincipal: kind(128, /^[a-z0-9][a-z0-9._+-]*[@:][a-z0-9][a-z0-9._+/-]*$/),
  personIdentity: kind(128, /^[a-z0-9][a-z0-9._+-]*@[a-z0-9][a-z0-9._+/-]*$/),
  login: kind(32, /^[a-z_][a-z0-9_.-]*$/),
  keyId: kind(128, /^[a-z0-9@:._+/-]+$/),
  teamName: kind(63, /^[a-z0-9][a-z0-9._-]*$/),
  hostName: kind(253, new RegExp(`^(?![0-9.]+$)${DNS_LABEL}(\\.${DNS_LABEL})*$`)),
  /** A project's, or of an environment alone. */
  segment: kind(39, /^[a-z][a-z0-9-]{0,38}$/),
  place: kind(79, /^[a-z][a-z0-9-]{0,38}(\/[a-z][a-z0-9-]{0,38})?$/),
  // With its principal, and a session, it fits into a key ID.
  workloadName: kind(79, /^[a-z][a-z0-9-]{0,38}(\/[a-z][a-z0-9-]{0,38}){1,2}$/),
  /** Of a role that an organisation makes; built-in ones have such a name, too. */
  role: kind(39, /^[a-z][a-z0-9-]{0,38}$/),
  labelKey: kind(63, /^[a-z][a-z0-9_.-]*$/),
  labelValue: kind(63, /^[A-Za-z0-9][A-Za-z0-9_.-]*$/),
} as const

const is = ({ most, pattern }: { most: number; pattern: RegExp }, text: string): boolean =>
  text.length <= most && pattern.test(text)
export const isUserPrincipal = (text: string): text is UserPrincipal => is(NAMES.userPrincipal, text)
export const isPersonIdentity = (text: string): text is PersonIdentity => is(NAMES.personIdentity, text)
export const isLogin = (text: string): text is Login => is(NAMES.login, text)
export const isKeyId = (text: string): text is KeyId => is(NAMES.keyId, text)
export const isTeamName = (text: string): text is TeamName => is(NAMES.teamName, text)
export const isHostName = (text: string): text is HostName => is(NAMES.hostName, text)
export const isPlace = (text: string): text is Place => is(NAMES.place, text)
export const isWorkloadName = (text: string): text is WorkloadName => is(NAMES.workloadName, text)
export const isRoleName = (text: string): boolean => is(NAMES.role, text)
export const isLabelKey = (text: string): boolean => is(NAMES.labelKey, text)
export const isLabelValue = (text: string): boolean => is(NAMES.labelValue, text)

/** As refusals quote it; anything past 64 characters never reaches a terminal or a log. */
export const printable = (text: string): string =>
  shown(JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text))

function parser<T extends string>(is: (text: string) => text is T, expected: string) {
  return (text: string, field: string): T => {
    if (is(text)) return text
    throw invalid(field, `${printable(text)} is not ${expected}`)
  }
}

/** Each parser returns the name unchanged or throws `invalid-input` with `field` named. */
export const parseUserPrincipal = parser(
  isUserPrincipal,
  "a principal: lower-case letters, digits and . _ + -, with one '@' or ':' inside, at most 128 characters",
)
export const parsePersonIdentity = parser(
  isPersonIdentity,
  "a person's identity such as alice@example.com: lower-case letters, digits and . _ + -, with one '@'",
)
export const parseLogin = parser(
  isLogin,
  'a Unix user name: lower-case letters, digits and _ . -, at most 32 characters',
)
export const parseKeyId = parser(
  isKeyId,
  'a key ID: lower-case letters, digits and @ : . _ + / -, at most 128 characters',
)
export const parseHostName = parser(isHostName, 'an exact DNS name: lower-case labels, no wildcard, no trailing dot')
export const parseTeamName = parser(
  isTeamName,
  'a team name: lower-case letters, digits and . _ -, at most 63 characters',
)

export const parsePlace = parser(
  isPlace,
  'a project or an environment such as payments or payments/prod: lower-case letters, digits and -',
)

export const parseWorkloadName = parser(
  isWorkloadName,
  'a workload: its project or environment, a slash and its name, such as payments/prod/backup',
)

const WORKLOAD = 'workload:'
/** What its certificates are valid for, by which grants name it, and under which the ledger keeps its number: `workload:payments/prod/backup`. */
export type WorkloadPrincipal = UserPrincipal & `workload:${string}`
export const workloadPrincipal = (name: WorkloadName): WorkloadPrincipal => {
  const principal = `${WORKLOAD}${name}` as const
  if (isWorkloadPrincipal(principal)) return principal
  throw invalid('name', `${printable(principal)} is no principal`)
}
export const isWorkloadPrincipal = (text: string): text is WorkloadPrincipal =>
  isUserPrincipal(text) && text.startsWith(WORKLOAD) && isWorkloadName(text.slice(WORKLOAD.length))
/** Whoever has certificates of their own, and is named by grants: a person, or a workload. */
export type SubjectPrincipal = PersonIdentity | WorkloadPrincipal
export const isSubjectPrincipal = (text: string): text is SubjectPrincipal =>
  isPersonIdentity(text) || isWorkloadPrincipal(text)
export const parseSubjectPrincipal = parser(
  isSubjectPrincipal,
  'a person such as alice@example.com, nor a workload such as workload:payments/prod/backup',
)
/** Whose principal it is. */
export const workloadNamed = (principal: WorkloadPrincipal): WorkloadName =>
  parseWorkloadName(principal.slice(WORKLOAD.length), 'workload')
/** The project or environment that it is of. */
export const placeOfWorkload = (name: WorkloadName): Place => parsePlace(name.slice(0, name.lastIndexOf('/')), 'name')

/** Whether it is a project, or the name of an environment alone. */
export const isOneSegment = (text: string): text is Place => is(NAMES.segment, text)

/** Whether what is in `inner` is in `outer` too. */
export const isWithin = (inner: Place, outer: Place): boolean => inner === outer || inner.startsWith(`${outer}/`)

/** Labels of a host, `env=demo`. Both sides are allow-listed. */
export type Labels = Readonly<Record<string, string>>
