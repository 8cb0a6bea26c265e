import { keyTypesOn, LOGIN_KEY_TYPES, type LoginKeyType, RSA_BITS } from '#shared/login-key-types.ts'
import type { Account } from './accounts.ts'

/** Pure: whom sshd's own configuration lets in, as `allowed_user` in its `auth.c` and `sshd_config(5)` say. */

/** What `sshd -T -C` says of one connection: keyword in lower case, to the values of its lines. */
export type Answers = ReadonlyMap<string, readonly string[]>

const values = (answers: Answers, keyword: string): readonly string[] => answers.get(keyword) ?? []
const first = (answers: Answers, keyword: string): string => values(answers, keyword)[0] ?? ''

/** `*` and `?`, as `match_pattern` reads them. */
function matches(text: string, pattern: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  // A pattern of its own administrator, and names of at most 32 characters: no text of strangers.
  return new RegExp(`^${source}$`).test(text)
}

const userOf = (pattern: string): string => pattern.replace(/@[^@]*$/, '')

/** The end of a sentence about an account; `isAll`: nobody gets in as it, from wherever. */
type Problem = { readonly why: string; readonly isAll: boolean }

/** What keeps people out of an account, or narrows what they may. */
export function accessProblems(answers: Answers, account: Account): Problem[] {
  const found: Problem[] = []
  const shut = (why: string) => void found.push({ why, isAll: true })
  const narrow = (why: string) => void found.push({ why, isAll: false })
  const named = (keyword: string) => values(answers, keyword).filter(pattern => matches(account.name, userOf(pattern)))
  const grouped = (keyword: string) =>
    values(answers, keyword).filter(pattern => account.groups.some(group => matches(group, pattern)))
  for (const pattern of named('denyusers')) {
    if (pattern.includes('@')) narrow(`is shut out from some addresses, by DenyUsers ${pattern}`)
    else shut(`is shut out by DenyUsers ${pattern}`)
  }
  const allowed = named('allowusers')
  if (values(answers, 'allowusers').length > 0 && allowed.length === 0) shut('is not among AllowUsers')
  else if (allowed.length > 0 && allowed.every(pattern => pattern.includes('@')))
    narrow(`gets in from some addresses only, by AllowUsers ${allowed.join(' ')}`)
  const [denied] = grouped('denygroups')
  if (denied !== undefined) shut(`is in a group that DenyGroups ${denied} shuts out`)
  if (values(answers, 'allowgroups').length > 0 && grouped('allowgroups').length === 0)
    shut('is in none of the groups of AllowGroups')
  const root = account.uid === 0 ? first(answers, 'permitrootlogin') : ''
  if (root === 'no') shut('is shut out by PermitRootLogin no')
  if (root === 'forced-commands-only') narrow('gets in with a command only, by PermitRootLogin forced-commands-only')
  if (first(answers, 'pubkeyauthentication') === 'no') shut('is let in by no key, by PubkeyAuthentication no')
  const methods = first(answers, 'authenticationmethods').split(' ').filter(Boolean)
  if (methods.length > 0 && !methods.some(method => method === 'any' || method === 'publickey'))
    narrow(`asks for more than a certificate, by AuthenticationMethods ${methods.join(' ')}`)
  const command = first(answers, 'forcecommand')
  if (command !== '' && command !== 'none') narrow(`may run nothing but ForceCommand ${command}`)
  return found
}

/** Whether who gets in is told by an account's groups. */
export const asksForGroups = (answers: Answers): boolean =>
  values(answers, 'denygroups').length > 0 || values(answers, 'allowgroups').length > 0

/** Whether a plain key of this account lets anybody in at all. */
export const letsKeysIn = (answers: Answers, account: Account): boolean =>
  !accessProblems(answers, account).some(({ isAll }) => isAll)

const listed = (answers: Answers, ...keywords: string[]): readonly string[] | undefined => {
  const found = keywords.flatMap(keyword => first(answers, keyword).split(',').filter(Boolean))
  return found.length === 0 ? undefined : found
}

/** Of which types certificates of persons may be there. */
export function takenKeyTypes(answers: Answers): LoginKeyType[] {
  // Below 8.5 it had another name.
  const taken = listed(answers, 'pubkeyacceptedalgorithms', 'pubkeyacceptedkeytypes')
  const rsaIsLongEnough = Number(first(answers, 'requiredrsasize') || 0) <= RSA_BITS
  const types = taken === undefined ? LOGIN_KEY_TYPES : keyTypesOn(taken)
  return types.filter(type => type !== 'rsa-3072' || rsaIsLongEnough)
}

/** Whether certificates that a key of this type (`ssh-ed25519`) has signed are taken. */
function takesAuthority(answers: Answers, type: string): boolean {
  const taken = listed(answers, 'casignaturealgorithms')
  if (taken === undefined) return true
  return type === 'ssh-rsa' ? taken.some(name => name.startsWith('rsa-sha2-')) : taken.includes(type)
}

/** Whether a host certificate of a key of this type is shown. */
export function showsHostCertificate(answers: Answers, type: string): boolean {
  const shown = listed(answers, 'hostkeyalgorithms')
  if (shown === undefined) return true
  return type === 'ssh-rsa' ? keyTypesOn(shown).includes('rsa-3072') : shown.includes(`${type}-cert-v01@openssh.com`)
}

/** What keeps out whoever has a certificate of these authorities (by the types of their keys), whatever they may. */
export function shutsAllOut(answers: Answers, authorities: readonly string[]): string[] {
  const found: string[] = []
  if (authorities.length > 0 && !authorities.some(type => takesAuthority(answers, type)))
    found.push(`CASignatureAlgorithms has none of what the authority signs with (${authorities.join(', ')})`)
  if (takenKeyTypes(answers).length === 0)
    found.push(
      `PubkeyAcceptedAlgorithms has no certificate of a key that keyman login makes (${LOGIN_KEY_TYPES.join(', ')})`,
    )
  return found
}
