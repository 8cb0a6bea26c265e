import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import type { Machine } from './commands/join.ts'
import { pathOfFlag } from './config.ts'

/** Where things are on this machine, by flags or by custom. */
export type MachineFlags = {
  readonly 'sshd-folder'?: string | undefined
  readonly 'drop-in'?: string | undefined
  readonly 'sshd-config'?: string | undefined
  readonly sshd?: string | undefined
  readonly 'host-key'?: string[] | undefined
  readonly reload?: string | undefined
  readonly 'pid-file'?: string | undefined
  readonly 'sshd-log'?: string | undefined
}

const SSHD = ['/usr/sbin/sshd', '/usr/local/sbin/sshd', '/usr/bin/sshd', '/opt/homebrew/sbin/sshd']
const SSH_KEYGEN = ['/usr/bin/ssh-keygen', '/usr/local/bin/ssh-keygen', '/opt/homebrew/bin/ssh-keygen']
const HOST_KEYS = ['ed25519', 'ecdsa', 'rsa'].map(type => `/etc/ssh/ssh_host_${type}_key.pub`)

const MACHINE_STATE = '/var/lib/keyman-agent'

export function defaultStateFolder(env: NodeJS.ProcessEnv): string {
  if (process.geteuid?.() === 0) return MACHINE_STATE
  return join(env.XDG_STATE_HOME ?? join(homedir(), '.local/state'), 'keyman-agent')
}

/** What somebody else than root names of an sshd of their own: the machine's is root's. */
const OWN_SSHD = ['sshd-folder', 'sshd-config', 'host-key'] as const

/**
 * Relative paths are made absolute. Throws `not-found` that names what is missing and the flag that says where it is,
 * `invalid-input` for a path that sshd would not read, and for the machine's own sshd where we are not root.
 */
export function describeMachine(flags: MachineFlags, isRoot = process.geteuid?.() === 0): Machine {
  const missingFlags: string[] = OWN_SSHD.filter(flag => flags[flag] === undefined)
  if (flags['pid-file'] === undefined && flags.reload === undefined) missingFlags.push('pid-file')
  if (!isRoot && missingFlags.length > 0)
    throw new KeymanError('invalid-input', "only root can change what this machine's sshd reads", {
      hint: `run keyman-agent join as root, or for an sshd of your own add ${missingFlags.map(flag => `--${flag}`).join(', ')}`,
    })
  const given = (flag: Exclude<keyof MachineFlags, 'host-key' | 'reload'>) => {
    const value = flags[flag]
    return value === undefined ? undefined : pathOfFlag(flag, value)
  }
  const sshdFolder = given('sshd-folder') ?? '/etc/ssh/keyman'
  const sshdLog = flags['sshd-log']
  const ownFolder = flags['sshd-folder'] !== undefined
  const hostKeys =
    flags['host-key']?.map(key => pathOfFlag('host-key', key)) ?? HOST_KEYS.filter(path => existsSync(path))
  if (hostKeys.length === 0) throw missing('no host key', '/etc/ssh', '--host-key')
  return {
    sshdFolder,
    dropIn: given('drop-in') ?? (ownFolder ? join(sshdFolder, 'keyman.conf') : '/etc/ssh/sshd_config.d/keyman.conf'),
    sshdConfig: given('sshd-config') ?? '/etc/ssh/sshd_config',
    sshd: given('sshd') ?? SSHD.find(path => existsSync(path)) ?? raise(missing('no sshd', SSHD.join(', '), '--sshd')),
    sshKeygen:
      SSH_KEYGEN.find(path => existsSync(path)) ?? raise(missing('no ssh-keygen', SSH_KEYGEN.join(', '), 'PATH')),
    hostKeys,
    reload: reloadOf(flags),
    ...(sshdLog === undefined ? {} : { sshdLog: isLogWord(sshdLog) ? sshdLog : pathOfFlag('sshd-log', sshdLog) }),
  }
}

const isLogWord = (text: string): text is 'journal' | 'none' => text === 'journal' || text === 'none'

function reloadOf(flags: MachineFlags): Machine['reload'] {
  if (flags['pid-file'] !== undefined) return { pidFile: pathOfFlag('pid-file', flags['pid-file']) }
  // No shell reads this: it is cut at blanks and run as it stands.
  if (flags.reload !== undefined) return { command: flags.reload.split(' ').filter(word => word !== '') }
  if (!existsSync('/run/systemd/system')) return { pidFile: existsSync('/run') ? '/run/sshd.pid' : '/var/run/sshd.pid' }
  return { command: ['systemctl', 'reload', existsSync('/lib/systemd/system/ssh.service') ? 'ssh' : 'sshd'] }
}

/** Whether systemd runs here and has the unit that packages bring, which is for the machine's own sshd. */
export const hasUnit = (stateFolder: string): boolean =>
  stateFolder === MACHINE_STATE &&
  existsSync('/run/systemd/system') &&
  ['/usr/lib', '/etc'].some(folder => existsSync(`${folder}/systemd/system/keyman-agent.service`))

const missing = (what: string, where: string, flag: string): KeymanError =>
  new KeymanError('not-found', `${what} on this machine (looked at ${where})`, {
    hint: flag === 'PATH' ? 'install the OpenSSH client' : `install the OpenSSH server, or say where it is by ${flag}`,
  })

function raise(error: KeymanError): never {
  throw error
}
