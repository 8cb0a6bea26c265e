import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { joinHost } from '#agent/commands/join.ts'
import { leave } from '#agent/commands/leave.ts'
import { runAgent } from '#agent/commands/run.ts'
import { type AgentConfig, saveConfig } from '#agent/config.ts'
import type { Agent } from '#agent/keeper/handle-frame.ts'
import { Keeper } from '#agent/keeper/keeper.ts'
import { runSession } from '#agent/keeper/session.ts'
import { filesAreAsLeft, remember, settle } from '#agent/keeper/settle.ts'
import { createLog } from '#agent/log.ts'
import { sshdFiles } from '#agent/sshd/files.ts'
import { loadMemory, saveMemory } from '#agent/state/memory.ts'
import { api, type hostStream } from '#shared/api/index.ts'
import { formatJoinToken } from '#shared/join-token.ts'
import { parseHostName, parseLogin, parseUserPrincipal } from '#shared/names.ts'
import { parseCertificate, parsePublicKey } from '#shared/ssh/index.ts'
import { machineUri } from '#shared/x509/index.ts'
import { handleFrame } from '#test/support/handle-frame.ts'
import { newSshd, type TestSshd } from '#test/support/programs/sshd.ts'
import { pathOf, requires } from '#test/support/requires.ts'
import { newWorld } from '#test/support/trust-world.ts'
import { newScriptedServer, type ScriptedServer } from './scripted-server.ts'

const world = newWorld()
const LOGIN = parseLogin('deploy', 'login')
const line: hostStream.PrincipalsLine = {
  principal: parseUserPrincipal('alice@example.com', 'principal'),
  pty: true,
  portForwarding: true,
  agentForwarding: false,
  x11Forwarding: false,
}

