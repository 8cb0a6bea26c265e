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

const USER_PRINCIPAL = /^[a-z0-9][a-z0-9._+-]*[@:][a-z0-9][a-z0-9._+/-]*$/
const LOGIN = /^[a-z_][a-z0-9_.-]{0,31}$/
const KEY_ID = /^[a-z0-9@:._+/-]{1,128}$/
const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const TEAM = /^[a-z0-9][a-z0-9._-]{0,62}$/
const LABEL_KEY = /^[a-z][a-z0-9_.-]{0,62}$/
const LABEL_VALUE = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/

export const isUserPrincipal = (text: string): text is UserPrincipal => text.length <= 128 && USER_PRINCIPAL.test(text)
export const isPersonIdentity = (text: string): text is PersonIdentity => isUserPrincipal(text) && text.includes('@')
export const isLogin = (text: string): text is Login => LOGIN.test(text)
export const isKeyId = (text: string): text is KeyId => KEY_ID.test(text)
export const isTeamName = (text: string): text is TeamName => TEAM.test(text)
export const isHostName = (text: string): text is HostName =>
  text.length <= 253 && text.split('.').every(label => DNS_LABEL.test(label)) && !/^[0-9.]+$/.test(text)
export const isLabelKey = (text: string): boolean => LABEL_KEY.test(text)
export const isLabelValue = (text: string): boolean => LABEL_VALUE.test(text)

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

/** Labels of a host, `env=demo`. Both sides are allow-listed. */
export type Labels = Readonly<Record<string, string>>
