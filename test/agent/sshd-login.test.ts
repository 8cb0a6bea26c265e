import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { leave } from '#agent/commands/leave.ts'
import { saveConfig } from '#agent/config.ts'
import type { Agent } from '#agent/keeper/handle-frame.ts'
import { remember, settle } from '#agent/keeper/settle.ts'
import { createLog } from '#agent/log.ts'
import { hashOfFiles, sshdFiles } from '#agent/sshd/files.ts'
import { expiryStyle, sshdVersion } from '#agent/sshd/sshd.ts'
import { loadMemory, saveMemory } from '#agent/state/memory.ts'
import type { hostStream } from '#shared/api/index.ts'
import { parseLogin, parseUserPrincipal } from '#shared/names.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { handleFrame } from '#test/support/handle-frame.ts'
import { newSshd, newUnixUser, ownLogin, ssh, type TestSshd } from '#test/support/programs/sshd.ts'
import { isRoot, pathOf, requires } from '#test/support/requires.ts'
import { newKey, newWorld } from '#test/support/trust-world.ts'

const world = newWorld()
const person = (name: string, serial: bigint) => {
  const key = newKey()
  return { key, certificate: world.userCertificate(key.publicKey, [`${name}@example.com`], serial) }
}
const alice = person('alice', 101n)
const bob = person('bob', 102n)

const line = (principal: string, change: Partial<hostStream.PrincipalsLine> = {}): hostStream.PrincipalsLine => ({
  principal: parseUserPrincipal(principal, 'principal'),
  pty: true,
  portForwarding: true,
  agentForwarding: false,
  x11Forwarding: false,
  ...change,
})

