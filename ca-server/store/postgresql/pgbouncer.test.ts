import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freePort } from '#test/support/free-port.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { isRoot, pathOf, requires } from '#test/support/requires.ts'
import { openStore } from '../index.ts'

describe.skipIf(!requires('postgresql', 'pgbouncer'))('behind PgBouncer', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-pgbouncer-'))
  let cluster: TestPostgres
  beforeAll(async () => {
    chmodSync(folder, 0o755)
    cluster = await startPostgres()
    await (await openStore({ engine: 'postgresql', url: cluster.url, migrationUrl: cluster.migrationUrl })).close()
  })
  afterAll(async () => {
    await cluster?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  async function behind<Result>(mode: string, work: (url: string) => Promise<Result>): Promise<Result> {
    const port = await freePort()
    writeFileSync(join(folder, 'users'), '"keyman_app" ""\n')
    writeFileSync(
      join(folder, 'ini'),
      `[databases]\n* = host=127.0.0.1 port=${new URL(cluster.url).port}\n[pgbouncer]\nlisten_addr = 127.0.0.1
listen_port = ${port}\nunix_socket_dir =\nauth_type = trust\nauth_file = ${folder}/users\npool_mode = ${mode}\n`,
    )
    // It refuses to run as root.
    const child = spawn(pathOf('pgbouncer'), [...(isRoot ? ['-u', 'postgres'] : []), join(folder, 'ini')], {
      stdio: 'ignore',
    })
    try {
      await expect.poll(() => answers(port), { timeout: 10_000 }).toBe(true)
      return await work(`postgresql://keyman_app@127.0.0.1:${port}/keyman`)
    } finally {
      await ended(child)
    }
  }

  it('in session mode everything works: statements, transactions, locks, notifications', async () => {
    await behind('session', async url => {
      const store = await openStore({ engine: 'postgresql', url })
      await store.ping()
      await store.transaction({ name: 'try', deadlineMs: 5_000 }, t => t.execute('select 1', []))
      await (await store.lock('try', 5_000))()
      const heard = Promise.withResolvers<string>()
      const stop = await store.listen('keyman_bouncer', heard.resolve)
      await store.notify('keyman_bouncer', 'hello')
      expect(await heard.promise).toBe('hello')
      await stop()
      await store.close()
    })
  })

  it('in transaction mode the start is refused, with the reason', async () => {
    await expect(behind('transaction', url => openStore({ engine: 'postgresql', url }))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/no notifications .* pooler in transaction mode/),
      hint: expect.stringContaining('PgBouncer: pool_mode = session'),
    })
  })
})

const answers = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

const ended = (child: ChildProcess): Promise<void> =>
  new Promise(resolve => {
    child.once('exit', () => resolve())
    if (child.exitCode !== null) resolve()
    child.kill('SIGINT')
  })
