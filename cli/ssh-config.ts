import { KeymanError } from '#shared/errors.ts'
import { isHostName, isLogin } from '#shared/names.ts'
import { type Included, includes, withoutIncluded, wordsAfter } from './ssh-lines.ts'

/**
 * Pure: the text of our one include file, of the file of hosts that it includes, and of our known_hosts file. A server's word is data (invariant 14): names are
 * checked against the allow-list again, they lie below the suffixes the person agreed to, and nothing of a server's
 * answer, nor any `%` token, reaches a shell (CVE-2023-51385).
 */
export type SshConfigInput = {
  readonly organisation: string
  readonly hostSuffixes: readonly string[]
  readonly hosts: readonly { name: string; port?: number; address?: string }[]
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
  /** A KRL; ssh refuses every host where it can't read it. */
  readonly revokedHostsFile: string
  /** From the local server's data folder, never from a server's answer. */
  readonly demo?: { readonly name: string; readonly address: string; readonly port: number; readonly login: string }
}

/** What moves the session's folder. */
const RUNTIME = 'XDG_RUNTIME_DIR (or, without it, XDG_STATE_HOME)'

export function sshConfigText(input: SshConfigInput): string {
  const demo = input.demo ? demoBlock(input.demo) : []
  const patterns = [...suffixesOf(input).map(suffix => `*.${suffix}`), ...(demo.length > 0 ? ['demo'] : [])].join(',')
  const lines = [
    `# Hosts of ${input.organisation}. Made by keyman and made anew at each login; undo: keyman ssh config --remove`,
    ...demo,
    // `originalhost`: what was typed, so other hosts are left as they were, and our check is not even run for them.
    ...(patterns === ''
      ? []
      : [
          // Whatever key is offered, the host shows a certificate of its authority.
          `Match originalhost ${patterns}`,
          `  UserKnownHostsFile ${path(input.knownHostsFile, 'XDG_CONFIG_HOME')} ~/.ssh/known_hosts ~/.ssh/known_hosts2`,
          `  RevokedHostKeys ${path(input.revokedHostsFile, 'XDG_CONFIG_HOME')}`,
          // Holds only while a certificate is live: IdentityFile drops ssh's default keys, which are else the break-glass.
          `Match originalhost ${patterns} exec ${command(input.check, 'XDG_CONFIG_HOME')}`,
          `  IdentityFile ${path(input.identityFile, RUNTIME)}`,
          `  CertificateFile ${path(input.certificateFile, RUNTIME)}`,
          ...(input.identityAgent === undefined
            ? []
            : [`  IdentityAgent ${path(input.identityAgent, 'SSH_AUTH_SOCK')}`]),
        ]),
    // A name that is not listed may be of a grant that is new. Those that are listed are excepted by name: no token says to a
    // shell what was typed.
    ...(suffixesOf(input).length === 0
      ? []
      : [
          `Match originalhost ${[...suffixesOf(input).map(suffix => `*.${suffix}`), ...ownHosts(input).map(({ name }) => `!${name}`)].join(',')} exec ${command(input.refresh, 'XDG_CONFIG_HOME')}`,
        ]),
    // Ends the block: what stands after our Include is again for all hosts.
    'Match all',
    ...(suffixesOf(input).length === 0 ? [] : [includeLine(input.hostsFile)]),
  ]
  return `${lines.join('\n')}\n`
}

/** Where hosts are that are not simply reached by their name. */
export function sshHostsText(input: Pick<SshConfigInput, 'organisation' | 'hostSuffixes' | 'hosts'>): string {
  const blocks = ownHosts(input)
    .filter(host => host.address !== undefined || (host.port ?? 22) !== 22)
    .flatMap(hostBlock)
  const lines = [`# Hosts of ${input.organisation}. Made by keyman and made anew at each renewal`, ...blocks]
  return `${lines.join('\n')}\n`
}

type Names = {
  readonly hostSuffixes: readonly string[]
  readonly hosts: readonly { name: string; port?: number; address?: string }[]
}

