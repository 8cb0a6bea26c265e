import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../free-port.ts'
import { NODE_FLAGS, SERVER } from './programs.ts'
import { newPGlite } from './templates.ts'

export type ServerProcess = {
  readonly folder: string
  readonly env: NodeJS.ProcessEnv
  readonly pagesUrl: string
  readonly machinesUrl: string
  readonly dataFolder: string
  /** What it has said so far, both streams. */
  output(): string
  /** The link to the first owner's page; throws where it said none. */
  ownerLink(): string
  /** `kill -9`; the folder stays. */
  kill(): Promise<void>
  /** SIGTERM, and what it exited with. */
  stop(): Promise<number | null>
  /** Starts it again on the same folder, ports and settings. */
  restart(): Promise<void>
  readonly pid: number
  close(): Promise<void>
}

/**
 * A home for a test below the user's own: sshd's StrictModes refuses what lies below `/tmp`, and reads the passwd home
 * whatever HOME says.
 */
export function testHome(): string {
  const parent = join(userInfo().homedir, '.cache')
  mkdirSync(parent, { recursive: true, mode: 0o755 })
  return mkdtempSync(join(parent, 'keyman-test-'))
}

/**
 * The real server as a process of its own; `program` says which arguments Node gets, where it is not only the server. Resolves
 * once it says what to do next.
 */
export async function startServerProcess(
  options: {
    env?: NodeJS.ProcessEnv
    demo?: boolean
    folder?: string
    program?: readonly string[]
    /** RLIMIT_NOFILE of the server. */
    openFiles?: number
  } = {},
): Promise<ServerProcess> {
  const folder = options.folder ?? testHome()
  const [pagesPort, machinesPort] = [await freePort(), await freePort()]
  const dataFolder = join(folder, 'state', 'keyman-server')
  const env: NodeJS.ProcessEnv = {
    ...withoutKeyman(process.env),
    HOME: folder,
    XDG_STATE_HOME: join(folder, 'state'),
    XDG_CONFIG_HOME: join(folder, 'config'),
    XDG_RUNTIME_DIR: join(folder, 'run'),
    KEYMAN_PAGES_LISTEN: `127.0.0.1:${pagesPort}`,
    KEYMAN_MACHINES_LISTEN: `127.0.0.1:${machinesPort}`,
    ...options.env,
  }
  mkdirSync(join(folder, 'run'), { recursive: true, mode: 0o700 })
  if (env.KEYMAN_DATABASE_URL === undefined) await newPGlite(join(dataFolder, 'database'))
  let said = ''
  const launch = async (): Promise<ChildProcess> => {
    said = ''
    const program = options.program ?? [SERVER]
    const line = [process.execPath, ...NODE_FLAGS, ...program, 'start', ...(options.demo ? ['--demo'] : [])]
    const limited = ['/bin/sh', '-c', `ulimit -n ${options.openFiles}; exec "$@"`, 'sh', ...line]
    const [command = '', ...args] = options.openFiles === undefined ? line : limited
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const end = () => child.kill('SIGKILL')
    process.once('exit', end)
    child.once('exit', () => process.off('exit', end))
    await new Promise<void>((resolve, reject) => {
      const hear = (chunk: Buffer) => {
        said += chunk.toString('utf8')
        if (said.includes('Next:')) resolve()
      }
      child.stdout?.on('data', hear)
      child.stderr?.on('data', hear)
      child.once('exit', code => reject(new Error(`the server ended with ${code}:\n${said}`)))
    })
    return child
  }
  let child = await launch()
  const ended = () =>
    new Promise<number | null>(resolve =>
      child.exitCode !== null || child.signalCode !== null
        ? resolve(child.exitCode)
        : child.once('exit', code => resolve(code)),
    )
  return {
    folder,
    env,
    dataFolder,
    pagesUrl: `http://localhost:${pagesPort}`,
    machinesUrl: `https://localhost:${machinesPort}`,
    output: () => said,
    get pid() {
      return child.pid ?? 0
    },
    ownerLink() {
      const [link] = /http:\S+\/enrol#\S+/.exec(said) ?? []
      if (!link) throw new Error(`no link in:\n${said}`)
      return link
    },
    async kill() {
      child.kill('SIGKILL')
      await ended()
    },
    async stop() {
      child.kill('SIGTERM')
      return ended()
    },
    async restart() {
      child = await launch()
    },
    async close() {
      child.kill('SIGTERM')
      await ended()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A test's server shall know nothing of settings in the environment of whoever runs the tests. */
function withoutKeyman(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const dropped = ['SSH_AUTH_SOCK', 'SSH_CONNECTION', 'SSH_CLIENT', 'SSH_TTY', 'DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER']
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !name.startsWith('KEYMAN_') && !dropped.includes(name)),
  )
}
