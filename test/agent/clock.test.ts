import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { doctor } from '#agent/commands/doctor.ts'
import { joinHost } from '#agent/commands/join.ts'
import { leave } from '#agent/commands/leave.ts'
import { loadAgent, runAgent } from '#agent/commands/run.ts'
import type { Agent } from '#agent/keeper/handle-frame.ts'
import { Keeper } from '#agent/keeper/keeper.ts'
import { runSession } from '#agent/keeper/session.ts'
import { createLog } from '#agent/log.ts'
import { sshdFiles } from '#agent/sshd/files.ts'
import { parseHostName } from '#shared/names.ts'
import { AGENT } from '#test/support/programs/programs.ts'
import { newSshd, type TestSshd } from '#test/support/programs/sshd.ts'
import { pathOf, requires } from '#test/support/requires.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'

const check = z.strictObject({ name: z.string(), ok: z.boolean(), message: z.string().min(1) })
const MINUTE = 60_000
const CHECK = "the clock agrees with the server's"

describe.skipIf(!requires('sshd'))('a host that has joined', () => {
  let server: HostsServer
  let sshd: TestSshd
  let stateFolder: string
  let said = ''
  const log = createLog(
    line => {
      said += line
    },
    () => new Date(),
  )
  const off = (milliseconds: number) => () => new Date(Date.now() + milliseconds)
  const connect = async (agent: Agent, milliseconds: number) => {
    said = ''
    return runSession(new Keeper(agent), { signal: new AbortController().signal, once: true, now: off(milliseconds) })
  }
  const found = async (name: string, milliseconds = 0) => {
    const checks = await doctor(await loadAgent(stateFolder, log), off(milliseconds))
    return checks.find(check => check.name === name)
  }
  const NAME = parseHostName('web1.keyman.localhost', 'name')
  const join = async (again = false) => {
    const { token } = await server.services.hosts.add(
      { name: NAME, labels: {}, port: 22, tokenLifetime: 600 },
      server.by(),
    )
    const machine = {
      sshdFolder: path.join(sshd.folder, 'sshd'),
      dropIn: path.join(sshd.folder, 'sshd', 'keyman.conf'),
      sshdConfig: sshd.configFile,
      sshd: pathOf('sshd'),
      sshKeygen: '/usr/bin/ssh-keygen',
      hostKeys: [`${sshd.hostKey}.pub`],
      reload: { pidFile: sshd.pidFile },
    }
    const joined = await joinHost({ token, url: undefined, stateFolder, machine, again }, log)
    expect(joined).toMatchObject({ inForce: true })
  }
  const state = async () => (await server.services.hosts.show(NAME)).state
  const run = async () => {
    await expect.poll(state, { timeout: 10_000 }).toBe('away')
    said = ''
    const stop = new AbortController()
    const ended = runAgent(stateFolder, log, stop.signal)
    await expect.poll(state, { timeout: 10_000 }).toBe('connected')
    return { ended, stop: () => stop.abort() }
  }

  beforeAll(async () => {
    sshd = await newSshd(folder => [`Include ${folder}/sshd/keyman.conf`])
    stateFolder = path.join(sshd.folder, 'state')
    server = await startHostsServer()
    // Says to open streams which hosts are gone.
    await server.services.hosts.start()
    await join()
  })
  afterAll(async () => {
    await server?.services.hosts.stop()
    await server?.close()
    await sshd?.close()
  })

  it.each([
    ['behind', -10 * MINUTE],
    ['ahead', 10 * MINUTE],
  ])('whose clock is ten minutes %s is told so by doctor and in its log, and stays connected', async (way, change) => {
    expect((await found(CHECK, change))?.message).toMatch(new RegExp(`clock is (599|600|601) s ${way}`))
    const agent = await loadAgent(stateFolder, log)
    expect(await connect(agent, change)).toMatchObject({ settled: true })
    expect(said).toMatch(new RegExp(`warn this host's clock is (599|600|601) s ${way}`))
    // Said once, not at every connection.
    expect(await connect(agent, change)).toMatchObject({ settled: true })
    expect(said).not.toContain('clock is')
  })

  it('whose clock agrees with the server to the minute hears nothing of it', async () => {
    for (const change of [-50_000, 0, 50_000]) {
      expect(await found(CHECK, change)).toMatchObject({ ok: true })
      expect(await connect(await loadAgent(stateFolder, log), change)).toMatchObject({ settled: true })
      expect(said).not.toContain('clock is')
    }
  })

  it('is changed in nothing by doctor: a damaged host certificate is named, and stays', async () => {
    const agent = await loadAgent(stateFolder, log)
    const file = sshdFiles(agent.config).hostCertificate(`${sshd.hostKey}.pub`)
    expect(existsSync(file)).toBe(true)
    writeFileSync(file, 'damaged')
    expect(await found(`${sshd.hostKey}.pub has a host certificate`)).toMatchObject({ ok: false })
    expect(readFileSync(file, 'utf8')).toBe('damaged')
  })

  it("hands doctor's checks to a script as one document, with exit code 9 where one fails", async () => {
    const { config } = await loadAgent(stateFolder, log)
    const doctorJson = () =>
      new Promise<{ code: unknown; out: string }>(resolve => {
        const args = [AGENT, 'doctor', '--json', '--state-folder', stateFolder]
        execFile(process.execPath, args, (error, out) => resolve({ code: error?.code ?? 0, out }))
      })
    expect(await connect(await loadAgent(stateFolder, log), 0)).toMatchObject({ settled: true })
    const good = await doctorJson()
    const { checks } = z.strictObject({ checks: z.array(check) }).parse(JSON.parse(good.out))
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
    expect(checks.map(({ name }) => name)).toContain('the server knows this host')
    expect(good.code).toBe(0)
    writeFileSync(sshdFiles(config).hostCertificate(`${sshd.hostKey}.pub`), 'damaged')
    const bad = await doctorJson()
    expect(bad.code).toBe(9)
    expect(JSON.parse(bad.out).checks).toContainEqual({
      name: `${sshd.hostKey}.pub has a host certificate`,
      ok: false,
      message: 'none yet',
    })
  })

  it('keeps its stream while doctor asks the server whether it is known', async () => {
    const running = await run()
    expect(await found('the server knows this host')).toMatchObject({ ok: true })
    running.stop()
    await running.ended
    expect(said).not.toContain('warn')
  })

  it('and was removed at the server is told so by doctor, with what to do, and by its log', async () => {
    const running = await run()
    await server.services.hosts.remove(NAME, server.by())
    expect(await found('the server knows this host')).toMatchObject({
      ok: false,
      message: expect.stringMatching(/does not know this host any more .*keyman-agent leave.*join --again/),
    })
    await expect.poll(() => said, { timeout: 10_000 }).toMatch(/warn .*does not know this host any more.*leave/)
    running.stop()
    await running.ended
    await join(true)
  })

  it('and is left ends its agent with one line, and leaves nothing behind', async () => {
    const { config } = await loadAgent(stateFolder, log)
    const running = await run()
    const before = said
    await leave(
      stateFolder,
      createLog(() => undefined, off(0)),
    )
    await running.ended
    expect(said.slice(before.length)).toMatch(/^\S+ info KeyMan was taken off this host[^\n]*\n$/)
    expect(existsSync(stateFolder)).toBe(false)
    expect(existsSync(config.sshdFolder)).toBe(false)
  })
})
