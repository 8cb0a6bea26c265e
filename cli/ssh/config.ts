import { KeymanError } from '#shared/errors.ts'
import { isHostName, isLogin } from '#shared/names.ts'
import { type Included, includes, withoutIncluded, wordsAfter } from './lines.ts'

/**
 * Pure: the texts of our files that ssh reads. A server's word is data (invariant 14): names are checked against the
 * allow-list again, they lie below the suffixes the person agreed to, and nothing of a server's answer, nor any `%` token,
 * reaches a shell (CVE-2023-51385).
 */
export type SshConfigInput = {
  readonly organisation: string
  readonly hostSuffixes: readonly string[]
  readonly hosts: readonly Host[]
  /** Those of the other organisations: no address leads there. */
  readonly foreignSuffixes?: readonly string[]
  /** Other names that the person has declared for hosts below our suffixes. */
  readonly aliases?: readonly Alias[]
  /** The script that says whether the certificate is still good; exit 0 if so. */
  readonly check: string
  /** The script that asks which hosts there are, for a name that `hostsFile` does not know. */
  readonly refresh: string
  /** `sshHostsText`: ssh reads it after both scripts, so that it finds there what they have written. */
  readonly hostsFile: string
  readonly identityFile: string
  readonly certificateFile: string
  /** The socket of the agent that has the key, where one has: a terminal may have another one. */
  readonly identityAgent?: string
  readonly knownHostsFile: string
  /** The person's own, as far as they are there: some programs fail for one that is named and is not. */
  readonly otherKnownHosts?: readonly string[]
  /** A KRL; ssh refuses every host where it can't read it. */
  readonly revokedHostsFile: string
  /** From the local server's data folder, never from a server's answer. */
  readonly demo?: { readonly name: string; readonly address: string; readonly port: number; readonly login: string }
}
type Host = {
  readonly name: string
  /** As an administrator listed them: the host's certificate carries them. */
  readonly aliases?: readonly string[]
  readonly port?: number
  readonly address?: string
  readonly logins?: readonly string[]
}
export type Alias = { readonly alias: string; readonly host: string }

/** What moves the session's folder. */
const RUNTIME = 'XDG_RUNTIME_DIR (or, without it, XDG_STATE_HOME)'

/**
 * The one file that the person's configuration includes. All checks come before all hosts: a check's `Match host` looks at
 * the address once one is set, and a host of one organisation has no say in whether another's certificate is offered. The
 * quotes are for programs that fail at a `Match` (kevinburke/ssh_config, and with it go-git): they take them as a part of
 * the name, find no such file, and read the hosts.
 */
export function sshConfigText(matchFile: string, hostsFiles: readonly string[]): string {
  path(matchFile, 'XDG_CONFIG_HOME')
  const lines = [
    '# Made by keyman and made anew at each login; undo: keyman ssh config --remove',
    `Include "${matchFile}"`,
    ...hostsFiles.map(includeLine),
  ]
  return `${lines.join('\n')}\n`
}

/** The checks of one organisation: for other hosts than its own they are not even run. */
export function sshMatchText(input: SshConfigInput): string {
  const suffixes = suffixesOf(input)
  const patterns = ourNames(input).join(',')
  // `host` and not `originalhost`, at which programs stop that know no more of `Match` than that.
  const lines = [
    `# ${input.organisation}`,
    ...(patterns === ''
      ? []
      : [
          // Holds only while a certificate is live: IdentityFile drops ssh's default keys, which are else the break-glass.
          `Match host ${patterns} exec ${command(input.check, 'XDG_CONFIG_HOME')}`,
          `  IdentityFile ${path(input.identityFile, RUNTIME)}`,
          `  CertificateFile ${path(input.certificateFile, RUNTIME)}`,
          ...(input.identityAgent === undefined
            ? []
            : [`  IdentityAgent ${path(input.identityAgent, 'SSH_AUTH_SOCK')}`]),
        ]),
    // A name that is not listed may be of a grant that is new. Those that are listed are excepted by name: no token says to a
    // shell what was typed.
    ...(suffixes.length === 0
      ? []
      : [
          `Match host ${[...suffixes.map(suffix => `*.${suffix}`), ...listed(input).map(name => `!${name}`)].join(',')} exec ${command(input.refresh, 'XDG_CONFIG_HOME')}`,
        ]),
    // Ends the block: not every program ends it with the file.
    'Host *',
  ]
  return `${lines.join('\n')}\n`
}

