import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { type Context, listContexts, readContext, readSession, type Session, sessionFiles } from './context.ts'
import { readIfThere, writeFile } from './files.ts'
import type { Folders } from './folders.ts'
import { checkScript, knownHostsText, sshConfigText } from './ssh-config.ts'

/** Our files that ssh reads. One include file for all contexts, and per context a check script and known_hosts. */
export const sshFiles = (folders: Folders) => ({
  include: join(folders.config, 'ssh_config'),
  check: (organisation: string) => join(folders.config, 'ssh-check', organisation),
  knownHosts: (organisation: string) => join(folders.config, 'known_hosts', organisation),
  userConfig: join(process.env.HOME || homedir(), '.ssh', 'config'),
})

/** Writes all of them anew from what is known now; they do nothing until the include line stands in the person's configuration. */
export function refreshSshFiles(folders: Folders, changed: Context, session: Session | undefined): void {
  const files = sshFiles(folders)
  const others = listContexts(folders).filter(name => name !== changed.organisation)
  const all: [Context, Session | undefined][] = [
    [changed, session],
    ...others.flatMap(name => {
      const context = readContext(folders, name)
      return context ? [[context, readSession(folders, name)] satisfies [Context, Session | undefined]] : []
    }),
  ]
  const texts = all.map(([context, live]) => {
    const of = sessionFiles(folders, context.organisation)
    const demo = demoHost(folders, context, files.userConfig)
    const hosts = [...(live?.hosts ?? [])]
    writeFile(files.knownHosts(context.organisation), knownHostsText(context.hostAuthorities, hosts), 0o644)
    writeFile(
      files.check(context.organisation),
      checkScript({ validUntil: of.validUntil, keyman: keymanProgram(), organisation: context.organisation }),
      0o700,
    )
    return sshConfigText({
      organisation: context.organisation,
      hostSuffixes: context.hostSuffixes,
      hosts,
      check: files.check(context.organisation),
      identityFile: of.key,
      certificateFile: of.certificate,
      knownHostsFile: files.knownHosts(context.organisation),
      ...(demo ? { demo } : {}),
    })
  })
  writeFile(files.include, texts.join('\n'), 0o600)
}

/** The launcher that started this program: what the check script calls again. */
export const keymanProgram = (): string =>
  process.env.KEYMAN_PROGRAM ?? join(import.meta.dirname, '..', 'bin', 'keyman')

type Demo = { name: string; address: string; port: number; login: string }

/**
 * The demo host of a server on this very machine: read from its data folder, never from a server's answer, and left out
 * where the person's own configuration names `demo`.
 */
function demoHost(folders: Folders, context: Context, userConfig: string): Demo | undefined {
  const text = readIfThere(join(folders.serverState, 'demo', 'demo.json'))
  const local = readIfThere(join(folders.serverState, 'local.json'))
  if (!text || !local?.includes(JSON.stringify(context.rootFingerprint))) return undefined
  if (/^\s*host\s+(.*\s)?demo(\s|$)/im.test(readConfig(userConfig))) return undefined
  const { name, address, port, login } = JSON.parse(text)
  if (typeof name !== 'string' || typeof address !== 'string' || typeof port !== 'number' || typeof login !== 'string')
    return undefined
  return { name, address, port, login }
}

function readConfig(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
