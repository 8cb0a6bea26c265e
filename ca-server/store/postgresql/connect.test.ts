import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { postgresPrograms, startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { openStore } from '../index.ts'
import { linkRemarks } from './prepare-postgresql.ts'

describe('a connection to a database on another machine', () => {
  const remarks = (rest: string) => linkRemarks(`postgresql://keyman@${rest}`).join()

  it('should be held against its certificate; one on this machine need not', () => {
    for (const rest of [
      'db.example.com/k',
      '10.0.0.1/k?sslmode=require',
      'localhost,db/k?sslmode=verify-ca&sslrootcert=/r',
    ])
      expect(remarks(rest), rest).toMatch(/nothing proves that \S+ is the database: .*sslmode=verify-full/)
    for (const rest of ['db.example.com/k?sslmode=verify-full', 'localhost/k', '[::1]/k', '/k?host=/run/postgresql'])
      expect(remarks(rest), rest).toBe('')
  })
})

describe.skipIf(!postgresPrograms())('a connection to PostgreSQL', () => {
  const sockets = mkdtempSync(join(tmpdir(), 'keyman-socket-'))
  const authority = newMachineAuthority('the database authority')
  const root = join(sockets, 'root.crt')
  const strange = join(sockets, 'strange.crt')
  let cluster: TestPostgres
  let admin: pg.Client
  let port: string
  beforeAll(async () => {
    chmodSync(sockets, 0o777)
    writeFileSync(root, authority.root)
    writeFileSync(strange, newMachineAuthority('somebody else').root)
    cluster = await startPostgres({ settings: [`unix_socket_directories=${sockets}`] })
    port = new URL(cluster.url).port
    admin = new pg.Client(cluster.adminUrl)
    admin.on('error', () => {})
    await admin.connect()
    await (await openStore({ engine: 'postgresql', url: cluster.url, migrationUrl: cluster.migrationUrl })).close()
  })
  afterAll(async () => {
    await admin?.end()
    await cluster?.close()
    rmSync(sockets, { recursive: true, force: true })
  })

  const reload = async (...statements: string[]) => {
    for (const statement of statements) await admin.query(statement)
    const before = await admin.query('select pg_conf_load_time() as at')
    await admin.query('select pg_reload_conf()')
    await expect
      .poll(async () => (await admin.query('select pg_conf_load_time() as at')).rows[0].at)
      .not.toEqual(before.rows[0].at)
  }
  const hostedBy = (names: Parameters<typeof authority.server>[0]) => {
    const { cert, key } = authority.server(names)
    const { uid, gid } = statSync(cluster.folder)
    for (const [name, text] of [
      ['server.crt', cert],
      ['server.key', key],
    ] as const) {
      const file = join(cluster.folder, name)
      writeFileSync(file, text)
      chmodSync(file, 0o600)
      chownSync(file, uid, gid)
    }
    const files = ['cert', 'key'].map(
      each =>
        `alter system set ssl_${each}_file = '${join(cluster.folder, each === 'cert' ? 'server.crt' : 'server.key')}'`,
    )
    return reload(...files, 'alter system set ssl = on')
  }
  /** Whether it is encrypted, as the database sees it; throws what opening throws. */
  const encrypted = async (rest: string, host = '127.0.0.1') => {
    const store = await openStore({
      engine: 'postgresql',
      url: `postgresql://keyman_app@${host}:${port}/keyman?${rest}`,
    })
    try {
      const [ssl] = await store.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()', [], {
        parse: row => typeof row === 'object' && row !== null && Reflect.get(row, 'ssl') === true,
      })
      return ssl
    } finally {
      await store.close()
    }
  }
  const why = (work: Promise<unknown>) =>
    work.then(
      () => 'it was let in',
      (error: unknown) => String(error),
    )

  it('goes over a Unix socket, with the user in the address', async () => {
    const folder = encodeURIComponent(sockets)
    for (const url of [
      `postgresql://keyman_app@/keyman?host=${sockets}&port=${port}`,
      `postgresql:///keyman?host=${sockets}&port=${port}&user=keyman_app&sslmode=require`,
      `postgresql://keyman_app@${folder}:${port}/keyman`,
    ])
      await (await openStore({ engine: 'postgresql', url })).close()
    expect(
      await why(openStore({ engine: 'postgresql', url: `postgresql://keyman_app@/keyman?host=${sockets}` })),
    ).toMatch('no PostgreSQL has its socket there')
  })

  it('to a database without TLS is made where sslmode allows it, and is else refused with what to do', async () => {
    expect(await encrypted('sslmode=disable')).toBe(false)
    expect(await encrypted('')).toBe(false)
    await expect(encrypted('sslmode=require')).rejects.toMatchObject({
      message: expect.stringContaining('the database has no TLS'),
      hint: expect.stringContaining('ssl = on'),
      fields: [{ field: 'database.url' }],
    })
  })

  it('to one with TLS is encrypted as soon as sslmode does not forbid it', async () => {
    await hostedBy([{ dns: 'localhost' }])
    expect(await encrypted('sslmode=disable')).toBe(false)
    for (const rest of ['', 'sslmode=prefer', 'sslmode=require', `sslmode=prefer&sslrootcert=${strange}`])
      expect(await encrypted(rest), rest).toBe(true)
  })

  it('believes the authority that sslrootcert names and no other, from verify-ca on', async () => {
    for (const mode of ['require', 'verify-ca']) {
      expect(await encrypted(`sslmode=${mode}&sslrootcert=${root}`)).toBe(true)
      expect(await why(encrypted(`sslmode=${mode}&sslrootcert=${strange}`)), mode).toMatch('nobody who is believed')
    }
    expect(await encrypted(`sslmode=verify-full&sslrootcert=${root}`, 'localhost')).toBe(true)
    for (const rest of [`sslrootcert=${strange}`, 'sslrootcert=system', ''])
      expect(await why(encrypted(`sslmode=verify-full&${rest}`, 'localhost')), rest).toMatch('nobody who is believed')
    expect(await why(encrypted(`sslmode=verify-ca&sslrootcert=${sockets}/none.crt`))).toMatch('there is no such file')
  })

  it('wants the very name or address in the certificate with verify-full, and with that alone', async () => {
    expect(await encrypted(`sslmode=verify-ca&sslrootcert=${root}`)).toBe(true)
    expect(await why(encrypted(`sslmode=verify-full&sslrootcert=${root}`))).toMatch(
      'its certificate is for another name',
    )
    await hostedBy([{ ip: '127.0.0.1' }])
    expect(await encrypted(`sslmode=verify-full&sslrootcert=${root}`)).toBe(true)
    expect(await why(encrypted(`sslmode=verify-full&sslrootcert=${root}`, 'localhost'))).toMatch('for another name')
  })

  it('shows the certificate that sslcert and sslkey name, where the database wants one', async () => {
    await hostedBy([{ ip: '127.0.0.1' }])
    const { cert, key } = authority.client('https://keys.example.com/server')
    writeFileSync(join(sockets, 'client.crt'), cert)
    writeFileSync(join(sockets, 'client.key'), key, { mode: 0o600 })
    const hba = join(cluster.folder, 'data', 'pg_hba.conf')
    const before = readFileSync(hba, 'utf8')
    writeFileSync(hba, 'host all admin all trust\nhostssl all keyman_app all trust clientcert=verify-ca\n')
    await reload(`alter system set ssl_ca_file = '${root}'`)
    const files = `sslcert=${sockets}/client.crt&sslkey=${sockets}/client.key`
    expect(await encrypted(`sslmode=require&${files}`)).toBe(true)
    expect(await why(encrypted('sslmode=require'))).toMatch('does not let this user in')
    writeFileSync(hba, before)
    await reload()
  })

  it('that is refused says by which host and setting, why, and what next, in no words of the driver', async () => {
    const open = (url: string, migrationUrl?: string) =>
      openStore({ engine: 'postgresql', url, ...(migrationUrl === undefined ? {} : { migrationUrl }) })
    const at = `127.0.0.1 port ${port}`
    const url = (user: string, database = 'keyman') => `postgresql://${user}@127.0.0.1:${port}/${database}`
    const field = (name: string) => ({ fields: [{ field: name, message: expect.any(String) }] })
    await expect(open(cluster.url.replace(port, '1'))).rejects.toMatchObject({
      message: '127.0.0.1 port 1: nothing listens there',
      ...field('database.url'),
    })
    await expect(open(url('keyman_app', 'none'))).rejects.toMatchObject({
      message: `${at}: there is no such database`,
      ...field('database.url'),
    })
    await expect(open(cluster.url, cluster.migrationUrl.replace('127.0.0.1', 'nowhere.invalid'))).rejects.toMatchObject(
      {
        message: `nowhere.invalid port ${port}: its name does not resolve`,
        ...field('database.migration_url'),
      },
    )
    await admin.query("alter role keyman_app password 'right'; alter role keyman_migrate password 'right'")
    writeFileSync(
      join(cluster.folder, 'data', 'pg_hba.conf'),
      'host all admin all trust\nhost all all all scram-sha-256\n',
    )
    await reload()
    await (await open(url('keyman_app:right'), url('keyman_migrate:right'))).close()
    await expect(open(url('keyman_app:wrong'))).rejects.toMatchObject({
      message: `${at}: the database does not take the password, or has no such user`,
      hint: expect.stringContaining('database.password_file'),
    })
    await expect(open(url('keyman_app:right'), url('keyman_migrate'))).rejects.toMatchObject({
      message: `${at}: the database asks for a password, and none is set`,
      hint: 'name a file that holds it as database.migration_password_file',
      ...field('database.migration_url'),
    })
    writeFileSync(join(cluster.folder, 'data', 'pg_hba.conf'), 'host all admin all trust\n')
    await reload()
    await expect(open(url('keyman_app:right'))).rejects.toMatchObject({
      message: `${at}: the database does not let this user in from here`,
      hint: expect.stringContaining('pg_hba.conf'),
    })
  })
})