const suffixesOf = (names: Names): string[] => names.hostSuffixes.filter(isSuffix)

/** Those below the names that the person agreed to; whatever else a server claims is left out. */
const ownHosts = (names: Names): Names['hosts'] =>
  names.hosts.filter(
    host => isHostName(host.name) && suffixesOf(names).some(suffix => host.name.endsWith(`.${suffix}`)),
  )

function hostBlock(host: SshConfigInput['hosts'][number]): string[] {
  return [
    `Host ${host.name}`,
    ...(host.address !== undefined && isAddress(host.address) ? [`  HostName ${host.address}`] : []),
    ...(host.port !== undefined && host.port !== 22 ? [`  Port ${host.port}`] : []),
    // The certificate names the host, whatever address leads there.
    `  HostKeyAlias ${host.name}`,
  ]
}

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

const isAddress = (text: string): boolean => isHostName(text) || /^[0-9a-f:.]{2,45}$/.test(text)

/** At least two labels, so that no organisation can claim `com`. */
const isSuffix = (text: string): boolean => isHostName(text) && text.includes('.')

/**
 * A path as one word that ssh reads as it stands: letters of any script, and in quotes blanks and a few more. Not `%`, of
 * which one version of ssh makes a token in an `Include` and another does not; nor `$`, `~`, quotes and wildcards.
 */
function path(text: string, variable: string): string {
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
  const names = ownHosts(claimed).flatMap(host => [
    host.name,
    ...(host.port !== undefined && host.port !== 22 ? [`[${host.name}]:${host.port}`] : []),
  ])
  if (names.length === 0) return '# no hosts yet\n'
  return authorities
    .map(key => `@cert-authority ${names.join(',')} ${key.split(' ').slice(0, 2).join(' ')} keyman\n`)
    .join('')
}

/**
 * The check that `Match exec` runs before each ssh to one of our hosts: a shell alone while enough time is left. While
 * little is left it still says yes at once and the renewal goes on behind it; Node is waited for only when nothing is left.
 */
export function checkScript(input: {
  readonly validUntil: string
  /** Where the private key is: a file, or an agent's socket, which has to list the public key (base64). */
  readonly key: { readonly file: string } | { readonly agent: string; readonly publicKey: string }
  readonly keyman: string
  readonly organisation: string
}): string {
  const keyman = word(input.keyman)
  const context = `--context '${input.organisation}'`
  return `#!/bin/sh
# Made by keyman: is the certificate still good, and its key there? ssh runs this before it connects to one of our hosts.
renew=0 ends=0
{ read -r renew && read -r ends; } 2>/dev/null <${word(input.validUntil)}
now=$(date +%s)
${keyTest(input.key)} || ends=0
[ "$ends" != 0 ] && [ "$now" -lt "\${renew:-0}" ] && exit 0
if [ "$now" -lt "\${ends:-0}" ]; then
  ${keyman} ssh renew --if-due ${context} </dev/null >/dev/null 2>&1 &
  exit 0
fi
exec ${keyman} ssh check ${context}
`
}

/** What `Match exec` runs for a name that is not listed: it never decides anything, and says nothing where nobody is signed in. */
export const refreshScript = ({ keyman, organisation }: { keyman: string; organisation: string }): string => `#!/bin/sh
# Made by keyman: ssh runs this for one of our names that it does not know, because a grant may be new.
exec ${word(keyman)} ssh renew --new-host --context '${organisation}' </dev/null >/dev/null
`

function keyTest(key: Parameters<typeof checkScript>[0]['key']): string {
  if ('file' in key) return `[ -r ${word(key.file)} ]`
  const socket = word(key.agent)
  // Listed, not tried: an agent that is locked, or another one at its place, has it no more.
  return `{ [ -S ${socket} ] && case $(SSH_AUTH_SOCK=${socket} ssh-add -L 2>/dev/null </dev/null) in *${word(key.publicKey)}*) ;; *) false ;; esac; }`
}

/** A path of this machine as one word of a shell's script, whatever it is made of: people keep programs in folders with blanks. */
const word = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

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
