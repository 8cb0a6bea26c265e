import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { basename, dirname, join, matchesGlob } from 'node:path'
import { fromUtf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { printable } from '#shared/names.ts'
import type { AgentConfig } from '../config.ts'
import { dropInText, ourSettings } from './files.ts'

/**
 * What somebody else's configuration says of the files that decide who gets in, read as sshd reads it (`servconf.c`,
 * `sshd_config(5)`). `sshd -T -C` answers for one connection; a `Match` block may answer otherwise for any other.
 */
export type Foreign = {
  /** As sshd spells it. */
  readonly keyword: string
  readonly value: string
  /** `FILE:LINE`. */
  readonly where: string
  /** The block's first line, where it stands in one. */
  readonly block: string | undefined
  /** Before the drop-in's `Match all`: of several blocks that match, the first one's value counts. */
  readonly ahead: boolean
}

/** `now`: as the drop-in is. `joined`: as if it were there already, as this agent writes it. */
type When = 'now' | 'joined'

const COMMANDS = ['AuthorizedPrincipalsCommand', 'AuthorizedKeysCommand']
const MOST_NESTED = 16

/** Every value that is not ours, in sshd's order. Throws `denied` where a file of its configuration cannot be read. */
export function foreignSettings(config: AgentConfig, when: When): Foreign[] {
  const ours = new Map(ourSettings(config).map(([keyword, value]) => [keyword.toLowerCase(), { keyword, value }]))
  for (const keyword of COMMANDS) ours.set(keyword.toLowerCase(), { keyword, value: 'none' })
  const found: Foreign[] = []
  walk(config, when, ({ keyword, value, where, block, ahead }) => {
    const known = ours.get(keyword)
    if (known && known.value !== value) found.push({ keyword: known.keyword, value, where, block, ahead })
  })
  return found
}

/** What narrows who gets in, beside our files. */
const NARROWING = [
  'AllowUsers',
  'DenyUsers',
  'AllowGroups',
  'DenyGroups',
  'PubkeyAcceptedAlgorithms',
  'PubkeyAcceptedKeyTypes',
  'CASignatureAlgorithms',
  'PubkeyAuthentication',
  'AuthenticationMethods',
  'PermitRootLogin',
  'ForceCommand',
]

/**
 * What narrows some connections only, by where they come from or arrive: `sshd -T -C` says of a login what holds, but not
 * for which of its connections something else does.
 */
export const narrowsSome = (config: AgentConfig): Foreign[] => settingsOfSome(config, ...NARROWING)

/** The same of other files of plain keys. */
export const keyFilesOfSome = (config: AgentConfig): Foreign[] =>
  settingsOfSome(config, 'AuthorizedKeysFile').filter(({ value }) => value !== 'none')

const settingsOfSome = (config: AgentConfig, ...keywords: readonly string[]): Foreign[] =>
  settingsOf(config, ...keywords).filter(({ block }) => block !== undefined && asksForMoreThanWho(block))

/** Every line that says one of these, in sshd's order. */
export function settingsOf(config: AgentConfig, ...keywords: readonly string[]): Foreign[] {
  const names = new Map(keywords.map(keyword => [keyword.toLowerCase(), keyword]))
  const found: Foreign[] = []
  walk(config, 'now', ({ keyword: word, ...line }) => {
    const keyword = names.get(word)
    if (keyword !== undefined) found.push({ keyword, ...line })
  })
  return found
}

/** Whether sshd may answer otherwise for one login than for another: what it says of anybody else is no answer then. */
export function asksForLogins(config: AgentConfig): boolean {
  let asks = false
  walk(config, 'now', ({ block }) => {
    if (!always(block)) asks = true
  })
  return asks
}

/** Whether a block asks for anything but the account. */
function asksForMoreThanWho(block: string): boolean {
  const words = block.replace(/^match[\s=]+/i, '').split(/\s+/)
  for (let i = 0; i < words.length; i++) {
    const word = words[i]?.toLowerCase() ?? ''
    if (word === 'all') continue
    if (!/^(user|group)(=|$)/.test(word)) return true
    if (!word.includes('=')) i++
  }
  return false
}

/**
 * Throws `denied` with what to do where sshd would not read the drop-in for every connection, once it is there. No block may
 * include it, not even `Match all`: sshd takes no host certificates in one.
 */
export function checkIncluded(config: AgentConfig): void {
  const blocks: (string | undefined)[] = []
  walk(
    config,
    'joined',
    () => undefined,
    block => void blocks.push(block),
  )
  if (blocks.length > 0 && blocks.every(block => block === undefined)) return
  const inner = blocks.find(block => block !== undefined)
  const why = inner === undefined ? 'no Include names it' : `an Include in ${printable(inner)} names it`
  throw new KeymanError('denied', `sshd would not read ${config.dropIn} for all connections: ${why}`, {
    hint: `outside of all blocks (OpenSSH 8.2 or newer): sed -i '1i Include ${config.dropIn}' ${config.sshdConfig}`,
  })
}

/** Whether it lets in whom our files do not, for some connections at least, although the drop-in is there. */
export const overrules = ({ keyword, block, ahead }: Foreign): boolean =>
  // `AuthorizedPrincipalsCommand none` overrides no other value (seen in 9.2), so no drop-in can switch it off.
  keyword === 'AuthorizedPrincipalsCommand' || (keyword !== 'AuthorizedKeysCommand' && block !== undefined && ahead)

/** For a person: `"RevokedKeys none" (/etc/ssh/x.conf:3, in "Match User git")`. */
export const describeForeign = ({ keyword, value, where, block }: Foreign): string =>
  `${printable(`${keyword} ${value}`)} (${where}${block === undefined ? '' : `, in ${printable(block)}`})`

/** Throws `denied` that names the first setting that overrules ours. */
export function checkNotOverruled(config: AgentConfig, when: When = 'now'): void {
  const first = foreignSettings(config, when).find(overrules)
  if (first === undefined) return
  const whose = first.block === undefined ? '' : ' for some connections'
  throw new KeymanError('denied', `sshd does not use our files alone${whose}: ${describeForeign(first)} is in force`, {
    hint:
      first.keyword === 'AuthorizedPrincipalsCommand'
        ? 'it lets in by certificates of KeyMan whom no grant names: take it out'
        : `take it out, or let sshd read ${config.dropIn} before that block: of two blocks the first counts`,
  })
}

/** The files that sshd reads, and the folders that it looks into for more. */
export function configurationFiles(config: AgentConfig): string[] {
  return walk(config, 'now', () => undefined)
}

type Line = Omit<Foreign, 'keyword'> & { /** In lower case. */ readonly keyword: string }

function walk(
  config: AgentConfig,
  when: When,
  onLine: (line: Line) => void,
  onDropIn: (block: string | undefined) => void = () => undefined,
): string[] {
  const looked: string[] = []
  let ahead = true
  const file = (path: string, outer: string | undefined, depth: number) => {
    looked.push(path)
    if (isSame(path, config.dropIn)) onDropIn(outer)
    if (isSame(path, config.dropIn) && when === 'joined') {
      if (always(outer)) ahead = false
      return
    }
    const text = read(path)
    let block = outer
    for (const [i, raw] of text.split('\n').entries()) {
      const [, quoted, bare, rest = ''] = /^[\s=]*(?:"([^"]*)"|([^\s"=#][^\s"=]*))\s*=?\s*(.*?)\s*$/.exec(raw) ?? []
      const keyword = (quoted ?? bare ?? '').toLowerCase()
      const where = `${path}:${i + 1}`
      if (keyword === 'match') block = raw.trim()
      else if (keyword === 'include') {
        if (depth === MOST_NESTED) throw unread(where, 'includes are nested too deep')
        for (const pattern of words(rest, where))
          for (const each of expand(pattern, config, when, looked)) file(each, block, depth + 1)
      } else if (keyword !== '') onLine({ keyword, value: unquoted(rest), where, block, ahead })
    }
    // In somebody's block our `Match all` is in force for that block's connections only.
    if (isSame(path, config.dropIn) && always(outer) && text === fromUtf8(dropInText(config))) ahead = false
  }
  file(config.sshdConfig, undefined, 0)
  return looked
}

