import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { utf8 } from '#shared/bytes.ts'
import type { AgentConfig } from '../config.ts'

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

/** What decides who gets in by a certificate: keyword and value. */
export const ourSettings = (config: Pick<AgentConfig, 'sshdFolder'>): (readonly [string, string])[] => {
  const files = sshdFiles(config)
  return [
    ['TrustedUserCAKeys', files.userAuthorities],
    ['AuthorizedPrincipalsFile', `${files.principals}/%u`],
    ['RevokedKeys', files.krl],
  ]
}

/**
 * The one file that makes sshd use the others. Plain host keys and algorithms are left as they were, for clients that
 * know no certificates. What a `Match` block says counts more than what stands outside of all, and the first block that
 * matches most: so ours are said in one that always does, and no later block switches them off for some.
 */
export function dropInText(config: AgentConfig): Uint8Array {
  const ours = ourSettings(config).map(([keyword, value]) => `${keyword} ${value}`)
  return utf8(
    [
      '# Written by keyman-agent. Changes are overwritten; keyman-agent leave takes it out.',
      ...ours,
      ...hostCertificateFiles(config).map(path => `HostCertificate ${path}`),
      '# Once more for every connection, so that no later Match block says otherwise for some.',
      'Match all',
      ...ours.map(line => `  ${line}`),
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
