import type { FoundSshd } from './find-sshd.ts'

/**
 * Pure: the configuration of the demo host's sshd. It takes certificates by the agent's files and nothing else, on
 * loopback, for the one user who started it; StrictModes stays on, as on any host.
 */
export function demoSshdConfig(demo: {
  readonly folder: string
  readonly port: number
  readonly login: string
  readonly dropIn: string
  readonly usePam: boolean
  readonly sshd: Pick<FoundSshd, 'version' | 'sessionPath' | 'authPath'>
}): string {
  return [
    '# The demo host of KeyMan. Written anew at each start.',
    `Include ${demo.dropIn}`,
    `Port ${demo.port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${demo.folder}/ssh_host_ed25519_key`,
    `PidFile ${demo.folder}/sshd.pid`,
    `AllowUsers ${demo.login}`,
    'StrictModes yes',
    `UsePAM ${demo.usePam ? 'yes' : 'no'}`,
    'PubkeyAuthentication yes',
    'AuthenticationMethods publickey',
    'AuthorizedKeysFile none',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin prohibit-password',
    'Subsystem sftp internal-sftp',
    'PrintMotd no',
    ...withoutPenalties(demo.sshd.version),
    ...(demo.sshd.sessionPath === undefined ? [] : [`SshdSessionPath ${demo.sshd.sessionPath}`]),
    ...(demo.sshd.authPath === undefined ? [] : [`SshdAuthPath ${demo.sshd.authPath}`]),
    '',
  ].join('\n')
}

/** OpenSSH 9.8 and newer shut an address out for failed logins, but here every client has the same one. `version`: `9.2`. */
export function withoutPenalties(version: string): readonly string[] {
  const [, major = '0', minor = '0'] = /^([0-9]+)\.([0-9]+)/.exec(version) ?? []
  return Number(major) > 9 || (Number(major) === 9 && Number(minor) >= 8) ? ['PerSourcePenalties no'] : []
}
