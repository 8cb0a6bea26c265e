import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { doctor } from '#agent/commands/doctor.ts'
import { joinHost } from '#agent/commands/join.ts'
import type { Agent } from '#agent/keeper/handle-frame.ts'
import { createLog } from '#agent/log.ts'
import { sshdFiles } from '#agent/sshd/files.ts'
import { expiryStyle, sshdVersion } from '#agent/sshd/sshd.ts'
import { saveMemory } from '#agent/state/memory.ts'
import { formatJoinToken } from '#shared/join-token.ts'
import { parseLogin, parseUserPrincipal } from '#shared/names.ts'
import { handleFrame } from '#test/support/handle-frame.ts'
import { newSshd, newUnixUser, ownLogin, ssh, type TestSshd } from '#test/support/programs/sshd.ts'
import { isRoot, pathOf, requires } from '#test/support/requires.ts'
import { newKey, newWorld } from '#test/support/trust-world.ts'

const world = newWorld()
const elsewhere = newWorld()
const identity = (of: typeof world, name: string, serial: bigint) => {
  const key = newKey()
  return { key, certificate: of.userCertificate(key.publicKey, [`${name}@example.com`], serial) }
}
/** The host's files let in `alice`, and neither of the others. */
const alice = identity(world, 'alice', 101n)
const revoked = identity(world, 'alice', 102n)
const bob = identity(world, 'bob', 103n)
const stranger = identity(elsewhere, 'alice', 104n)

type Parts = Pick<TestSshd, 'folder' | 'port'>
/** A keyword with a value that lets somebody in: who that is, and by what value. */
const SWITCHES = [
  ['RevokedKeys', 'a revoked certificate', ({ folder }: Parts) => `${folder}/nothing.krl`, revoked],
  ['TrustedUserCAKeys', "a foreign authority's certificate", ({ folder }: Parts) => `${folder}/both_ca.pub`, stranger],
  ['AuthorizedPrincipalsFile', 'somebody without a grant', ({ folder }: Parts) => `${folder}/everybody`, bob],
] as const
const BLOCKS = [
  ['Match Address', () => 'Match Address 127.0.0.0/8'],
  ['Match LocalPort', ({ port }: Parts) => `Match LocalPort ${port}`],
  ['Match User', () => 'Match User *'],
] as const

