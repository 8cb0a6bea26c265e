import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { libraryPath, unpackPackages } from '../../scripts/debian-packages.mjs'

/** An sshd for the demo host. What is `undefined` is compiled in, or lies where the loader looks anyway. */
export type FoundSshd = {
  /** Absolute, as sshd demands of itself. */
  readonly sshd: string
  /** For `LD_LIBRARY_PATH`, where sshd was unpacked and not installed. */
  readonly libraryPath?: string
  /** As it calls itself: `9.2`, or `9.9p2`. */
  readonly version: string
  /** For `SshdSessionPath` (OpenSSH 9.8 and newer) and `SshdAuthPath` (10.0 and newer), where sshd was unpacked. */
  readonly sessionPath?: string
  readonly authPath?: string
}

/** Where sshd lies: OpenSSH's own default, Debian, Fedora, macOS; Homebrew. */
export const SSHD_PLACES: readonly string[] = [
  '/usr/sbin/sshd',
  '/usr/local/sbin/sshd',
  '/usr/bin/sshd',
  '/opt/homebrew/sbin/sshd',
]

const INSTALL = 'install an SSH server to have the demo host (Debian, Ubuntu: apt-get install openssh-server)'

/**
 * The sshd of the machine, or one of Debian's or Ubuntu's package, unpacked below `folder` for the demo host alone. Nothing
 * in the system changes, but that for root the system user `sshd` and `/run/sshd` are made where they are missing, as the
 * package would; `say` gets a line for whatever is done. Never throws for what is missing: `missing` says what to install.
 */
export async function findSshd(
  folder: string,
  say: (line: string) => void,
  options: { search?: readonly string[] } = {},
): Promise<FoundSshd | { readonly missing: string }> {
  const installed = (options.search ?? SSHD_PLACES).find(existsSync)
  const unpacked = join(folder, 'openssh-server')
  let found = installed === undefined ? await look(unpacked) : await ask(installed)
  if (!found && installed === undefined) {
    say('there is no sshd: fetching the package openssh-server for the demo host alone (nothing is installed)')
    try {
      await unpackPackages(unpacked, { packages: ['openssh-server'], program: 'usr/sbin/sshd' }, say)
    } catch (error) {
      return { missing: `${INSTALL}; fetching its package failed: ${reason(error)}` }
    }
    found = await look(unpacked)
  }
  if (!found) return { missing: `${INSTALL}; ${installed ?? unpacked} does not start` }
  const unprepared = await prepareForRoot(say)
  return unprepared === undefined ? found : { missing: unprepared }
}

/** The sshd that was unpacked earlier, if it is there and starts. */
async function look(unpacked: string): Promise<FoundSshd | undefined> {
  const sshd = join(unpacked, 'usr', 'sbin', 'sshd')
  if (!existsSync(sshd)) return undefined
  const found = await ask(sshd, libraryPath(unpacked))
  const [sessionPath, authPath] = ['sshd-session', 'sshd-auth'].map(name => {
    const path = join(unpacked, 'usr', 'lib', 'openssh', name)
    return existsSync(path) ? path : undefined
  })
  return found && { ...found, ...(sessionPath && { sessionPath }), ...(authPath && { authPath }) }
}

/** `-V` prints the version; before 9.4 it is an unknown option, and the usage that follows begins with the version. */
async function ask(sshd: string, libraries?: string): Promise<FoundSshd | undefined> {
  const env = { ...process.env, ...(libraries && { LD_LIBRARY_PATH: libraries }) }
  const text = await new Promise<string>(resolve => {
    execFile(sshd, ['-V'], { env, timeout: 10_000 }, (_error, stdout, stderr) => resolve(stdout + stderr))
  })
  const version = /OpenSSH_([0-9]+\.[0-9]+(p[0-9]+)?)/.exec(text)?.[1]
  return version === undefined ? undefined : { sshd, version, ...(libraries && { libraryPath: libraries }) }
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Started by root, sshd gives its first process to the user `sshd` in the empty folder `/run/sshd`, and insists on both. */
async function prepareForRoot(say: (line: string) => void): Promise<string | undefined> {
  if (process.getuid?.() !== 0 || process.platform !== 'linux') return undefined
  if (!(await runs('id', ['-u', 'sshd']))) {
    const args = ['--system', '--home-dir', '/run/sshd', '--shell', '/usr/sbin/nologin', 'sshd']
    if (!(await runs('useradd', args))) return 'sshd wants a system user named sshd, and useradd could not make it'
    say('made the system user sshd, as the package openssh-server does (to undo: userdel sshd)')
  }
  if (!existsSync('/run/sshd')) {
    try {
      mkdirSync('/run/sshd', { mode: 0o755 })
    } catch (error) {
      return `sshd wants the folder /run/sshd: ${reason(error)}`
    }
    say('made the folder /run/sshd, as the service of openssh-server does (to undo: rmdir /run/sshd)')
  }
  return undefined
}

const runs = (program: string, args: readonly string[]): Promise<boolean> =>
  new Promise(resolve => {
    // useradd lies in /usr/sbin, which `su` without a dash leaves out of PATH.
    const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` }
    execFile(program, [...args], { env, timeout: 30_000 }, error => resolve(error === null))
  })