const always = (block: string | undefined): boolean => block === undefined || /^match[\s=]+all$/i.test(block)

function read(path: string): string {
  try {
    // Byte by byte, as sshd does: somebody's comment need not be UTF-8.
    return readFileSync(path, 'latin1')
  } catch (error) {
    throw unread(path, error instanceof Error ? error.message : 'not readable')
  }
}

const unread = (where: string, why: string): KeymanError =>
  new KeymanError('denied', `what ${where} says to sshd cannot be read: ${why}`)

/** One value, in quotes or not. What is written in a way of its own differs from ours, and that is the safe answer. */
const unquoted = (text: string): string => /^(["'])([^"'\\]*)\1$/.exec(text)?.[2] ?? text

function words(text: string, where: string): string[] {
  if (text.includes('\\')) throw unread(where, 'a backslash in an Include')
  const found = [...text.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    ([, double, single, bare = '']) => double ?? single ?? bare,
  )
  const comment = found.findIndex(word => word.startsWith('#'))
  return comment < 0 ? found : found.slice(0, comment)
}

/** As `glob(3)`, in its order. A relative one is below the folder of sshd's own configuration. */
function expand(pattern: string, config: AgentConfig, when: When, looked: string[]): string[] {
  const folders = pattern.startsWith('/') ? ['/'] : [...new Set(['/etc/ssh', dirname(config.sshdConfig)])]
  let paths = folders
  const segments = pattern.split('/').filter(segment => segment !== '')
  for (const segment of segments)
    paths = paths.flatMap(folder => {
      if (!/[*?[]/.test(segment)) return [join(folder, segment)]
      looked.push(folder)
      const names = namesIn(folder)
      if (when === 'joined' && isSame(folder, dirname(config.dropIn))) names.add(basename(config.dropIn))
      return [...names]
        .filter(name => matchesGlob(name, segment))
        .sort()
        .map(name => join(folder, name))
    })
  return paths.filter(path => {
    if ((when === 'joined' && isSame(path, config.dropIn)) || existsSync(path)) return true
    looked.push(path)
    return false
  })
}

function namesIn(folder: string): Set<string> {
  try {
    return new Set(readdirSync(folder))
  } catch (error) {
    if (!existsSync(folder)) return new Set()
    throw unread(folder, error instanceof Error ? error.message : 'not readable')
  }
}

function isSame(one: string, other: string): boolean {
  if (one === other) return true
  try {
    return realpathSync(one) === realpathSync(other)
  } catch {
    return false
  }
}