describe.skipIf(!requires('sshd'))("somebody else's sshd configuration", () => {
  let sshd: TestSshd
  let user: ReturnType<typeof newUnixUser> | undefined
  let login: string
  const exitOf = async (who: typeof alice) => (await ssh(sshd, login, who, 'true')).code
  const found = async (agent: Agent) => (await doctor(agent)).find(({ name }) => name === 'sshd uses our files')

  beforeAll(() => {
    user = isRoot ? newUnixUser() : undefined
    login = user?.name ?? ownLogin()
  })
  afterAll(() => user?.remove())
  afterEach(() => sshd.close())

  /** A host with this before and after the Include of ours; `inForce` fails where the agent says that nothing is. */
  async function host(parts: (of: Parts) => { readonly before?: string; readonly after?: string }) {
    sshd = await newSshd(folder => [`Include ${folder}/sshd/keyman.conf`])
    const { before = '', after = '' } = parts(sshd)
    const start = before === '' ? '' : `${before}Match all\n`
    writeFileSync(sshd.configFile, `${start}${readFileSync(sshd.configFile, 'utf8')}${after}`)
    const { folder } = sshd
    writeFileSync(join(folder, 'nothing.krl'), world.krl(1n))
    writeFileSync(join(folder, 'both_ca.pub'), `${world.userAuthority.line}\n${elsewhere.userAuthority.line}\n`)
    writeFileSync(join(folder, 'everybody'), 'alice@example.com\nbob@example.com\n')
    const stateFolder = join(folder, 'state')
    mkdirSync(stateFolder, { mode: 0o700 })
    const config = {
      version: 1 as const,
      url: 'https://localhost:4443',
      organisation: world.organisation,
      host: world.host,
      rootFingerprint: `SHA256:${'A'.repeat(43)}`,
      sshdFolder: join(folder, 'sshd'),
      dropIn: join(folder, 'sshd', 'keyman.conf'),
      sshdConfig: sshd.configFile,
      sshd: pathOf('sshd'),
      sshKeygen: '/usr/bin/ssh-keygen',
      hostKeys: [`${sshd.hostKey}.pub`],
      reload: { pidFile: sshd.pidFile },
    }
    const { document, signatures } = world.signedBundle()
    const bundle = { document, signatures: [...signatures] }
    saveMemory(stateFolder, {
      bundle,
      incarnation: 'first',
      revision: 0,
      krlVersion: '0',
      canary: [],
      reloadPending: false,
    })
    const log = createLog(
      () => undefined,
      () => new Date(),
    )
    const style = expiryStyle(await sshdVersion(config.sshd))
    const agent = { config, stateFolder, log, style, asked: { fingerprint: undefined } }
    const line = { pty: true, portForwarding: true, agentForwarding: false, x11Forwarding: false }
    const state = world.state(1, {
      principals: {
        [parseLogin(login, 'login')]: [{ principal: parseUserPrincipal('alice@example.com', 'principal'), ...line }],
      },
      krl: world.signedKrl(world.krl(1n, [102n]), 1n),
    })
    const inForce = handleFrame(agent, { type: 'state', state })
    await inForce.catch(() => undefined)
    await sshd.start()
    return { agent, inForce }
  }

  describe.each(BLOCKS)('in a %s block', (_, criteria) => {
    it.each(SWITCHES)('after ours, another %s neither lets %s in nor keeps anybody out', async (...row) => {
      const [keyword, , value, who] = row
      const { agent, inForce } = await host(of => ({ after: `${criteria(of)}\n  ${keyword} ${value(of)}\n` }))
      expect(await inForce).toBe(1)
      expect(await exitOf(who)).toBe(255)
      expect(await exitOf(alice)).toBe(0)
      expect(await found(agent)).toMatchObject({ ok: true })
    })

    it.each(SWITCHES)(
      'before ours, another %s lets %s in: nothing is called in force, and the block is named',
      async (...row) => {
        const [keyword, , value, who] = row
        const { agent, inForce } = await host(of => ({ before: `${criteria(of)}\n  ${keyword} ${value(of)}\n` }))
        expect(await exitOf(who)).toBe(0)
        const named = `"${keyword} ${value(sshd)}" (${sshd.configFile}:2, in "${criteria(sshd)}") is in force`
        await expect(inForce).rejects.toThrow(named)
        expect(await found(agent)).toMatchObject({ ok: false, message: expect.stringContaining(named) })
      },
    )
  })

  it('in a block before ours, that says the same as ours, contradicts nothing', async () => {
    const { inForce } = await host(of => ({
      before: `Match User *\n  RevokedKeys ${sshdFiles({ sshdFolder: join(of.folder, 'sshd') }).krl}\n`,
    }))
    expect(await inForce).toBe(1)
    expect(await exitOf(revoked)).toBe(255)
    expect(await exitOf(alice)).toBe(0)
  })

  it.skipIf(!isRoot)(
    'with a command for principals, even after ours, lets in whom no grant names: never in force (root only)',
    async () => {
      const parts = (value: string) => ({
        after: `AuthorizedPrincipalsCommand ${value}\nAuthorizedPrincipalsCommandUser nobody\n`,
      })
      const command = '/bin/echo bob@example.com'
      const { inForce } = await host(() => parts(command))
      expect(await exitOf(bob)).toBe(0)
      await expect(inForce).rejects.toThrow(`"AuthorizedPrincipalsCommand ${command}"`)
      await sshd.close()
      const without = await host(() => ({ after: 'AuthorizedPrincipalsCommand none\n' }))
      expect(await without.inForce).toBe(1)
      expect(await exitOf(bob)).toBe(255)
      expect(await exitOf(alice)).toBe(0)
    },
  )

  it('with a command for plain keys is told by doctor, and is no reason to call nothing in force', async () => {
    const after = 'AuthorizedKeysCommand /bin/true\nAuthorizedKeysCommandUser nobody\n'
    const { agent, inForce } = await host(() => ({ after }))
    expect(await inForce).toBe(1)
    const message = expect.stringContaining('plain keys are let in beside KeyMan by "AuthorizedKeysCommand /bin/true"')
    expect(await doctor(agent)).toContainEqual({ name: 'who gets in beside KeyMan', ok: true, note: true, message })
  })

  it('is looked at before a join token is used: a block that overrules ours is named, and nobody is asked', async () => {
    const { agent } = await host(() => ({}))
    const {
      version: _,
      url: __,
      organisation: ___,
      host: name,
      rootFingerprint: fingerprint,
      ...machine
    } = agent.config
    const secret = 'A'.repeat(43)
    const said: string[] = []
    const log = createLog(
      text => said.push(text),
      () => new Date(),
    )
    const stateFolder = join(sshd.folder, 'joining')
    const token = formatJoinToken({ url: 'https://localhost:9', name, fingerprint, secret })
    const joining = () => joinHost({ token, url: undefined, stateFolder, machine, again: false }, log)
    const good = readFileSync(sshd.configFile, 'utf8')
    const block = 'Match Address 192.0.2.1\n  RevokedKeys none\n'
    writeFileSync(sshd.configFile, `${block}Match all\n${good}`)
    await expect(joining()).rejects.toThrow(/"RevokedKeys none" .* in "Match Address 192.0.2.1"/)
    expect(existsSync(stateFolder)).toBe(false)
    // After ours it counts no more, and that is said.
    writeFileSync(sshd.configFile, `${good}${block}`)
    await expect(joining()).rejects.toThrow(/localhost:9/)
    expect(said.join('')).toMatch(/"RevokedKeys none" .* counts no more while .*keyman.conf is there/)
  })

  it('that changes while the agent stays connected is seen before anything more is called in force', async () => {
    const { agent, inForce } = await host(() => ({}))
    expect(await inForce).toBe(1)
    const good = readFileSync(sshd.configFile, 'utf8')
    writeFileSync(sshd.configFile, `Match User *\n  RevokedKeys none\nMatch all\n${good}`)
    await expect(handleFrame(agent, { type: 'current', revision: 1 })).rejects.toThrow(/"RevokedKeys none"/)
    writeFileSync(sshd.configFile, good)
    expect(await handleFrame(agent, { type: 'current', revision: 1 })).toBe(1)
  })
})