describe.skipIf(!requires('sshd'))("the agent's files in force in a real sshd", () => {
  let sshd: TestSshd
  let agent: Agent
  let revision = 0
  const logins: string[] = []
  const users: { name: string; remove(): void }[] = []
  const said: string[] = []

  /** The next revision, with these logins and these serials revoked; through everything that a frame goes through. */
  const apply = (principals: Record<string, hostStream.PrincipalsLine[]>, revoked: readonly bigint[] = []) => {
    revision++
    const version = BigInt(revision)
    const named = Object.fromEntries(
      Object.entries(principals).map(([login, lines]) => [parseLogin(login, 'login'), lines]),
    )
    const state = world.state(revision, {
      principals: named,
      krl: world.signedKrl(world.krl(version, revoked), version),
    })
    return handleFrame(agent, { type: 'state', state })
  }

  beforeAll(async () => {
    if (isRoot) users.push(newUnixUser(), newUnixUser())
    logins.push(...(isRoot ? users.map(user => user.name) : [ownLogin()]))
    sshd = await newSshd(folder => [`Include ${folder}/sshd/keyman.conf`])
    const stateFolder = join(sshd.folder, 'state')
    mkdirSync(stateFolder, { mode: 0o700 })
    const config = {
      version: 1 as const,
      url: 'https://localhost:4443',
      organisation: world.organisation,
      host: world.host,
      rootFingerprint: `SHA256:${'A'.repeat(43)}`,
      sshdFolder: join(sshd.folder, 'sshd'),
      dropIn: join(sshd.folder, 'sshd', 'keyman.conf'),
      sshdConfig: sshd.configFile,
      sshd: pathOf('sshd'),
      sshKeygen: '/usr/bin/ssh-keygen',
      hostKeys: [`${sshd.hostKey}.pub`],
      reload: { pidFile: sshd.pidFile },
    }
    saveConfig(stateFolder, config)
    const { document, signatures } = world.signedBundle()
    saveMemory(stateFolder, {
      bundle: { document, signatures: [...signatures] },
      incarnation: 'first',
      revision: 0,
      krlVersion: '0',
      canary: [],
      reloadPending: false,
    })
    const log = createLog(
      text => said.push(text),
      () => new Date(),
    )
    agent = {
      config,
      stateFolder,
      log,
      style: expiryStyle(await sshdVersion(config.sshd)),
      asked: { fingerprint: undefined },
    }
    await apply({})
    await sshd.start()
  })
  afterAll(async () => {
    await sshd?.close()
    for (const user of users) user.remove()
  })

  it('let in whom a line names, and nobody else', async () => {
    const [login = ''] = logins
    await apply({ [login]: [line('alice@example.com')] })
    expect(await ssh(sshd, login, alice, 'id -un')).toMatchObject({ code: 0, out: `${login}\n` })
    expect((await ssh(sshd, login, bob, 'id -un')).code).toBe(255)
    await apply({ [login]: [line('alice@example.com'), line('bob@example.com')] })
    expect((await ssh(sshd, login, bob, 'id -un')).code).toBe(0)
  })

  it.skipIf(!isRoot)(
    'let a person in as the one Unix user whose file names them (two Unix users, root only)',
    async () => {
      const [first = '', second = ''] = logins
      await apply({ [first]: [line('alice@example.com')], [second]: [line('bob@example.com')] })
      expect((await ssh(sshd, first, alice, 'id -un')).out).toBe(`${first}\n`)
      expect((await ssh(sshd, second, alice, 'id -un')).code).toBe(255)
      expect((await ssh(sshd, second, bob, 'id -un')).out).toBe(`${second}\n`)
      expect((await ssh(sshd, first, bob, 'id -un')).code).toBe(255)
      // The refusal comes from the principals file: one line more, and the same certificate gets in.
      await apply({
        [first]: [line('alice@example.com')],
        [second]: [line('bob@example.com'), line('alice@example.com')],
      })
      expect((await ssh(sshd, second, alice, 'id -un')).code).toBe(0)
    },
  )

  it('let nobody in as a login that has no file', async () => {
    const [login = ''] = logins
    await apply({})
    expect(readdirSync(sshdFiles(agent.config).principals)).toEqual([])
    expect((await ssh(sshd, login, alice, 'id -un')).code).toBe(255)
    await apply({ [login]: [line('alice@example.com')] })
    expect((await ssh(sshd, login, alice, 'id -un')).code).toBe(0)
  })

  it('refuse a revoked certificate from the next login on, and no other', async () => {
    const [login = ''] = logins
    const both = { [login]: [line('alice@example.com'), line('bob@example.com')] }
    await apply(both)
    expect((await ssh(sshd, login, alice, 'true')).code).toBe(0)
    await apply(both, [101n])
    expect((await ssh(sshd, login, alice, 'true')).code).toBe(255)
    expect((await ssh(sshd, login, bob, 'true')).code).toBe(0)
    expect(sshd.log()).toMatch(/revoked/i)
  })

  it('narrow each line to its grant: end, address, command, forwarding', async () => {
    const [login = ''] = logins
    const tryWith = async (change: Partial<hostStream.PrincipalsLine>) => {
      await apply({ [login]: [line('alice@example.com', change)] })
      return ssh(sshd, login, alice, 'echo asked')
    }
    expect((await tryWith({ expiresAt: new Date(Date.now() - 60_000).toISOString() })).code).toBe(255)
    expect((await tryWith({ expiresAt: new Date(Date.now() + 3_600_000).toISOString() })).out).toBe('asked\n')
    expect((await tryWith({ sourceAddress: ['192.0.2.1'] })).code).toBe(255)
    expect((await tryWith({ sourceAddress: ['192.0.2.1', '127.0.0.0/8'] })).out).toBe('asked\n')
    expect((await tryWith({ forceCommand: "echo forced, 'that is'" })).out).toBe('forced, that is\n')
  })

  it('are written whole by each state and read back; a file that somebody changed is noticed', async () => {
    const [login = ''] = logins
    await apply({ [login]: [line('alice@example.com')] })
    const { filesHash } = loadMemory(agent.stateFolder)
    expect(hashOfFiles(agent.config)).toBe(filesHash)
    const file = join(sshdFiles(agent.config).principals, login)
    writeFileSync(file, `${readFileSync(file, 'utf8')}mallory@example.com\n`)
    expect(hashOfFiles(agent.config)).not.toBe(filesHash)
    await apply({ [login]: [line('alice@example.com')] })
    expect(readFileSync(file, 'utf8')).not.toContain('mallory')
  })

  it('are refused as a whole where a symbolic link was planted among them; what was in force stays', async () => {
    const [login = ''] = logins
    await apply({ [login]: [line('alice@example.com')] })
    const before = loadMemory(agent.stateFolder).revision
    const victim = join(sshd.folder, 'victim')
    writeFileSync(victim, 'precious')
    const planted = join(sshdFiles(agent.config).principals, 'deploy')
    symlinkSync(victim, planted)
    await expect(apply({ [login]: [line('alice@example.com')], deploy: [line('alice@example.com')] })).rejects.toThrow(
      /not a plain file/,
    )
    expect(readFileSync(victim, 'utf8')).toBe('precious')
    expect(loadMemory(agent.stateFolder).revision).toBe(before)
    unlinkSync(planted)
    await apply({ [login]: [line('alice@example.com')], deploy: [line('alice@example.com')] })
    expect(loadMemory(agent.stateFolder).revision).toBe(revision)
  })

  it('show a host certificate that a client takes by its authority alone', async () => {
    const [login = ''] = logins
    await apply({ [login]: [line('alice@example.com')] })
    const hostKey = parsePublicKey(readFileSync(`${sshd.hostKey}.pub`, 'utf8').trim())
    const file = sshdFiles(agent.config).hostCertificate(`${sshd.hostKey}.pub`)
    const known = join(sshd.folder, 'known_hosts')
    writeFileSync(known, `@cert-authority ${world.host} ${world.hostAuthority.line}\n`)
    const options = ['StrictHostKeyChecking=yes', `UserKnownHostsFile=${known}`, `HostKeyAlias=${world.host}`]
    expect((await ssh(sshd, login, alice, 'true', options)).err).toMatch(/Host key verification failed/)
    writeFileSync(file, `${world.hostCertificate(hostKey, world.host, 7n)}\n`)
    remember(agent.stateFolder, { reloadPending: true })
    await settle(agent, agent.asked)
    expect(readFileSync(agent.config.dropIn, 'utf8')).toContain(`HostCertificate ${file}`)
    // SIGHUP is taken a moment later: sshd starts itself anew.
    await expect.poll(async () => (await ssh(sshd, login, alice, 'true', options)).code, { timeout: 10_000 }).toBe(0)
  })

  it('are not called in force while sshd does not use them', async () => {
    const [login = ''] = logins
    const config = readFileSync(sshd.configFile, 'utf8')
    const before = loadMemory(agent.stateFolder).revision
    writeFileSync(sshd.configFile, config.replace(/^Include.*\n/, ''))
    await expect(apply({ [login]: [line('alice@example.com')] })).rejects.toThrow(/sshd does not use our files/)
    expect(loadMemory(agent.stateFolder).revision).toBe(before)
    writeFileSync(sshd.configFile, config)
    await apply({ [login]: [line('alice@example.com')] })
    expect(loadMemory(agent.stateFolder).revision).toBe(revision)
  })

  it('are not called in force where a Match block takes one of the logins out', async () => {
    const config = readFileSync(sshd.configFile, 'utf8')
    const before = loadMemory(agent.stateFolder).revision
    const block = 'Match User deploy\n  AuthorizedPrincipalsFile none\n'
    // Above the Include: sshd takes the first block's value that it meets.
    writeFileSync(sshd.configFile, `${block}Match all\n${config}`)
    await expect(apply({ deploy: [line('alice@example.com')] })).rejects.toThrow(
      /"AuthorizedPrincipalsFile none" \(.*:2, in "Match User deploy"\)/,
    )
    expect(loadMemory(agent.stateFolder).revision).toBe(before)
    writeFileSync(sshd.configFile, config + block)
    await apply({ deploy: [line('alice@example.com')] })
    expect(loadMemory(agent.stateFolder).revision).toBe(revision)
    writeFileSync(sshd.configFile, config)
    await apply({ deploy: [line('alice@example.com')] })
    expect(loadMemory(agent.stateFolder).revision).toBe(revision)
  })

  it('bring no sshd down: a configuration that sshd refuses is never reloaded', async () => {
    const [login = ''] = logins
    const config = readFileSync(sshd.configFile, 'utf8')
    writeFileSync(sshd.configFile, `${config}NoSuchSetting yes\n`)
    remember(agent.stateFolder, { reloadPending: true })
    await expect(apply({ [login]: [line('alice@example.com')] })).rejects.toThrow(/sshd -t refuses/)
    expect((await ssh(sshd, login, alice, 'true')).code).toBe(0)
    writeFileSync(sshd.configFile, config)
    await apply({ [login]: [line('alice@example.com')] })
  })

  it('go away without locking anybody out: the drop-in first, then the rest', async () => {
    await leave(agent.stateFolder, agent.log)
    expect(existsSync(agent.config.dropIn)).toBe(false)
    expect(existsSync(sshdFiles(agent.config).krl)).toBe(false)
  })
})