/** What holds for hosts whether or not a certificate is live: whom to trust, and where they are. No `Match` stands here. */
export function sshHostsText(input: SshConfigInput): string {
  const names = ourNames(input)
  const known = [...(input.otherKnownHosts ?? []), path(input.knownHostsFile, 'XDG_CONFIG_HOME')]
  const lines = [
    `# Hosts of ${input.organisation}. Made by keyman and made anew at each renewal`,
    ...(names.length === 0
      ? []
      : [
          // Whatever key is offered, the host shows a certificate of its authority.
          `Host ${names.join(' ')}`,
          `  UserKnownHostsFile ${known.join(' ')}`,
          `  RevokedHostKeys ${path(input.revokedHostsFile, 'XDG_CONFIG_HOME')}`,
        ]),
    ...ownAliases(input).flatMap(alias => aliasBlock(input, alias)),
    ...ownHosts(input).flatMap(host => hostBlock(input, host)),
    ...(input.demo ? demoBlock(input.demo) : []),
    'Host *',
  ]
  return `${lines.join('\n')}\n`
}

/** What a person may type for a name: programs compare letter for letter, and a dot at the end is the same name. */
const spellings = (name: string): string[] => [
  ...new Set([...inLowerSuffix(name), name.toUpperCase()].flatMap(each => [each, `${each}.`])),
]
/** With a capital, or the first part in capitals. */
const inLowerSuffix = (name: string): string[] => {
  const first = name.split('.')[0] ?? ''
  const rest = name.slice(first.length)
  return [...new Set([name, name.slice(0, 1).toUpperCase() + name.slice(1), first.toUpperCase() + rest])]
}

const ourNames = (input: SshConfigInput): string[] => [
  ...suffixesOf(input).flatMap(suffix => [suffix, suffix.toUpperCase()].flatMap(each => [`*.${each}`, `*.${each}.`])),
  ...ownAliases(input).flatMap(({ alias }) => aliasSpellings(alias)),
  ...(input.demo && demoBlock(input.demo).length > 0 ? ['demo'] : []),
]

/** As far as the suffixes' own spelling would match them. */
const listed = (input: SshConfigInput): string[] =>
  [...ownHosts(input).map(({ name }) => name), ...ownAliases(input).map(({ alias }) => alias)].flatMap(name =>
    isBelow(name, suffixesOf(input)) ? inLowerSuffix(name) : [],
  )

type Names = { readonly hostSuffixes: readonly string[]; readonly hosts: readonly Host[] }

const suffixesOf = (names: Pick<Names, 'hostSuffixes'>): string[] => names.hostSuffixes.filter(isSuffix)

const isOurs = (names: Pick<Names, 'hostSuffixes'>, name: string): boolean =>
  isHostName(name) && isBelow(name, suffixesOf(names))
const isBelow = (name: string, suffixes: readonly string[]): boolean =>
  suffixes.some(suffix => name.endsWith(`.${suffix}`))

/** Those below the names that the person agreed to; whatever else a server claims is left out. */
export const ownHosts = (names: Names): Names['hosts'] => names.hosts.filter(host => isOurs(names, host.name))

/** What the person declared comes first; of a server's answer only names that the person has agreed to leave to it, and no other host's. */
const ownAliases = (input: SshConfigInput): readonly Alias[] => [
  ...(input.aliases ?? []).filter(({ alias, host }) => isAlias(alias) && isOurs(input, host)),
  ...ownHosts(input).flatMap(host =>
    listedAliases(input, host)
      .filter(alias => !input.aliases?.some(declared => declared.alias === alias))
      .map(alias => ({ alias, host: host.name })),
  ),
]
const listedAliases = (names: Names, { aliases = [] }: Host): string[] =>
  aliases.filter(alias => isOurs(names, alias) && !names.hosts.some(({ name }) => name === alias))

/** A name or an address, as a person types it to ssh. */
export const isAlias = (text: string): boolean => isHostName(text) || isIp(text)
/** Every name that leads to a host, without those of other letters. */
export const hostSpellings = (input: SshConfigInput, name: string): string[] => [
  name,
  ...ownAliases(input).flatMap(({ alias, host }) => (host === name ? [alias] : [])),
]
const aliasSpellings = (alias: string): string[] => (isIp(alias) ? [alias] : spellings(alias))

function hostBlock(input: SshConfigInput, host: Host): string[] {
  return [`Host ${spellings(host.name).join(' ')}`, ...addressLine(input, host), ...portLine(host), keyAlias(host.name)]
}

function aliasBlock(input: SshConfigInput, { alias, host }: Alias): string[] {
  const known = ownHosts(input).find(({ name }) => name === host) ?? { name: host }
  const address = addressLine(input, known)
  return [
    `Host ${aliasSpellings(alias).join(' ')}`,
    // Who types an address means that one.
    ...(isIp(alias) ? [] : address.length > 0 ? address : [`  HostName ${host}`]),
    ...portLine(known),
    keyAlias(host),
  ]
}

