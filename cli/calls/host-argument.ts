import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { type HostName, parseHostName, printable } from '#shared/names.ts'
import { requireSession } from '../context/context.ts'
import { folders } from '../context/folders.ts'
import { readAliases } from '../ssh/aliases.ts'
import { usage } from '../terminal/command.ts'
import { may } from './may.ts'
import { callAsPerson } from './session-call.ts'

/**
 * The host that a person means: by its whole name, by the first part of it, or by an alias that was declared. A host's name always has a dot, since it ends
 * in one of its organisation's suffixes. `field`: the argument, for refusals.
 */
export async function hostArgument(text: string, field: string): Promise<HostName> {
  const typed = asTyped(text)
  const declared = readAliases(folders()).find(({ alias }) => alias === typed)
  const name = parseHostName(declared?.host ?? typed, field)
  if (name.includes('.')) return name
  const { context } = requireSession(folders(), new Date())
  // Whoever may read hosts means also those on which they have no login themselves.
  const read = (await may('host.read')) ? (await callAsPerson(api.hosts.list)).hosts : []
  const known = [...read, ...context.hosts]
  const names = new Set(known.map(host => host.name))
  return parseHostName(wholeName(name, [...names], context.hostSuffixes), field)
}

/** A name as people type it: letters of either case, and a dot at the end, are the same name to the DNS and to ssh. */
export const asTyped = (text: string): string => text.toLowerCase().replace(/\.$/, '')

/** Pure: the one known host whose name begins so; where none is known, that name below the only suffix. */
export function wholeName(short: string, known: readonly string[], suffixes: readonly string[]): string {
  const found = known.filter(name => name.startsWith(`${short}.`))
  const [only] = found
  if (only !== undefined && found.length === 1) return only
  if (only !== undefined)
    throw usage(`${printable(short)} may be any of ${found.sort().join(', ')}`, 'name the one that is meant in full')
  // The demo host of a server on this machine, as in `ssh demo`, whatever organisation is the current one.
  if (short === 'demo') return 'demo.keyman.localhost'
  const [suffix] = suffixes
  if (suffix !== undefined && suffixes.length === 1) return `${short}.${suffix}`
  throw new KeymanError('not-found', `no host is known here whose name begins with ${short}.`, {
    hint: inFull(short, suffixes),
  })
}

/** Pure: how a short name could be written in full. */
export const inFull = (short: string, suffixes: readonly string[]): string =>
  suffixes.length > 0
    ? `try ${suffixes.map(suffix => `${short}.${suffix}`).join(' or ')}`
    : 'name it in full, such as web1.prod.example.com'
