import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { utf8 } from '#shared/bytes.ts'
import type { AgentConfig } from './config.ts'

/** Where things lie that sshd reads. All can be read with `cat`, `ssh-keygen -L` and `ssh-keygen -Q`. */
export const sshdFiles = (config: Pick<AgentConfig, 'sshdFolder'>) => ({
  folder: config.sshdFolder,
  /** One file a login. */
  principals: join(config.sshdFolder, 'principals'),
  userAuthorities: join(config.sshdFolder, 'user_ca.pub'),
  krl: join(config.sshdFolder, 'revoked.krl'),
  hostCertificate: (publicKeyFile: string): string =>
    join(config.sshdFolder, `${basename(publicKeyFile, '.pub')}-cert.pub`),
})

/** The host certificates that are there. */
export const hostCertificateFiles = (config: AgentConfig): string[] =>
  config.hostKeys.map(sshdFiles(config).hostCertificate).filter(path => existsSync(path))

/**
 * The one file that makes sshd use the others. Plain host keys and algorithms are left as they were, for clients that
 * know no certificates.
 */
export function dropInText(config: AgentConfig): Uint8Array {
  const files = sshdFiles(config)
  return utf8(
    [
      '# Written by keyman-agent. Changes are overwritten; keyman-agent leave takes it out.',
      `TrustedUserCAKeys ${files.userAuthorities}`,
      `AuthorizedPrincipalsFile ${files.principals}/%u`,
      `RevokedKeys ${files.krl}`,
      ...hostCertificateFiles(config).map(path => `HostCertificate ${path}`),
      '',
    ].join('\n'),
  )
}

/** Hex SHA-256 over names and content of what decides who gets in; `undefined` where something is missing. */
export function hashOfFiles(config: AgentConfig): string | undefined {
  const files = sshdFiles(config)
  const hash = createHash('sha256')
  try {
    const logins = readdirSync(files.principals).sort()
    const paths = [
      files.userAuthorities,
      files.krl,
      config.dropIn,
      ...logins.map(login => join(files.principals, login)),
    ]
    for (const path of paths) {
      const content = readFileSync(path)
      hash.update(`${path}\n${content.length}\n`).update(content)
    }
  } catch {
    return undefined
  }
  return hash.digest('hex')
}