/** Where the server says that a host is; undefined where it is reached by its name. */
export const addressOf = ({ foreignSuffixes = [] }: SshConfigInput, { address }: Host): string | undefined =>
  address !== undefined && isAddress(address) && !isBelow(address, foreignSuffixes) ? address : undefined

function addressLine(input: SshConfigInput, host: Host): string[] {
  const address = addressOf(input, host)
  return address === undefined ? [] : [`  HostName ${address}`]
}
const portLine = ({ port }: Host): string[] => (port !== undefined && port !== 22 ? [`  Port ${port}`] : [])
/** The certificate names the host, whatever address leads there. */
const keyAlias = (name: string): string => `  HostKeyAlias ${name}`

function demoBlock(demo: NonNullable<SshConfigInput['demo']>): string[] {
  if (!isHostName(demo.name) || !isLogin(demo.login) || !isAddress(demo.address)) return []
  return [
    'Host demo',
    `  HostName ${demo.address}`,
    `  Port ${demo.port}`,
    `  HostKeyAlias ${demo.name}`,
    `  User ${demo.login}`,
  ]
}

const isAddress = (text: string): boolean => isHostName(text) || isIp(text)

/** As far as it matters here: nothing that a configuration reads otherwise. */
const isIp = (text: string): boolean =>
  /^\d{1,3}(\.\d{1,3}){3}$/.test(text) || (/^[0-9a-f:.]{2,45}$/.test(text) && text.includes(':'))

/** At least two labels, so that no organisation can claim `com`. */
const isSuffix = (text: string): boolean => isHostName(text) && text.includes('.')

/**
 * A path as one word that ssh reads as it stands: letters of any script, and in quotes blanks and a few more. Not `%`, of
 * which one version of ssh makes a token in an `Include` and another does not; nor `$`, `~`, quotes and wildcards.
 */
export function path(text: string, variable: string): string {
  if (isPlain(text)) return text
  if (isNameable(text)) return `"${text}"`
  throw new KeymanError(
    'invalid-input',
    `the folder of ${JSON.stringify(text)} cannot be named in ssh's configuration`,
    {
      hint: `set ${variable} to a folder of letters, digits, blanks and . _ + @ , ( ) & = - alone`,
    },
  )
}

/** The same as one word of the shell that `exec` gives it to: single quotes, inside of ssh's double ones. */
function command(text: string, variable: string): string {
  path(text, variable)
  return `"${isPlain(text) ? text : `'${text}'`}"`
}

/** Whether ssh's configuration can name this path. */
export const isNameable = (text: string): boolean => isPlain(text) || /^\/[\p{L}\p{M}\p{N}/._+@ ,()&=-]+$/u.test(text)

const isPlain = (text: string): boolean => /^\/[\p{L}\p{M}\p{N}/._+@-]+$/u.test(text)

/**
 * Lines of known_hosts for exact names, with and without port: several clients do not understand a wildcard there, and
 * one refuses `[*]:*`.
 */
export function knownHostsText(authorities: readonly string[], claimed: Names): string {
  const names = ownHosts(claimed).flatMap(host =>
    [host.name, ...listedAliases(claimed, host)].flatMap(name => [
      name,
      ...(host.port !== undefined && host.port !== 22 ? [`[${name}]:${host.port}`] : []),
    ]),
  )
  if (names.length === 0) return '# no hosts yet\n'
  return authorities
    .map(key => `@cert-authority ${names.join(',')} ${key.split(' ').slice(0, 2).join(' ')} keyman\n`)
    .join('')
}

/** Puts our one line on top of the person's configuration, also where it stands further down and holds for one block alone. */
export const withInclude = (text: string, file: Included): string =>
  includeHolds(text, file) ? text : `${includeLine(file.path)}\n${withoutInclude(text, file)}`

export const includeLine = (file: string): string => `Include ${path(file, 'XDG_CONFIG_HOME')}`

/** Takes our file out again, with whatever spelling and line end it has been given since; what else a line includes stays. */
export const withoutInclude = (text: string, file: Included): string =>
  text
    .split('\n')
    .flatMap(line => (includes(line, file) ? (withoutIncluded(line, file) ?? []) : line))
    .join('\n')
/** Whether ssh reads our file for every host: an Include that stands in a `Host` or `Match` block holds for that block alone. */
export function includeHolds(text: string, file: Included): boolean {
  let everyHost = true
  for (const line of text.split('\n')) {
    if (everyHost && includes(line, file)) return true
    for (const [keyword, all] of BLOCKS) {
      const words = wordsAfter(keyword, line)
      if (words.length > 0) everyHost = words.length === 1 && words[0]?.text.toLowerCase() === all
    }
  }
  return false
}
const BLOCKS = [
  ['host', '*'],
  ['match', 'all'],
] as const

export const hasInclude = (text: string, file: Included): boolean => text.split('\n').some(line => includes(line, file))
