import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { utf8 } from '#shared/bytes.ts'
import { armorSshsig, decodeKrl, encodeKrl, encodeSshsig, parsePublicKey, sshsigSignedData } from '#shared/ssh/index.ts'
import { newKey, type TestKey } from '#test/support/programs/ssh-keys.ts'
import { newSshd, ownLogin, type TestSshd } from '#test/support/programs/sshd.ts'
import { requires } from '#test/support/requires.ts'
import { knownHostsText, sshConfigText, sshHostsText, sshMatchText } from './config.ts'
import { ensureRevokedHosts, writeRevokedHosts } from './revoked-hosts.ts'

const name = 'web1.prod.example.com'
const signed = (message: Uint8Array, { publicKey, sign }: TestKey, namespace: string): string =>
  armorSshsig(encodeSshsig({ publicKey, namespace, signature: sign(sshsigSignedData(namespace, message)) }))

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
      refresh: '/bin/true',
      hostsFile: file('hosts'),
      identityFile: file('user'),
      certificateFile: file('user-cert.pub'),
      knownHostsFile: file('known_hosts'),
      revokedHostsFile,
    }
    writeFileSync(file('known_hosts'), knownHostsText([authority], own))
    writeFileSync(file('match'), sshMatchText(own))
    writeFileSync(file('config'), sshConfigText(file('match'), [own.hostsFile]))
    writeFileSync(file('hosts'), sshHostsText(own))
    const options = ['BatchMode=yes', 'StrictHostKeyChecking=yes', 'IdentityAgent=none', 'IdentitiesOnly=yes']
    const args = ['-F', file('config'), '-l', ownLogin(), ...options.flatMap(option => ['-o', option]), name, 'echo in']
    return new Promise<string>(done => execFile('ssh', args, (_, out, err) => done(out.trim() || err)))
  }
  const history = 'keyman acme 1-a'
  const log = newKey('ssh-ed25519')
  const trusted = { logKeys: [log.publicKey.blob.slice(-32)], history }
  /** As a server says it: the list, and the log key's signature beside. */
  const krl = (
    serial: bigint,
    { version = 3n, comment = history, key = log, namespace = 'keyman-revoked-hosts' } = {},
  ) => {
    const certificates = [
      { authority: parsePublicKey(authority, 'authority'), serials: [{ from: serial, to: serial }], keyIds: [] },
    ]
    const bytes = encodeKrl({ version, generatedAt: 0n, comment, certificates, keys: [], fingerprints: [] })
    return { base64: bytes.toBase64(), signature: signed(bytes, key, namespace) }
  }
  const held = () => {
    const { certificates, version } = decodeKrl(readFileSync(revokedHostsFile))
    return `${version}: ${certificates[0]?.serials[0]?.from}`
  }

  it('are refused by ssh; with another serial on the list the same host lets in', async () => {
    writeRevokedHosts(revokedHostsFile, krl(7n), trusted)
    expect(await ssh()).toMatch(/revoked/i)
    writeRevokedHosts(revokedHostsFile, krl(8n), trusted)
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
    writeRevokedHosts(revokedHostsFile, krl(7n), trusted)
    for (const none of [new Uint8Array(), utf8('not a list')]) {
      const said = { base64: none.toBase64(), signature: signed(none, log, 'keyman-revoked-hosts') }
      expect(() => writeRevokedHosts(revokedHostsFile, said, trusted)).toThrow()
    }
    ensureRevokedHosts(revokedHostsFile)
    expect(await ssh()).toMatch(/revoked/i)
  })

  it('a list that the pinned log key has not signed, for laptops, is not taken; the same with its signature is', () => {
    writeRevokedHosts(revokedHostsFile, krl(7n), trusted)
    for (const other of [{ key: newKey('ssh-ed25519') }, { namespace: 'keyman-krl' }])
      expect(() => writeRevokedHosts(revokedHostsFile, krl(8n, other), trusted)).toThrow('not signed by a log key')
    expect(held()).toBe('3: 7')
    writeRevokedHosts(revokedHostsFile, krl(8n), trusted)
    expect(held()).toBe('3: 8')
  })

  it('a list by another log key that is pinned here is taken as well', () => {
    writeRevokedHosts(revokedHostsFile, krl(7n), trusted)
    const key = newKey('ssh-ed25519')
    expect(() => writeRevokedHosts(revokedHostsFile, krl(8n, { key }), trusted)).toThrow('not signed by a log key')
    const logKeys = [...trusted.logKeys, key.publicKey.blob.slice(-32)]
    writeRevokedHosts(revokedHostsFile, krl(8n, { key }), { ...trusted, logKeys })
    expect(held()).toBe('3: 8')
  })

  it('a list goes forward within its history: an older one, or one of another history, leaves what is there', () => {
    writeRevokedHosts(revokedHostsFile, krl(7n), trusted)
    for (const other of [{ version: 2n }, { version: 9n, comment: 'keyman acme 2-b' }])
      writeRevokedHosts(revokedHostsFile, krl(8n, other), trusted)
    expect(held()).toBe('3: 7')
    writeRevokedHosts(revokedHostsFile, krl(8n, { version: 4n }), trusted)
    expect(held()).toBe('4: 8')
    // A history that the root of trust has signed begins again where it likes.
    const next = 'keyman acme 2-b'
    writeRevokedHosts(revokedHostsFile, krl(9n, { version: 1n, comment: next }), { ...trusted, history: next })
    expect(held()).toBe('1: 9')
    rmSync(revokedHostsFile)
  })
})
