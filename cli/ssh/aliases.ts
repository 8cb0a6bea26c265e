import { join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { isHostName, printable } from '#shared/names.ts'
import { readableContexts } from '../context/context.ts'
import { readIfThere, remove, writeFile } from '../context/files.ts'
import type { Folders } from '../context/folders.ts'
import { localDemo } from '../trust/local-server.ts'
import { type Alias, isAlias } from './config.ts'

/**
 * The other names that a person has declared for hosts, one a line: the name, and the host's own. Declared and never taken
 * from a server's answer: a short name is one that anybody's host may have (invariant 14).
 */
export const aliasesPath = (folders: Folders): string => join(folders.config, 'ssh_aliases')

/** A line that is none is left out; the person may have written it. */
export const readAliases = (folders: Folders): Alias[] =>
  (readIfThere(aliasesPath(folders)) ?? '').split('\n').flatMap(line => {
    const [alias, host, ...rest] = line.trim().split(/\s+/)
    const whole = alias !== undefined && host !== undefined && rest.length === 0
    return whole && isAlias(alias) && isHostName(host) ? [{ alias, host }] : []
  })

export function writeAliases(folders: Folders, aliases: readonly Alias[]): void {
  const lines = [...aliases]
    .sort((a, b) => (a.alias < b.alias ? -1 : 1))
    .map(({ alias, host }) => `${alias} ${host}\n`)
    .join('')
  if (lines === '') remove(aliasesPath(folders))
  else writeFile(aliasesPath(folders), lines, 0o600)
}

/** Throws where ssh would not read it so: no name of a host, a host of nobody here, or the name of another one of our hosts. */
export function checkAlias(folders: Folders, { alias, host }: Alias): void {
  if (!isAlias(alias))
    throw new KeymanError('invalid-input', `NAME: ${printable(alias)} is neither a host's name nor an address`)
  const contexts = readableContexts(folders)
  const suffixes = contexts.flatMap(context => context.hostSuffixes)
  if (!suffixes.some(suffix => host.endsWith(`.${suffix}`)))
    throw new KeymanError('not-found', `no organisation that is known here answers for ${host}`, {
      hint:
        suffixes.length > 0
          ? `names end in ${suffixes.map(suffix => `.${suffix}`).join(' or ')}`
          : 'run keyman login first',
    })
  const own = contexts
    .flatMap(context => context.hosts)
    .some(({ name, aliases = [] }) => name === alias || aliases.includes(alias))
  if (own || (alias === 'demo' && hasDemo(folders)))
    throw new KeymanError('conflict', `${alias} is the name of a host already`, { hint: 'choose another one' })
}

/** Pure: the first part of each host's name, where it is of one host alone and not `taken`. */
export function shortNames(hosts: readonly string[], taken: (name: string) => boolean): Alias[] {
  const all = [...new Set(hosts)].map(host => ({ alias: host.split('.')[0] ?? host, host }))
  return all.filter(
    ({ alias }) =>
      all.filter(other => other.alias === alias).length === 1 &&
      !RESERVED.has(alias) &&
      isAlias(alias) &&
      !taken(alias),
  )
}
const RESERVED = new Set(['localhost'])

/** Whether `demo` is the demo host of this machine's server (`config.ts`); elsewhere it is a name like any other. */
export const hasDemo = (folders: Folders): boolean =>
  readableContexts(folders).some(context => localDemo(folders, context) !== undefined)
