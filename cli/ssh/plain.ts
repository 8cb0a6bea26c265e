import { isLogin } from '#shared/names.ts'
import { addressOf, hostSpellings, ownHosts, path, type SshConfigInput } from './config.ts'

/**
 * Pure: the same hosts for programs that know no `Match` and no `Include`: each block says all there is to say of its host.
 * Nothing includes it: an `IdentityFile` that holds whether or not a certificate is live would drop ssh's default keys.
 * `user`: who sits at this machine, for a host that has several logins.
 */
export function sshPlainText(input: SshConfigInput, user: string): string {
  const { demo } = input
  const hosts = ownHosts(input).filter(({ name }) => name !== demo?.name)
  const lines = [
    `# Hosts of ${input.organisation} for programs that know no Match. Made by keyman and made anew at each login`,
    ...hosts.flatMap(host => block(input, hostSpellings(input, host.name), host, user)),
    ...(demo ? block(input, ['demo', demo.name], { ...demo, logins: [demo.login] }, user) : []),
  ]
  return `${lines.join('\n')}\n`
}

function block(
  input: SshConfigInput,
  names: readonly string[],
  host: SshConfigInput['hosts'][number],
  user: string,
): string[] {
  const logins = (host.logins ?? []).filter(isLogin)
  const login = logins.length === 1 ? logins[0] : logins.find(each => each === user)
  return [
    `Host ${names.join(' ')}`,
    `  HostName ${addressOf(input, host) ?? host.name}`,
    `  Port ${host.port ?? 22}`,
    ...(login === undefined ? [] : [`  User ${login}`]),
    // A key that lies in an agent is no file: programs fail for one that is named and is not there.
    ...(input.identityAgent === undefined
      ? [`  IdentityFile ${path(input.identityFile, 'XDG_RUNTIME_DIR')}`]
      : [`  IdentityAgent ${path(input.identityAgent, 'SSH_AUTH_SOCK')}`]),
    `  CertificateFile ${path(input.certificateFile, 'XDG_RUNTIME_DIR')}`,
    `  UserKnownHostsFile ${path(input.knownHostsFile, 'XDG_CONFIG_HOME')}`,
    `  HostKeyAlias ${host.name}`,
  ]
}
