import { execFile } from 'node:child_process'
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { z } from 'zod'
import type { Hosts } from '#server/hosts/index.ts'
import { isLogin, parseHostName } from '#shared/names.ts'
import { isSshdPath } from '#shared/ssh/index.ts'
import type { FoundSshd } from './find-sshd.ts'
import { type AgentProgram, joinDemo } from './join-demo.ts'
import { keepRunning } from './keep-running.ts'
import { endLeftover } from './leftovers.ts'
import { demoSshdConfig } from './sshd-config.ts'

/** Invariant 14: its short name `demo` comes from the local data folder, `demo.json`, never from a server's answer. */
export const DEMO_HOST = parseHostName('demo.keyman.localhost', 'host')

export type DemoHost = {
  readonly name: string
  readonly port: number
  readonly login: string
  /** Ends sshd and agent; sessions that are open go on. */
  stop(): Promise<void>
}

export type DemoOptions = {
  /** `demo` in the server's data folder. */
  readonly folder: string
  readonly sshd: FoundSshd
  readonly hosts: Pick<Hosts, 'add' | 'remove' | 'show'>
  readonly requestId: () => string
  readonly say: (line: string) => void
  /** Else the one of the last time, else a free one. */
  readonly port?: number
  /** Else the agent beside this program. */
  readonly agentEntry?: string
}

/** Of what stands in the way below one folder. */
const ELSEWHERE = 'to have one, name another data folder: KEYMAN_DATA_FOLDER=/FOLDER npm start'

const demoFile = z.object({ name: z.string(), port: z.int(), address: z.string(), login: z.string() })

/**
 * A host like any other, on this machine: its own sshd on loopback, for the user who started the server, kept by a real
 * `keyman-agent`. To be called once the machines' listener is open. What a killed server has left running is ended
 * first. Gives `missing`, a sentence, where there can be none.
 */
export async function startDemoHost(options: DemoOptions): Promise<DemoHost | { readonly missing: string }> {
  const { folder, sshd, say } = options
  const login = userInfo().username
  if (!isLogin(login))
    return { missing: `the demo host needs a Unix user name that KeyMan allows, and ${JSON.stringify(login)} is none` }
  if (!isSshdPath(folder))
    return { missing: `sshd does not read ${JSON.stringify(folder)}, for a blank or another sign in it; ${ELSEWHERE}` }
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  chmodSync(folder, 0o755)
  const open = writableByOthers(folder)
  if (open !== undefined)
    return { missing: `sshd refuses files below ${open}, which others can write to; ${ELSEWHERE}` }

  const pid = (name: string) => join(folder, `${name}.running.json`)
  await endLeftover(pid('agent'))
  await endLeftover(pid('sshd'))
  const port = await choosePort(options.port ?? lastPort(folder))
  const hostKey = join(folder, 'ssh_host_ed25519_key')
  if (!existsSync(hostKey))
    await promisify(execFile)('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', DEMO_HOST, '-f', hostKey])

  const sshdFolder = join(folder, 'sshd')
  const stateFolder = join(folder, 'agent')
  const config = join(folder, 'sshd_config')
  const dropIn = join(sshdFolder, 'keyman.conf')
  writeFileSync(config, demoSshdConfig({ folder, port, login, dropIn, usePam: needsPam(login), sshd }), { mode: 0o644 })
  const env = {
    ...withoutSettings(process.env),
    ...(sshd.libraryPath === undefined ? {} : { LD_LIBRARY_PATH: sshd.libraryPath }),
  }
  const agent: AgentProgram = { node: process.execPath, entry: options.agentEntry ?? agentEntry(), env }
  const machine = ['--sshd', sshd.sshd, '--sshd-config', config, '--sshd-folder', sshdFolder]
  machine.push('--host-key', `${hostKey}.pub`, '--pid-file', join(folder, 'sshd.pid'))
  machine.push('--sshd-log', join(folder, 'sshd.log'))
  await joinDemo({ ...options, name: DEMO_HOST, port, stateFolder, machine, agent })

  for (const log of ['sshd.log', 'agent.log']) rmSync(join(folder, log), { force: true })
  const sshdArgs = ['-D', '-e', '-f', config]
  const kept = [
    keepRunning(
      {
        name: 'sshd',
        command: sshd.sshd,
        args: sshdArgs,
        env,
        logFile: join(folder, 'sshd.log'),
        pidFile: pid('sshd'),
      },
      say,
    ),
    keepRunning(
      {
        name: 'keyman-agent',
        command: agent.node,
        args: [agent.entry, 'run', '--state-folder', stateFolder],
        env,
        logFile: join(folder, 'agent.log'),
        pidFile: pid('agent'),
      },
      say,
    ),
  ]
  await untilOpen(port)
  writeDemoFile(folder, { name: DEMO_HOST, port, address: '127.0.0.1', login })
  return {
    name: DEMO_HOST,
    port,
    login,
    async stop() {
      await Promise.all(kept.map(each => each.stop()))
      for (const name of ['sshd', 'agent']) rmSync(pid(name), { force: true })
    },
  }
}

