import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { doctor } from '#agent/doctor.ts'
import type { Agent } from '#agent/handle-frame.ts'
import { joinHost } from '#agent/join.ts'
import { createLog } from '#agent/log.ts'
import { loadAgent } from '#agent/run.ts'
import { runSession } from '#agent/session.ts'
import { sshdFiles } from '#agent/sshd-files.ts'
import { parseHostName } from '#shared/names.ts'
import { type HostsServer, startHostsServer } from '#test/support/hosts-server.ts'
import { pathOf, requires } from '#test/support/requires.ts'
import { newSshd, type TestSshd } from '#test/support/sshd.ts'

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
    return runSession(agent, { signal: new AbortController().signal, once: true, now: off(milliseconds) })
  }
  const found = async (milliseconds: number) => {
    const findings = await doctor(await loadAgent(stateFolder, log), off(milliseconds))
    return findings.find(({ what }) => what === CHECK)
  }

  beforeAll(async () => {
    sshd = await newSshd(folder => [`Include ${folder}/sshd/keyman.conf`])
    stateFolder = join(sshd.folder, 'state')
    server = await startHostsServer()
    const name = parseHostName('web1.keyman.localhost', 'name')
    const host = { name, labels: {}, port: 22, tokenLifetime: 600 }
    const { token } = await server.services.hosts.add(host, server.by())
    const machine = {
      sshdFolder: join(sshd.folder, 'sshd'),
      dropIn: join(sshd.folder, 'sshd', 'keyman.conf'),
      sshdConfig: sshd.configFile,
      sshd: pathOf('sshd'),
      sshKeygen: '/usr/bin/ssh-keygen',
      hostKeys: [`${sshd.hostKey}.pub`],
      reload: { pidFile: sshd.pidFile },
    }
    const joined = await joinHost({ token, url: undefined, stateFolder, machine, again: false }, log)
    expect(joined).toMatchObject({ inForce: true })
  })
  afterAll(async () => {
    await server?.close()
    await sshd?.close()
  })

  it.each([
    ['behind', -10 * MINUTE],
    ['ahead', 10 * MINUTE],
  ])('whose clock is ten minutes %s is told so by doctor and in its log, and stays connected', async (way, change) => {
    expect((await found(change))?.problem).toMatch(new RegExp(`clock is (599|600|601) s ${way}`))
    const agent = await loadAgent(stateFolder, log)
    expect(await connect(agent, change)).toMatchObject({ settled: true })
    expect(said).toMatch(new RegExp(`warn this host's clock is (599|600|601) s ${way}`))
    // Said once, not at every connection.
    expect(await connect(agent, change)).toMatchObject({ settled: true })
    expect(said).not.toContain('clock is')
  })

  it('whose clock agrees with the server to the minute hears nothing of it', async () => {
    for (const change of [-50_000, 0, 50_000]) {
      expect(await found(change)).toEqual({ what: CHECK, problem: undefined })
      expect(await connect(await loadAgent(stateFolder, log), change)).toMatchObject({ settled: true })
      expect(said).not.toContain('clock is')
    }
  })

  it('is changed in nothing by doctor: a damaged host certificate is named, and stays', async () => {
    const agent = await loadAgent(stateFolder, log)
    const file = sshdFiles(agent.config).hostCertificate(`${sshd.hostKey}.pub`)
    expect(existsSync(file)).toBe(true)
    writeFileSync(file, 'damaged')
    const about = (await doctor(agent)).find(({ what }) => what.endsWith('has a host certificate'))
    expect(about?.problem).toBeDefined()
    expect(readFileSync(file, 'utf8')).toBe('damaged')
  })
})
