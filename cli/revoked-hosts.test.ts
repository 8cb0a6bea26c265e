import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { encodeKrl, parsePublicKey } from '#shared/ssh/index.ts'
import { requires } from '#test/support/requires.ts'
import { newSshd, ownLogin, type TestSshd } from '#test/support/sshd.ts'
import { ensureRevokedHosts, writeRevokedHosts } from './revoked-hosts.ts'
import { knownHostsText, sshConfigText } from './ssh-config.ts'

const name = 'web1.prod.example.com'

describe.skipIf(!requires('sshd'))('hosts whose certificate is revoked', () => {
  let folder: string
  let sshd: TestSshd
  let authority: string
  let revokedHostsFile: string
  const file = (of: string) => join(folder, of)
  const keygen = (...args: string[]) => execFileSync('ssh-keygen', ['-q', ...args])

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'keyman-revoked-hosts-'))
    revokedHostsFile = file('revoked')
    for (const key of ['ca', 'user']) keygen('-t', 'ed25519', '-N', '', '-f', file(key))
    authority = readFileSync(file('ca.pub'), 'utf8').trim()
    sshd = await newSshd(at => [
      `HostCertificate ${join(at, 'ssh_host_ed25519_key-cert.pub')}`,
      `AuthorizedKeysFile ${join(at, 'authorized')}`,
    ])
    keygen('-s', file('ca'), '-h', '-I', name, '-n', name, '-z', '7', '-V', '+1h', `${sshd.hostKey}.pub`)
    writeFileSync(join(sshd.folder, 'authorized'), readFileSync(file('user.pub')), { mode: 0o644 })
    await sshd.start()
  })
  afterAll(async () => {
    await sshd.close()
    rmSync(folder, { recursive: true, force: true })
  })

  /** Plain ssh by our configuration alone. */
  const ssh = () => {
    const own = {
      organisation: 'acme',
      hostSuffixes: ['prod.example.com'],
      hosts: [{ name, port: sshd.port, address: '127.0.0.1' }],
      check: '/bin/true',
      identityFile: file('user'),
      certificateFile: file('user-cert.pub'),
      knownHostsFile: file('known_hosts'),
      revokedHostsFile,
    }
    writeFileSync(file('known_hosts'), knownHostsText([authority], own))
    writeFileSync(file('config'), sshConfigText(own))
    const options = ['BatchMode=yes', 'StrictHostKeyChecking=yes', 'IdentityAgent=none', 'IdentitiesOnly=yes']
    const args = ['-F', file('config'), '-l', ownLogin(), ...options.flatMap(option => ['-o', option]), name, 'echo in']
    return new Promise<string>(done => execFile('ssh', args, (_, out, err) => done(out.trim() || err)))
  }
  const krl = (serial: bigint) => {
    const certificates = [
      { authority: parsePublicKey(authority, 'authority'), serials: [{ from: serial, to: serial }], keyIds: [] },
    ]
    return encodeKrl({ version: 3n, generatedAt: 0n, comment: '', certificates, keys: [], fingerprints: [] }).toBase64()
  }

  it('are refused by ssh; with another serial on the list the same host lets in', async () => {
    writeRevokedHosts(revokedHostsFile, krl(7n))
    expect(await ssh()).toMatch(/revoked/i)
    writeRevokedHosts(revokedHostsFile, krl(8n))
    expect(await ssh()).toBe('in')
  })

  it('nothing is revoked where the server says nothing: the list is there, with a header only, and lets in', async () => {
    rmSync(revokedHostsFile)
    expect(await ssh()).not.toBe('in')
    ensureRevokedHosts(revokedHostsFile)
    expect(await ssh()).toBe('in')
    // What an empty one means depends on the version of ssh.
    writeFileSync(revokedHostsFile, '')
    ensureRevokedHosts(revokedHostsFile)
    expect(statSync(revokedHostsFile).size).toBeGreaterThan(0)
  })

  it('a list stays as it is where the server sends what is none, or says nothing', async () => {
    writeRevokedHosts(revokedHostsFile, krl(7n))
    for (const none of ['', 'bm90IGEgbGlzdA==']) expect(() => writeRevokedHosts(revokedHostsFile, none)).toThrow()
    ensureRevokedHosts(revokedHostsFile)
    expect(await ssh()).toMatch(/revoked/i)
  })
})