/** Of the server's settings, the HSM's PIN and the database's password among them, a host learns nothing. */
const withoutSettings = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('KEYMAN_') || name === 'KEYMAN_DEBUG'))

/** Bundled, the agent lies beside the server; in development it is a source of its own. */
function agentEntry(): string {
  const bundled = join(import.meta.dirname, 'keyman-agent.mjs')
  return existsSync(bundled) ? bundled : join(import.meta.dirname, '..', '..', 'agent', 'main.ts')
}

/** Written whole: the CLI may read it at any moment. */
function writeDemoFile(folder: string, content: z.infer<typeof demoFile>): void {
  const file = join(folder, 'demo.json')
  writeFileSync(`${file}.tmp`, `${JSON.stringify(content)}\n`, { mode: 0o644 })
  renameSync(`${file}.tmp`, file)
}

function lastPort(folder: string): number | undefined {
  try {
    return demoFile.parse(JSON.parse(readFileSync(join(folder, 'demo.json'), 'utf8'))).port
  } catch {
    return undefined
  }
}

/** The wanted port if nobody has it, else one that the system gives. */
async function choosePort(wanted: number | undefined): Promise<number> {
  const free = (port: number): Promise<number | undefined> =>
    new Promise(resolve => {
      const server = createServer()
      server.once('error', () => resolve(undefined))
      server.listen(port, '127.0.0.1', () => {
        const address = server.address()
        server.close(() => resolve(typeof address === 'object' && address ? address.port : undefined))
      })
    })
  const port = (wanted === undefined ? undefined : await free(wanted)) ?? (await free(0))
  if (port === undefined) throw new Error('no free port on 127.0.0.1')
  return port
}

/** Whoever reads that the demo host is there may use it at once. Gives up after some seconds: the log says why. */
async function untilOpen(port: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const open = await new Promise<boolean>(resolve => {
      const socket = createConnection(port, '127.0.0.1', () => resolve(true))
      socket.once('error', () => resolve(false)).once('connect', () => socket.destroy())
    })
    if (open) return
    await delay(50)
  }
}

/** sshd's StrictModes looks at every folder from the file up. */
function writableByOthers(folder: string): string | undefined {
  for (let path = folder; path !== dirname(path); path = dirname(path))
    if ((lstatSync(path).mode & 0o022) !== 0) return path
  return undefined
}

/** Without PAM sshd lets nobody in whose shadow entry begins with `!`; only root's sshd looks there. */
function needsPam(login: string): boolean {
  try {
    const entry = readFileSync('/etc/shadow', 'utf8')
      .split('\n')
      .find(line => line.startsWith(`${login}:`))
    return entry?.split(':')[1]?.startsWith('!') === true && existsSync('/etc/pam.d/sshd')
  } catch {
    return false
  }
}
