import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { call } from '#cli/server/client.ts'
import { privateKeyFile } from '#cli/session/keys.ts'
import { api } from '#shared/api/index.ts'
import { encodeKrl, parsePublicKey } from '#shared/ssh/index.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { newSshd, ownLogin } from '#test/support/programs/sshd.ts'
import { median } from './numbers.ts'
import type { BenchServer } from './server.ts'

/**
 * How long `ssh HOST true` takes with the administrator's certificate (authority key, principals file, KRL) and with the same
 * key in `authorized_keys`, by turns at one sshd. Medians in milliseconds.
 */
export async function sshLogins(
  { owner }: BenchServer,
  rounds: number,
): Promise<{ certificate: number; plain: number }> {
  const { connection, keys, person } = owner
  const { certificate: line } = await call(connection, api.ssh.issueUserCertificate, {
    body: { publicKey: keys.ssh.line },
  })
  const { bundles } = await call(connection, api.trust.show)
  const authority = parseTrustDocument(bundles.at(-1)?.document ?? '').ssh.userAuthorities[0]?.key ?? ''
  const sshd = await newSshd(folder => [
    `TrustedUserCAKeys ${folder}/authorities`,
    `AuthorizedPrincipalsFile ${folder}/principals`,
    `RevokedKeys ${folder}/krl`,
    `AuthorizedKeysFile ${folder}/authorized_keys`,
    'PermitRootLogin prohibit-password',
  ])
  const file = (name: string, content: string | Uint8Array, mode = 0o644) => {
    const path = join(sshd.folder, name)
    writeFileSync(path, content, { mode })
    chmodSync(path, mode)
    return path
  }
  const now = BigInt(Math.floor(Date.now() / 1000))
  const revoked = [{ from: 1n, to: 1n }]
  try {
    file('authorities', `${authority}\n`)
    file('principals', `${person.identity}\n`)
    file('authorized_keys', `${keys.ssh.line}\n`)
    file(
      'krl',
      encodeKrl({
        version: 1n,
        generatedAt: now,
        comment: 'bench',
        certificates: [{ authority: parsePublicKey(authority), serials: revoked, keyIds: [] }],
        keys: [],
        fingerprints: [],
      }),
    )
    const key = file('id', privateKeyFile(keys), 0o600)
    const certificate = file('id-cert.pub', `${line}\n`)
    // Named apart, so that ssh finds no certificate beside it.
    const plainKey = file('plain', privateKeyFile(keys), 0o600)
    await sshd.start()
    const times = { certificate: [] as number[], plain: [] as number[] }
    for (let round = 0; round < rounds + 2; round++) {
      const withCertificate = await logIn(sshd.port, ['-i', key, '-o', `CertificateFile=${certificate}`])
      const withKey = await logIn(sshd.port, ['-i', plainKey])
      if (round < 2) continue
      times.certificate.push(withCertificate)
      times.plain.push(withKey)
    }
    if (!/Accepted publickey for \S+ from \S+ port \d+ ssh2: \S+-CERT /.test(sshd.log()))
      throw new Error('sshd took the certificate for no login')
    return { certificate: median(times.certificate), plain: median(times.plain) }
  } finally {
    await sshd.close()
  }
}

async function logIn(port: number, identity: readonly string[]): Promise<number> {
  const settings = ['BatchMode=yes', 'IdentityAgent=none', 'IdentitiesOnly=yes', 'LogLevel=ERROR']
  settings.push('StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null')
  const args = ['-F', 'none', ...identity, '-p', String(port), ...settings.flatMap(setting => ['-o', setting])]
  const started = performance.now()
  const child = spawn('ssh', [...args, `${ownLogin()}@127.0.0.1`, 'true'], { stdio: ['ignore', 'ignore', 'inherit'] })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`ssh ended with ${code}`)
  return performance.now() - started
}
