import { execFileSync } from 'node:child_process'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { type SoftHsm, startSoftHsm } from '#test/support/programs/softhsm.ts'
import { requires } from '#test/support/requires.ts'

type Server = { readonly process: ServerProcess; readonly role: string }

describe.skipIf(!requires('postgresql', 'softhsm'))('of two servers on one database', () => {
  let postgres: TestPostgres
  let hsm: SoftHsm
  let admin: pg.Client
  let servers: Server[] = []
  beforeAll(async () => {
    postgres = await startPostgres({ fsync: false })
    hsm = await startSoftHsm()
    admin = new pg.Client(postgres.adminUrl)
    await admin.connect()
    // A role each: so the database can say which of them wrote.
    await admin.query('create role keyman_other login in role keyman_runtime')
    const start = async (role: string): Promise<Server> => ({
      role,
      process: await startServerProcess({
        env: {
          ...hsm.env,
          KEYMAN_DATABASE_URL: postgres.url.replace('keyman_app', role),
          KEYMAN_DATABASE_MIGRATION_URL: postgres.migrationUrl,
          KEYMAN_KEYSTORE_KIND: 'pkcs11',
          KEYMAN_KEYSTORE_MODULE: hsm.module,
          KEYMAN_KEYSTORE_TOKEN: hsm.token,
          KEYMAN_KEYSTORE_PIN: hsm.pin,
          KEYMAN_MACHINES_URL: 'https://localhost:9999',
          KEYMAN_PUBLIC_URL: 'http://localhost:9998',
        },
      }),
    })
    servers = await Promise.all([start('keyman_app'), start('keyman_other')])
    await admin.query(`
      create table written (who text, size bigint);
      create function note_it() returns trigger language plpgsql security definer as
        $$ begin insert into written values (session_user, new.size); return null; end $$;
      create trigger note_it after insert on ledger_checkpoint for each row execute function note_it()`)
  })
  afterAll(async () => {
    for (const { process: server } of servers) {
      if (isAlive(server.pid)) process.kill(server.pid, 'SIGCONT')
      await server.close()
    }
    await admin?.end()
    await postgres?.close()
    await hsm?.close()
  })

  const rows = async (sql: string): Promise<Record<string, unknown>[]> => (await admin.query(sql)).rows
  const lease = async () => (await rows('select holder, fence::int from lease'))[0] ?? {}
  const fenceNow = async () => Number((await lease()).fence)
  const leads = async ({ process: { pid } }: Server) => String((await lease()).holder).includes(` ${pid} `)
  /** Who has signed the head of all that is recorded now. */
  const signers = async () =>
    (await rows('select who from written where size >= (select size from ledger_head)')).map(({ who }) => who)
  const writers = async () => (await rows('select distinct who from written order by who')).map(({ who }) => who)
  /** Something new for the log, from this server. */
  const record = ({ process: server }: Server) =>
    execFileSync(process.execPath, [SERVER, 'admin-link', 'alice@example.com', '--new'], {
      env: server.env,
      stdio: 'ignore',
    })

  it('one signs the heads; when it hangs the other does, and when it wakes up it writes none, until it is its turn again', async () => {
    const [first, second] = servers
    if (!first || !second) throw new Error('two servers')
    const [leader, other] = (await leads(first)) ? [first, second] : [second, first]
    const fence = await fenceNow()
    record(other)
    await expect.poll(signers).toEqual([leader.role])

    process.kill(leader.process.pid, 'SIGSTOP')
    await expect.poll(() => leads(other), { timeout: 40_000 }).toBe(true)
    const next = await fenceNow()
    expect(next).toBeGreaterThan(fence)
    await admin.query('delete from written')
    record(other)
    await expect.poll(signers).toEqual([other.role])

    process.kill(leader.process.pid, 'SIGCONT')
    await expect.poll(() => leader.process.output()).toContain('another server does the common work')
    for (let n = 0; n < 3; n++) {
      record(leader)
      await expect.poll(signers).toEqual([other.role])
    }
    expect(await writers()).toEqual([other.role])
    expect(await fenceNow()).toBe(next)

    // The twin: given back, it is taken at once by the same server, which signs again.
    expect(await other.process.stop()).toBe(0)
    await expect.poll(() => leads(leader), { timeout: 10_000 }).toBe(true)
    expect(await fenceNow()).toBeGreaterThan(next)
    await admin.query('delete from written')
    record(leader)
    await expect.poll(signers).toEqual([leader.role])
  })

  it('a lease that somebody has given to nobody keeps no head from being signed for whoever asks, and none from being recorded', async () => {
    const [leader] = servers.filter(({ process: { pid } }) => isAlive(pid))
    if (!leader) throw new Error('one server')
    await admin.query('delete from written')
    await admin.query(`
      update lease set holder = 'nobody', ends_at = now() + interval '50 seconds';
      create function keep_it() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger keep_it before insert or update on lease for each row execute function keep_it()`)
    record(leader)
    // The heads that hosts are shown are asked for every few seconds.
    await expect.poll(signers, { timeout: 30_000 }).toEqual([leader.role])
  })
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
