import { type ChildProcess, execFileSync, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { freePort } from '../free-port.ts'
import { fromTemplate } from './templates.ts'

export type TestPostgres = {
  /** The runtime role `keyman_app`. */ readonly url: string
  /** The role that owns the database and its tables, `keyman_migrate`. */ readonly migrationUrl: string
  /** The superuser, in the same database: for tampering and for cutting connections. */ readonly adminUrl: string
  readonly folder: string
  /** Starts the cluster again after `killHard`, on the same port. */ start(): Promise<void>
  close(): Promise<void>
  /** `kill -9` of every process of the cluster, as in a power cut of the machine that only loses memory. */
  killHard(): Promise<void>
}

/** Where PostgreSQL's server programs lie; Debian keeps them out of PATH. `undefined` where there are none. */
export function postgresPrograms(): string | undefined {
  const roots = ['/usr/lib/postgresql', '/opt/homebrew/opt', '/usr/local/opt', '/usr/pgsql']
  for (const root of roots.filter(existsSync))
    for (const version of readdirSync(root).sort().reverse())
      if (existsSync(join(root, version, 'bin', 'initdb'))) return join(root, version, 'bin')
  return undefined
}

/**
 * A cluster of its own in a temporary folder, on loopback, with two roles as in production. PostgreSQL
 * refuses to run as root, so as root it runs as the user `postgres`.
 */
export async function startPostgres(
  options: { fsync?: boolean; settings?: readonly string[] } = {},
): Promise<TestPostgres> {
  const programs = postgresPrograms()
  if (!programs) throw new Error('PostgreSQL is not installed: apt-get install postgresql')
  const folder = mkdtempSync(join(tmpdir(), 'keyman-postgres-'))
  const data = join(folder, 'data')
  const user = process.getuid?.() === 0 ? userIds('postgres') : undefined
  if (user) chownSync(folder, user.uid, user.gid)
  chmodSync(folder, 0o700)
  const as = { ...user, cwd: folder, env: { ...process.env, LC_ALL: 'C.UTF-8' } }

  const port = await freePort()
  const settings = [
    `port=${port}`,
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    `fsync=${options.fsync === false ? 'off' : 'on'}`,
    'shared_buffers=64MB',
    'max_wal_size=1GB',
    'autovacuum=on',
    'log_min_messages=fatal',
    ...(options.settings ?? []),
  ]
  const url = (role: string, database = 'keyman') => `postgresql://${role}@127.0.0.1:${port}/${database}`
  const start = async () => {
    const child = spawn(join(programs, 'postgres'), ['-D', data, ...settings.flatMap(setting => ['-c', setting])], {
      ...as,
      stdio: 'ignore',
    })
    // A test that dies leaves no cluster behind; `close` comes first otherwise.
    const end = () => child.kill('SIGQUIT')
    process.once('exit', end)
    child.once('exit', () => process.off('exit', end))
    await accepting(url('admin', 'postgres'))
    return child
  }
  await fromTemplate('postgres', data, async () => {
    // initdb syncs nothing: what is lost in a power cut during a test is the test.
    must(
      spawnSync(
        join(programs, 'initdb'),
        ['-D', data, '-U', 'admin', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync', '--no-instructions'],
        { ...as, encoding: 'utf8' },
      ),
    )
    const first = await start()
    const admin = new pg.Client(url('admin', 'postgres'))
    await admin.connect()
    await admin.query('create role keyman_runtime nologin')
    await admin.query('create role keyman_migrate login')
    await admin.query('create role keyman_app login in role keyman_runtime')
    await admin.query('create database keyman owner keyman_migrate')
    await admin.end()
    first.kill('SIGINT')
    await stopped(first)
  })
  let child = await start()
  return {
    url: url('keyman_app'),
    migrationUrl: url('keyman_migrate'),
    adminUrl: url('admin'),
    folder,
    async start() {
      child = await start()
    },
    async close() {
      // At once, without a checkpoint: nobody reads these files again.
      child.kill('SIGQUIT')
      await stopped(child)
      rmSync(folder, { recursive: true, force: true })
    },
    async killHard() {
      const { pid } = child
      if (pid === undefined) return
      const children = spawnSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' }).stdout.split('\n')
      for (const each of [String(pid), ...children]) if (/^\d+$/.test(each)) tryKill(Number(each))
      await stopped(child)
    },
  }
}

const stopped = (child: ChildProcess) =>
  new Promise<void>(resolve =>
    child.exitCode !== null || child.signalCode !== null ? resolve() : child.once('exit', () => resolve()),
  )

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone already with its parent.
  }
}

function userIds(name: string): { uid: number; gid: number } {
  const id = (flag: string) => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

function must(result: SpawnSyncReturns<string>): void {
  if (result.status !== 0) throw new Error(`initdb failed: ${result.stderr || result.error?.message}`)
}

async function accepting(url: string): Promise<void> {
  const end = performance.now() + 30_000
  for (;;) {
    const client = new pg.Client(url)
    client.on('error', () => {})
    try {
      await client.connect()
      await client.end()
      return
    } catch (error) {
      if (performance.now() > end) throw error
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  }
}
