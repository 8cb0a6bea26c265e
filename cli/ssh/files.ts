import { existsSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import {
  type Context,
  listContexts,
  readableContexts,
  readableSession,
  type Session,
  sessionFiles,
} from '../context/context.ts'
import { readIfThere, writeFile } from '../context/files.ts'
import { type Folders, sessionHome } from '../context/folders.ts'
import { keymanProgram } from '../program.ts'
import { localDemo } from '../trust/local-server.ts'
import { agentOf } from './agent.ts'
import { aliasesPath, readAliases } from './aliases.ts'
import { knownHostsText, type SshConfigInput, sshConfigText, sshHostsText, sshMatchText } from './config.ts'
import { wordsAfter } from './lines.ts'
import { sshPlainText } from './plain.ts'
import { ensureRevokedHosts } from './revoked-hosts.ts'
import { checkScript, refreshScript } from './scripts.ts'

/** Our files that ssh reads. One include file and one of checks for all contexts, and per context two scripts, hosts and known_hosts. */
export const sshFiles = (folders: Folders) => ({
  include: join(folders.config, 'ssh_config'),
  aliases: aliasesPath(folders),
  match: join(folders.config, 'ssh_match'),
  /** For programs that know no `Match`, where somebody asked for it; nothing includes it. */
  plain: join(folders.config, 'ssh_config_plain'),
  check: (organisation: string) => join(folders.config, 'ssh-check', organisation),
  refresh: (organisation: string) => join(folders.config, 'ssh-refresh', organisation),
  hosts: (organisation: string) => join(folders.config, 'ssh-hosts', organisation),
  knownHosts: (organisation: string) => join(folders.config, 'known_hosts', organisation),
  revokedHosts: (organisation: string) => join(folders.config, 'revoked_hosts', organisation),
  userConfig: join(process.env.HOME || homedir(), '.ssh', 'config'),
})

/** The folders of ours that a login writes into; of an organisation with the one in which its session lies. */
export const ownFolders = (folders: Folders, organisation?: string): string[] => [
  ...configFolders(folders),
  organisation === undefined ? folders.runtime : sessionHome(folders, organisation),
]

/** Those of them that lie below the configuration. */
export const configFolders = (folders: Folders): string[] =>
  ['', 'contexts', 'ssh-check', 'ssh-refresh', 'ssh-hosts', 'known_hosts', 'revoked_hosts'].map(name =>
    join(folders.config, name),
  )

/**
 * Writes all of them anew from the contexts; they do nothing until the include line stands in the person's configuration.
 * Hosts stay in them when a session ends, so that the next plain ssh finds its way while it starts a login. `fresh` is a
 * session that is not written down yet.
 */
export function refreshSshFiles(
  folders: Folders,
  fresh?: { readonly organisation: string; readonly session: Session },
): void {
  const { include, match, plain } = sshFiles(folders)
  const inputs = readableContexts(folders).map(context => {
    const name = context.organisation
    const session = fresh?.organisation === name ? fresh.session : readableSession(folders, name)
    const input = inputOf(folders, context, session)
    writeFile(input.knownHostsFile, knownHostsText(context.hostAuthorities, input), 0o644)
    ensureRevokedHosts(input.revokedHostsFile)
    writeFile(input.check, checkOf(folders, context, session), 0o700)
    writeFile(input.refresh, refreshScript({ keyman: keymanProgram(), organisation: name }), 0o700)
    writeFile(input.hostsFile, sshHostsText(input), 0o600)
    return input
  })
  writeFile(match, inputs.map(sshMatchText).join('\n'), 0o600)
  writeFile(include, includeText(match, inputs), 0o600)
  if (readIfThere(plain) !== undefined)
    writeFile(plain, inputs.map(input => sshPlainText(input, userName())).join('\n'), 0o600)
}

const includeText = (match: string, inputs: readonly SshConfigInput[]): string =>
  sshConfigText(
    match,
    inputs.map(({ hostsFile }) => hostsFile),
  )

function userName(): string {
  try {
    return userInfo().username
  } catch {
    return ''
  }
}

/** Writes the file for programs that know no `Match`; each login makes it anew from then on. Gives its path. */
export function makePlainFile(folders: Folders): string {
  const { plain } = sshFiles(folders)
  if (readIfThere(plain) === undefined) writeFile(plain, '', 0o600)
  refreshSshFiles(folders)
  return plain
}

/** What ssh reads through the one line, each file after its path; undefined where there is nothing yet. */
export function includedText(folders: Folders): string | undefined {
  const { include, match, hosts } = sshFiles(folders)
  const files = [include, match, ...listContexts(folders).map(hosts)]
  const texts = files.flatMap(file => {
    const text = readIfThere(file)
    return text === undefined ? [] : [`# ${file}\n${text}`]
  })
  return texts.length === 0 ? undefined : texts.join('\n')
}

/** Throws `invalid-input` where one of our paths can't be named in ssh's configuration: asked before anybody touches a passkey. */
export function checkSshPaths(folders: Folders, context: Context): void {
  const input = inputOf(folders, context, undefined)
  includeText(sshFiles(folders).match, [input])
  sshMatchText(input)
  sshHostsText(input)
  checkOf(folders, context, undefined)
}

const checkOf = (folders: Folders, { organisation }: Context, session: Session | undefined): string => {
  const { validUntil, key, publicKey } = sessionFiles(folders, organisation)
  const agent = agentOf(session)
  return checkScript({
    validUntil,
    key: agent === undefined ? { file: key } : { agent, publicKey: readIfThere(publicKey)?.split(' ')[1] ?? '' },
    keyman: keymanProgram(),
    organisation,
  })
}

function inputOf(folders: Folders, context: Context, session: Session | undefined): SshConfigInput {
  const files = sshFiles(folders)
  const own = sessionFiles(folders, context.organisation)
  const demo = localDemo(folders, context)
  const agent = agentOf(session)
  const others = readableContexts(folders).filter(({ organisation }) => organisation !== context.organisation)
  return {
    organisation: context.organisation,
    hostSuffixes: context.hostSuffixes,
    hosts: context.hosts,
    foreignSuffixes: others.flatMap(({ hostSuffixes }) => hostSuffixes),
    aliases: readAliases(folders),
    check: files.check(context.organisation),
    refresh: files.refresh(context.organisation),
    hostsFile: files.hosts(context.organisation),
    identityFile: own.key,
    certificateFile: own.certificate,
    ...(agent === undefined ? {} : { identityAgent: agent }),
    knownHostsFile: files.knownHosts(context.organisation),
    // The person's come first: ssh writes into the first one, and ours is made anew.
    otherKnownHosts: ['known_hosts', 'known_hosts2']
      .filter(name => existsSync(join(dirname(files.userConfig), name)))
      .map(name => `~/.ssh/${name}`),
    revokedHostsFile: files.revokedHosts(context.organisation),
    // Left out where the person's own configuration names it (invariant 14).
    ...(demo && !namesHost(readIfThere(files.userConfig) ?? '', 'demo') ? { demo } : {}),
  }
}

/** Pure: whether a `Host` line of an ssh_config names a host outright. */
export const namesHost = (config: string, host: string): boolean =>
  config.split('\n').some(line => wordsAfter('host', line).some(({ text }) => text === host))