describe.skipIf(!requires('sshd'))("an agent's connection", () => {
  let sshd: TestSshd
  let server: ScriptedServer
  let config: AgentConfig
  let agent: Agent
  let principals: string
  const frames: hostStream.FrameToServer[] = []
  /** What stood in the principals file whenever the agent called something in force. */
  const inForce: string[] = []
  let ahead = 0
  /** Warnings and errors. */
  let said = ''
  const now = () => new Date(Date.now() + ahead)
  const session = (options: { signal?: AbortSignal; once?: boolean; tickMs?: number } = {}) =>
    runSession(new Keeper(agent), { signal: new AbortController().signal, once: false, now, ...options })
  /** What it finds in its own configuration follows a word that it is looking, whenever that comes to an end. */
  const isFindings = (frame: hostStream.FrameToServer, i: number) => {
    const last = frames[i - 1]
    return frame.type === 'in-force' && !frame.looking && last?.type === 'in-force' && last.looking === true
  }
  const types = () =>
    frames
      .filter((frame, i) => !isFindings(frame, i))
      .map(frame => (frame.type === 'hello' ? `hello ${frame.revision}` : frame.type))
  const tamper = () => writeFileSync(principals, `${readFileSync(principals, 'utf8')}mallory@example.com\n`)
  const hostCertificate = () => sshdFiles(config).hostCertificate(`${sshd.hostKey}.pub`)
  const serial = () => parseCertificate(readFileSync(hostCertificate(), 'utf8').trim()).serial
  const hostKey = () => parsePublicKey(readFileSync(`${sshd.hostKey}.pub`, 'utf8').trim())

  beforeAll(async () => {
    sshd = await newSshd(folder => [`Include ${folder}/sshd/keyman.conf`])
    server = await newScriptedServer(world.machines)
  })
  afterAll(async () => {
    await server?.close()
    await sshd?.close()
  })

  beforeEach(async () => {
    const stateFolder = join(sshd.folder, 'state')
    mkdirSync(stateFolder, { mode: 0o700 })
    const validity = { notBefore: new Date(), notAfter: new Date(Date.now() + 86_400_000) }
    const client = world.machines.client(machineUri.host(world.organisation, world.host), validity)
    writeFileSync(join(stateFolder, 'client.key'), client.key, { mode: 0o600 })
    writeFileSync(join(stateFolder, 'client.crt'), client.cert)
    config = {
      version: 1,
      url: server.url,
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
    principals = join(sshdFiles(config).principals, LOGIN)
    const { document, signatures } = world.signedBundle()
    saveMemory(stateFolder, {
      bundle: { document, signatures: [...signatures] },
      incarnation: 'first',
      revision: 0,
      krlVersion: '0',
      canary: [],
      reloadPending: false,
    })
    said = ''
    const log = createLog(line => {
      if (/ (warn|error) /.test(line)) said += line
    }, now)
    agent = { config, stateFolder, log, style: 'utc', asked: { fingerprint: undefined } }
    const state = world.state(1, { principals: { [LOGIN]: [line] } })
    mkdirSync(config.sshdFolder, { mode: 0o755 })
    writeFileSync(hostCertificate(), `${world.hostCertificate(hostKey(), world.host, 7n)}\n`)
    await handleFrame(agent, { type: 'state', state })
    ahead = 0
    frames.length = 0
    inForce.length = 0
    server.onUpgrade = () => undefined
    server.onFrame = frame => {
      frames.push(frame)
      if (frame.type === 'in-force') inForce.push(readFileSync(principals, 'utf8'))
      if (frame.type !== 'hello') return undefined
      return frame.revision === 1 ? { type: 'current', revision: 1 } : { type: 'state', state }
    }
    server.onCall = (path, body, response) => {
      if (path === api.login.challenge.path) return void response.end(JSON.stringify({ challenge: 'AAAA' }))
      if (path !== api.hostSelf.hostCertificate.path) return void response.writeHead(404).end()
      const { publicKey } = api.hostSelf.hostCertificate.body?.parse(JSON.parse(body)) ?? { publicKey: '' }
      const certificate = world.hostCertificate(parsePublicKey(publicKey), world.host, 8n)
      const about = { serial: '8', keyId: 'host', principals: [world.host], startsAt: now(), endsAt: now() }
      response.end(JSON.stringify({ certificate, ...about }))
    }
  })
  afterEach(() => {
    for (const folder of ['state', 'sshd']) rmSync(join(sshd.folder, folder), { recursive: true, force: true })
  })

  /** Each is seen by its own, and leads to the same. */
  const CHANGES: [string, (files: ReturnType<typeof sshdFiles>) => void][] = [
    ['a line in a principals file', () => tamper()],
    [
      'a principals file of somebody who has none',
      ({ principals: folder }) => writeFileSync(join(folder, 'root'), 'm\n'),
    ],
    ['a principals file that is gone', () => rmSync(principals)],
    ['a list of revoked certificates that is empty', ({ krl }) => writeFileSync(krl, '')],
    ['a list of revoked certificates that is gone', ({ krl }) => rmSync(krl)],
    ['another authority', ({ userAuthorities }) => writeFileSync(userAuthorities, readFileSync(`${sshd.hostKey}.pub`))],
    ['a drop-in that says less', () => writeFileSync(config.dropIn, '')],
    ['the whole folder gone', ({ folder }) => rmSync(folder, { recursive: true })],
  ]
  const content = () => {
    const { krl, userAuthorities } = sshdFiles(config)
    return [principals, krl, userAuthorities].map(path => readFileSync(path).toString('base64'))
  }

  it.each(CHANGES)('sees %s at once, says that it is not in force, and writes it again', async (_, change) => {
    saveConfig(agent.stateFolder, config)
    const good = content()
    const stop = new AbortController()
    const running = runAgent(agent.stateFolder, agent.log, stop.signal)
    await expect.poll(types).toEqual(['hello 1', 'in-force'])
    change(sshdFiles(config))
    await expect.poll(() => types().slice(0, 4)).toEqual(['hello 1', 'in-force', 'failed', 'in-force'])
    expect(frames.find(({ type }) => type === 'failed')).toMatchObject({
      message: expect.stringMatching(/^ALARM: somebody changed sshd's files: /),
    })
    expect(content()).toEqual(good)
    expect(readdirSync(sshdFiles(config).principals)).toEqual([LOGIN])
    stop.abort()
    await running
  })

  it('writes again what somebody changed while no server is there, and tells of it afterwards', async () => {
    const good = content()
    const keeper = new Keeper(agent)
    const unwatch = keeper.watch()
    writeFileSync(sshdFiles(config).krl, '')
    await expect.poll(content).toEqual(good)
    unwatch()
    server.onFrame = frame => {
      frames.push(frame)
      return frame.type === 'hello' ? { type: 'current', revision: 1 } : undefined
    }
    await runSession(keeper, { signal: new AbortController().signal, once: true, now })
    expect(types()).toEqual(['hello 1', 'failed', 'in-force'])
  })

  it('tells of what is changed between its hello and the answer before it calls anything in force', async () => {
    server.onFrame = frame => {
      frames.push(frame)
      if (frame.type !== 'hello') return undefined
      tamper()
      return { type: 'current', revision: 1 }
    }
    await session({ once: true })
    expect(types()).toEqual(['hello 1', 'failed', 'in-force'])
  })

  it('sees by the clock what no watch has told it of', async () => {
    const running = session({ tickMs: 5 })
    await expect.poll(types).toEqual(['hello 1', 'in-force'])
    tamper()
    // Asking sshd makes it no file of ours, however often.
    await settle(agent, agent.asked, { always: true })
    await expect.poll(types).toEqual(['hello 1', 'in-force', 'failed', 'in-force'])
    server.drop()
    await running
  })

  it('asks for all of it where it does not know any more what it should have', async () => {
    rmSync(join(agent.stateFolder, 'desired.json'))
    tamper()
    await session({ once: true })
    expect(types()).toEqual(['hello 0', 'in-force'])
    expect(readFileSync(principals, 'utf8')).not.toContain('mallory')
  })

  it('notices within the minute a block of somebody else that overrules its files, and tells the server', async () => {
    const good = readFileSync(sshd.configFile, 'utf8')
    const running = session({ tickMs: 5 })
    await expect.poll(types).toEqual(['hello 1', 'in-force'])
    try {
      writeFileSync(sshd.configFile, `Match Address 192.0.2.1\n  RevokedKeys none\nMatch all\n${good}`)
      await expect.poll(types).toEqual(['hello 1', 'in-force', 'failed'])
      expect(frames.find(({ type }) => type === 'failed')).toMatchObject({
        message: expect.stringMatching(/"RevokedKeys none" .* in "Match Address 192.0.2.1"/),
      })
      // Nor is anything called in force by another connection.
      const other = await session({ once: true })
      expect(types()).toEqual(['hello 1', 'in-force', 'failed', 'hello 1', 'failed'])
      expect(other).toMatchObject({ settled: false, why: expect.stringMatching(/"RevokedKeys none"/) })
    } finally {
      writeFileSync(sshd.configFile, good)
    }
    // The first connection stands, and says by itself that it is good again.
    await expect.poll(types).toEqual(['hello 1', 'in-force', 'failed', 'hello 1', 'failed', 'in-force'])
    server.drop()
    await running
  })

  it('takes what somebody changed for its own at no renewal of a host certificate either', async () => {
    const good = readFileSync(principals, 'utf8')
    rmSync(hostCertificate())
    tamper()
    await session({ once: true })
    expect(types()).toEqual(['hello 1', 'failed', 'in-force'])
    expect(inForce).toEqual([good])
  })

  it('does not take for its own what is changed while it waits for sshd', async () => {
    // What runs between the writing and the end is a moment for anybody.
    const change = ['/bin/sh', '-c', `echo mallory@example.com >> ${principals}`]
    const slow = { ...agent, config: { ...config, reload: { command: change } } }
    remember(agent.stateFolder, { reloadPending: true })
    await handleFrame(slow, { type: 'state', state: world.state(2, { principals: { [LOGIN]: [line] } }) })
    expect(readFileSync(principals, 'utf8')).toContain('mallory')
    expect(filesAreAsLeft(config, loadMemory(agent.stateFolder))).toBe(false)
  })

  it('asks for nothing again where it changed the drop-in itself, for a new host certificate', async () => {
    rmSync(hostCertificate())
    await settle(agent, agent.asked)
    expect(readFileSync(config.dropIn, 'utf8')).not.toContain('HostCertificate')
    await session({ once: true })
    expect(readFileSync(config.dropIn, 'utf8')).toContain(`HostCertificate ${hostCertificate()}`)
    expect(types()).toEqual(['hello 1', 'in-force'])
  })

  it('replaces a host certificate that cannot be read', async () => {
    writeFileSync(hostCertificate(), 'damaged')
    await session({ once: true })
    expect(readFileSync(hostCertificate(), 'utf8')).toMatch(/^ssh-ed25519-cert-v01@openssh.com /)
  })

  it('gets another host certificate once its own is revoked', async () => {
    const running = session()
    await expect.poll(types).toEqual(['hello 1', 'in-force'])
    const revoking = (version: bigint, serials: readonly bigint[]) => {
      const bytes = world.krl(version, [], { ofHosts: serials })
      const state = world.state(Number(version), {
        principals: { [LOGIN]: [line] },
        krl: world.signedKrl(bytes, version),
      })
      server.push({ type: 'state', state })
    }
    revoking(2n, [6n])
    await expect.poll(types).toEqual(['hello 1', 'in-force', 'in-force'])
    server.push({ type: 'current', revision: 2 })
    await expect.poll(types).toEqual(['hello 1', 'in-force', 'in-force', 'in-force'])
    expect(serial()).toBe(7n)
    revoking(3n, [6n, 7n])
    await expect.poll(serial).toBe(8n)
    server.drop()
    await running
  })

  it('goes on where it cannot get certificates with the names that it is told of, and warns; where it can it gets them', async () => {
    const running = session()
    await expect.poll(types).toEqual(['hello 1', 'in-force'])
    // Its client certificate is due, which this server does not renew.
    ahead = 20 * 3_600_000
    const names: hostStream.FrameToAgent = { type: 'names', aliases: [parseHostName('www.example.com', 'alias')] }
    server.push(names)
    await expect.poll(() => said).toContain('and was not renewed')
    server.push({ type: 'current', revision: 1 })
    await expect.poll(types).toEqual(['hello 1', 'in-force', 'in-force'])
    ahead = 0
    server.push(names)
    await expect.poll(serial).toBe(8n)
    server.drop()
    await running
  })

  it('hears of revocations though its client certificate is due and nobody renews it, when it connects and by the clock; once it has ended it says so', async () => {
    ahead = 20 * 3_600_000
    const running = session({ tickMs: 20 })
    await expect.poll(types).toEqual(['hello 1', 'in-force'])
    await expect.poll(() => said.split('was not renewed').length).toBeGreaterThan(3)
    server.push({ type: 'state', state: world.state(2, { principals: { [LOGIN]: [line] } }) })
    await expect.poll(types).toEqual(['hello 1', 'in-force', 'in-force'])
    server.drop()
    await running
    ahead = 30 * 3_600_000
    await expect(session()).rejects.toThrow()
    ahead = 0
  })

  it('ends when it is told to while it is being made', async () => {
    const stop = new AbortController()
    server.onUpgrade = () => stop.abort()
    // Nothing but the signal ends it: no state is ever sent.
    server.onFrame = () => undefined
    expect(await session({ signal: stop.signal })).toMatchObject({ settled: false })
  })

  it('opens no stream where it could not say its hello', async () => {
    let opened = 0
    server.onUpgrade = () => void opened++
    agent = { ...agent, config: { ...config, sshd: join(sshd.folder, 'no-sshd') } }
    await expect(session()).rejects.toThrow(/could not be run/)
    expect(opened).toBe(0)
  })

  it('writes nothing any more once the agent is leaving: sshd would be told of a list of revoked keys that is gone', async () => {
    saveConfig(agent.stateFolder, config)
    const leaving = leave(agent.stateFolder, agent.log)
    await expect(settle(agent, agent.asked, { always: true })).rejects.toThrow(/memory.json is missing/)
    await leaving
    expect(existsSync(config.dropIn)).toBe(false)
  })

  it('may be left once more where leaving failed half-way', async () => {
    saveConfig(agent.stateFolder, config)
    const sshdConfig = readFileSync(config.sshdConfig)
    writeFileSync(config.sshdConfig, 'NoSuchSetting yes\n')
    await expect(leave(agent.stateFolder, agent.log)).rejects.toThrow(/sshd -t refuses/)
    expect(existsSync(sshdFiles(config).krl)).toBe(true)
    writeFileSync(config.sshdConfig, sshdConfig)
    await leave(agent.stateFolder, agent.log)
    expect(readdirSync(sshd.folder).filter(name => /^(state|sshd$)/.test(name))).toEqual([])
    await expect(leave(agent.stateFolder, agent.log)).rejects.toThrow(/has not joined/)
  })

  it('tells the server of a memory that is damaged, and ends', async () => {
    const running = session()
    await expect.poll(types).toEqual(['hello 1', 'in-force'])
    writeFileSync(join(agent.stateFolder, 'memory.json'), 'damaged')
    server.push({ type: 'current', revision: 1 })
    expect((await running).why).toMatch(/memory.json is missing or damaged/)
    expect(frames.at(-1)).toMatchObject({ type: 'failed', revision: 0 })
  })

  it('says nothing of what is missing where the agent has left', async () => {
    const running = session()
    await expect.poll(types).toEqual(['hello 1', 'in-force'])
    rmSync(agent.stateFolder, { recursive: true })
    server.push({ type: 'current', revision: 1 })
    await running
    expect(said).toBe('')
    expect(types()).toEqual(['hello 1', 'in-force'])
  })

  it('is one for a state folder: a second agent says which one has it and ends, and the first one goes on', async () => {
    saveConfig(agent.stateFolder, config)
    const stop = new AbortController()
    const first = runAgent(agent.stateFolder, agent.log, stop.signal)
    await expect.poll(types).toEqual(['hello 1', 'in-force'])
    const second = () => runAgent(agent.stateFolder, agent.log, AbortSignal.abort())
    const { version: _, url, organisation: __, host: name, rootFingerprint: fingerprint, ...machine } = config
    const token = formatJoinToken({ url, name, fingerprint, secret: 'A'.repeat(43) })
    const again = () => joinHost({ token, url, stateFolder: agent.stateFolder, machine, again: true }, agent.log)
    await expect(again()).rejects.toThrow(/is in use by process/)
    await expect(second()).rejects.toThrow(
      `the state folder ${agent.stateFolder} is in use by process ${process.pid} since`,
    )
    expect(types()).toEqual(['hello 1', 'in-force'])
    server.push({ type: 'current', revision: 1 })
    await expect.poll(types).toEqual(['hello 1', 'in-force', 'in-force'])
    stop.abort()
    await first
    await second()
    // The server of this test gives no trust bundle.
    await expect(again()).rejects.toThrow(/404/)
  })

  it('forgets the tree head of a history that was given up, with or without a new one', async () => {
    world.grow(10)
    const checkpoint = await world.checkpoint(10)
    const second = world.signedBundle({ version: 2, incarnation: 'second' })
    const trust = { bundles: [{ document: second.document, signatures: [...second.signatures] }] }
    await handleFrame(agent, { type: 'log', log: { checkpoint, proof: [] } })
    // The same history: what is remembered stays.
    await handleFrame(agent, { type: 'state', state: world.state(2) })
    expect(loadMemory(agent.stateFolder).checkpoint).toBe(checkpoint)
    await handleFrame(agent, { type: 'state', state: world.state(1, { incarnation: 'second', trust }) })
    expect(loadMemory(agent.stateFolder)).not.toHaveProperty('checkpoint')
    // The new history's log is shorter, and no proof could lead to it: no alarm.
    const next = await world.checkpoint(3)
    await handleFrame(agent, { type: 'log', log: { checkpoint: next, proof: [] } })
    expect(loadMemory(agent.stateFolder).checkpoint).toBe(next)
  })

  it('reports once what was revoked in a history that was given up, and again where no answer came', async () => {
    const first = world.state(1)
    await handleFrame(agent, { type: 'state', state: first })
    const { base64, signature } = first.krl
    const second = world.signedBundle({ version: 2, incarnation: 'second' })
    const trust = { bundles: [{ document: second.document, signatures: [...second.signatures] }] }
    const state = world.state(1, { incarnation: 'second', trust })
    server.onFrame = frame => (frame.type === 'hello' ? { type: 'state', state } : undefined)
    const reported: unknown[] = []
    const answer = server.onCall
    const statuses = [503, 200]
    server.onCall = (path, body, response) => {
      if (path !== api.hostSelf.reportRevoked.path) return answer(path, body, response)
      reported.push(JSON.parse(body))
      const refusal = { type: 'about:blank', title: 'unavailable', status: 503, code: 'unavailable' }
      const status = statuses.shift() ?? 200
      response.writeHead(status).end(JSON.stringify(status === 200 ? { certificates: 1, keys: 0 } : refusal))
    }
    for (let n = 0; n < 3; n++) await session({ once: true })
    expect(reported).toEqual([
      { base64, signature },
      { base64, signature },
    ])
    expect(said).toContain('could not be reported')
  })
})
