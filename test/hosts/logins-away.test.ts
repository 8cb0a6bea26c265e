import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readStat } from '#agent/logins/connections.ts'
import { parseHostName } from '#shared/names.ts'
import { fingerprint, parsePublicKey } from '#shared/ssh/index.ts'
import { AGENT } from '#test/support/programs/programs.ts'
import { newSshd, ownLogin, type TestSshd } from '#test/support/programs/sshd.ts'
import { pathOf, requires } from '#test/support/requires.ts'
import { newKey, privateKeyFile, type TestKey } from '#test/support/trust-world.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'

const NAME = parseHostName('web1.keyman.localhost', 'name')

/** A real agent and a real sshd that also takes plain keys; the server goes away and comes back. */
describe.skipIf(!requires('ssh', 'sshd'))('logins of a host whose server or agent is away', () => {
  let server: HostsServer
  let sshd: TestSshd
  let agent: ChildProcess | undefined
  const stateFolder = () => join(sshd.folder, 'state')

  const startAgent = () => {
    agent = spawn(process.execPath, [AGENT, 'run', '--state-folder', stateFolder()], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  }
  const endAgent = async (signal: NodeJS.Signals) => {
    if (agent?.exitCode !== null || agent.signalCode !== null) return
    agent.kill(signal)
    await once(agent, 'exit')
  }
  const connected = () =>
    expect.poll(async () => (await server.services.hosts.show(NAME)).state, { timeout: 20_000 }).toBe('connected')
  const away = () =>
    expect.poll(async () => (await server.services.hosts.show(NAME)).state, { timeout: 20_000 }).toBe('away')
  const listed = async () => (await server.services.logins.list({ limit: 1000 })).toReversed()

  let keys = 0
  /** A key that sshd takes as it is. */
  const plainKey = (): { key: TestKey; file: string } => {
    const key = newKey()
    const file = join(sshd.folder, `plain-${++keys}`)
    writeFileSync(file, privateKeyFile(key), { mode: 0o600 })
    appendFileSync(join(sshd.folder, 'authorized_keys'), `${key.line}\n`)
    return { key, file }
  }
  const sshArgs = ({ file }: { file: string }, command: string) => [
    ...['-F', 'none', '-i', file, '-p', String(sshd.port), '-o', 'IdentitiesOnly=yes', '-o', 'IdentityAgent=none'],
    ...[
      '-o',
      'BatchMode=yes',
      '-o',
      'StrictHostKeyChecking=no',
      '-o',
      'UserKnownHostsFile=/dev/null',
      '-o',
      'LogLevel=ERROR',
    ],
    ...[`${ownLogin()}@127.0.0.1`, command],
  ]
  const comesIn = async (by: { file: string }) =>
    expect(await once(spawn('ssh', sshArgs(by, 'true'), { stdio: 'ignore' }), 'exit')).toEqual([0, null])
  const stays = (by: { file: string }) => {
    const child = spawn('ssh', sshArgs(by, 'echo in; exec sleep 600'), { stdio: ['ignore', 'pipe', 'ignore'] })
    return { in: once(child.stdout, 'data'), exited: once(child, 'exit').then(([code]: number[]) => code), child }
  }
  const isOpen = (key: TestKey) =>
    expect.poll(
      async () =>
        (await listed()).filter(login => login.key === fingerprint(key.publicKey) && login.closedAt === undefined)
          .length,
      { timeout: 20_000 },
    )

  beforeAll(async () => {
    sshd = await newSshd(folder => [
      `Include ${folder}/sshd/keyman.conf`,
      `AuthorizedKeysFile ${folder}/authorized_keys`,
      'PermitRootLogin prohibit-password',
    ])
    server = await startHostsServer()
    const { token } = await server.services.hosts.add(
      { name: NAME, labels: {}, port: 22, tokenLifetime: 600 },
      server.by(),
    )
    const machine = [
      ...['--state-folder', stateFolder(), '--sshd', pathOf('sshd'), '--sshd-config', sshd.configFile],
      ...['--sshd-folder', join(sshd.folder, 'sshd'), '--host-key', `${sshd.hostKey}.pub`, '--pid-file', sshd.pidFile],
      ...['--sshd-log', sshd.logFile],
    ]
    // The server answers from this very process.
    const joining = spawn(process.execPath, [AGENT, 'join', '--token-file', '-', ...machine], {
      stdio: ['pipe', 'ignore', 'inherit'],
    })
    joining.stdin.end(token)
    expect(await once(joining, 'exit')).toEqual([0, null])
    await sshd.start()
    startAgent()
  })
  afterAll(async () => {
    await endAgent('SIGTERM')
    await server?.close()
    await sshd?.close()
  })

  it('are told when the server is back, in order and each once, though the agent was killed meanwhile', async () => {
    const all = Array.from({ length: 4 }, plainKey)
    const [first, second, third, fourth] = all
    if (!first || !second || !third || !fourth) throw new Error('no keys')
    await connected()
    await comesIn(first)
    await expect.poll(async () => (await listed()).length, { timeout: 20_000 }).toBe(1)
    await server.unplug()
    await comesIn(second)
    await endAgent('SIGKILL')
    await comesIn(third)
    startAgent()
    await comesIn(fourth)
    await server.plug()
    await connected()
    await expect
      .poll(async () => (await listed()).filter(({ closedAt }) => closedAt !== undefined).map(({ key }) => key), {
        timeout: 30_000,
      })
      .toEqual(all.map(({ key }) => fingerprint(key.publicKey)))
    expect((await server.services.ledger.list({ limit: 1000, kind: 'host-login' })).length).toBe(4)
  })

  it('end by an order before it is called in force, however they came in; those that are to be kept go on', async () => {
    const [ending, keeping] = [plainKey(), plainKey()]
    const sessions = [stays(ending), stays(keeping)]
    for (const session of sessions) await session.in
    for (const { key } of [ending, keeping]) await isOpen(key).toBe(1)
    const { authority, hosts, logins } = server.services
    const kept = await authority.revoke({ publicKey: parsePublicKey(keeping.key.line) }, 'test', server.by(), 'keep')
    expect(kept.order).toBeUndefined()
    const ended = await authority.revoke({ publicKey: parsePublicKey(ending.key.line) }, 'test', server.by(), 'end')
    expect(await hosts.waitForKrl(ended.krlVersion, 20)).toMatchObject([{ state: 'in-force', seesLogins: true }])
    expect(await logins.endedBy(ended.order ?? 0n)).toEqual(new Map([[NAME, 1]]))
    expect(await sessions[0]?.exited).toBe(255)
    expect(sessions[1]?.child.exitCode).toBeNull()
    sessions[1]?.child.kill()
    await isOpen(keeping.key).toBe(0)
  })

  it('end by an order that was given while the agent was away; who comes in by another key stays', async () => {
    const [ending, staying] = [plainKey(), plainKey()]
    const sessions = [stays(ending), stays(staying)]
    for (const session of sessions) await session.in
    await isOpen(ending.key).toBe(1)
    await endAgent('SIGTERM')
    await away()
    await server.services.authority.revoke({ publicKey: parsePublicKey(ending.key.line) }, 'test', server.by(), 'end')
    startAgent()
    expect(await sessions[0]?.exited).toBe(255)
    await connected()
    expect(sessions[1]?.child.exitCode).toBeNull()
    sessions[1]?.child.kill()
  })

  it('takes what the session has started along, and not what left it before', async () => {
    const by = plainKey()
    const session = stays(by)
    await session.in
    const beside = join(sshd.folder, 'beside')
    // A shell that ignores the hang-up of its session; and one that has a session of its own.
    const stubborn = spawn(
      'ssh',
      sshArgs(
        by,
        `trap '' HUP TERM; setsid sh -c 'sleep 600 & echo $! > ${beside}' & echo $$; while :; do sleep 1; done`,
      ),
      {
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )
    const [said] = await once(stubborn.stdout.setEncoding('utf8'), 'data')
    const pid = Number(String(said).trim())
    await isOpen(by.key).toBe(2)
    await expect.poll(() => isRunning(Number(readPid(beside))), { timeout: 10_000 }).toBe(true)
    const exited = once(stubborn, 'exit')
    const { krlVersion } = await server.services.authority.revoke(
      { publicKey: parsePublicKey(by.key.line) },
      'test',
      server.by(),
      'end',
    )
    expect(await server.services.hosts.waitForKrl(krlVersion, 20)).toMatchObject([{ state: 'in-force' }])
    await exited
    await session.exited
    expect(isRunning(pid)).toBe(false)
    expect(isRunning(Number(readPid(beside)))).toBe(true)
    process.kill(Number(readPid(beside)))
  })
})

function readPid(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return '0'
  }
}
/** What has ended and nobody has taken note of is not running. */
function isRunning(pid: number): boolean {
  const entry =
    pid > 0 ? existsSync(`/proc/${pid}/stat`) && readStat(readFileSync(`/proc/${pid}/stat`, 'latin1')) : false
  return entry !== false && entry?.isZombie === false
}
