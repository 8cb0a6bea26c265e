import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CKM } from '#server/keystore/pkcs11/constants.ts'
import { lockFolder } from '#shared/folder-lock.ts'
import { freePort } from '#test/support/free-port.ts'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { buildShim, shimEnv } from '#test/support/pkcs11-shim/index.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { type SoftHsm, startSoftHsm } from '#test/support/programs/softhsm.ts'
import { isRoot, requires } from '#test/support/requires.ts'
import { readConfig } from '../config/index.ts'
import { checkConfig } from './check-config.ts'

/** The command itself, on a file that is good; each test spoils one thing of it. */
const folder = mkdtempSync(join(tmpdir(), 'keyman-check-'))
const at = (name: string) => join(folder, name)
const file = at('server.toml')
afterAll(() => rmSync(folder, { recursive: true, force: true }))

type Ran = {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  readonly errors: readonly string[]
  readonly hints: readonly string[]
}
function run(command: 'check-config' | 'start', env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return new Promise(resolve => {
    const child = execFile(
      process.execPath,
      [SERVER, command, '--config', file],
      { env: { PATH: process.env.PATH, SOFTHSM2_CONF: process.env.SOFTHSM2_CONF, HOME: folder, ...env } },
      (_, stdout, stderr) => {
        const those = (kind: string) =>
          stderr
            .split('\n')
            .flatMap(line => (line.startsWith(`keyman-server: ${kind}: `) ? [line.slice(17 + kind.length)] : []))
        resolve({ code: child.exitCode ?? -1, stdout, stderr, errors: those('error'), hints: those('hint') })
      },
    )
  })
}
const write = (name: string, text: string, mode = 0o600) => {
  writeFileSync(at(name), text, { mode })
  chmodSync(at(name), mode)
}
const authority = newMachineAuthority()
const certificate = (stem: string, ...more: Parameters<typeof authority.server>) => {
  const { cert, key } = authority.server(...more)
  write(`${stem}.crt`, cert)
  write(`${stem}.key`, key)
}
let ports: readonly [number, number]
type Setting = readonly [string, string | number | undefined]
/** One setting a line, so that a line's number is its place in the list. */
const configure = (...settings: readonly Setting[]) =>
  write(
    'server.toml',
    settings.flatMap(([path, value]) => (value === undefined ? [] : [`${path} = ${JSON.stringify(value)}\n`])).join(''),
  )
const basics = (): readonly Setting[] => [
  ['public_url', 'https://keys.example.com'],
  ['data_folder', at('data')],
  ['pages.listen', `127.0.0.1:${ports[0]}`],
  ['machines.listen', `127.0.0.1:${ports[1]}`],
  ['pages.tls_certificate', at('pages.crt')],
  ['pages.tls_key', at('pages.key')],
]
const spoil = (good: readonly Setting[], path: string, value: string | undefined): readonly Setting[] =>
  good.map(([name, was]) => [name, name === path ? value : was] as const)

beforeAll(async () => {
  ports = [await freePort(), await freePort()]
  certificate('pages', [{ dns: 'keys.example.com' }])
  certificate('other', [{ dns: 'keys.example.com' }])
  mkdirSync(at('data'), { mode: 0o700 })
})

describe('check-config', () => {
  it('calls good what starts, and changes nothing', async () => {
    configure(...basics())
    expect(await run('check-config')).toMatchObject({
      code: 0,
      stdout: `The configuration is good: ${file}.\n`,
      errors: [],
    })
    expect(readdirSync(at('data'))).toEqual([])
  })

  it('names all mistakes at once, those of the file and those of what it names, each with its line and what to do', async () => {
    configure(
      ['public_url', 'https://keys.example.com'],
      ['data_folder', at('data')],
      ['organisation', 'Acme Inc'],
      ['pages.listen', `127.0.0.1:${ports[0]}`],
      ['machines.listen', `127.0.0.1:${ports[0]}`],
      ['pages.tls_certificate', at('none.crt')],
      ['pages.tls_key', file],
      ['keystore.kind', 'pkcs11'],
      ['keystore.module', at('none.so')],
      ['keystore.token', 'keyman'],
      ['keystore.pin_file', at('pages.crt.pin')],
      ['database.url', 'postgresql://keyman@127.0.0.1:1/keyman'],
    )
    write('pages.crt.pin', '1234')
    const { code, errors, hints } = await run('check-config')
    expect(errors).toEqual([
      expect.stringMatching(`^organisation: "Acme Inc" must be .* \\(${file} line 3\\)$`),
      expect.stringMatching(`^machines.listen: is the port of pages.listen, .* \\(${file} line 5\\)$`),
      `pages.tls_certificate: ${at('none.crt')}: there is no such file (${file} line 6)`,
      `pages.tls_key: ${file}: it holds no private key in PEM, without a passphrase (${file} line 7)`,
      `keystore.module: the PKCS#11 module ${at('none.so')} can't be loaded: there is no such file (${file} line 9)`,
      `database.url: 127.0.0.1 port 1: nothing listens there (${file} line 12)`,
    ])
    expect(hints).toHaveLength(4)
    expect(code).toBe(9)
  })

  it.each([
    [
      'of another key',
      'other.key',
      '',
      /^pages.tls_key: .*other\.key: it is not the key of the certificate in .*pages\.crt/,
    ],
    ['that everybody may read', 'open.key', '', /^pages.tls_key: .*open\.key: everybody may read it/],
    ['for another name', '', 'strange', /^pages.tls_certificate: .*it is not for keys\.example\.com/],
    ['that has ended', '', 'ended', /^pages.tls_certificate: .*it ended at 20/],
    ['that is not good yet', '', 'early', /^pages.tls_certificate: .*it is not good before 20/],
  ])('finds a certificate or key of the pages %s', async (_, key, stem, expected) => {
    const day = (n: number) => new Date(Date.now() + n * 86_400_000)
    write('open.key', authority.server().key, 0o644)
    certificate('open', [{ dns: 'keys.example.com' }])
    chmodSync(at('open.key'), 0o644)
    certificate('strange', [{ dns: 'other.example.com' }])
    certificate('ended', [{ dns: 'keys.example.com' }], { notBefore: day(-2), notAfter: day(-1) })
    certificate('early', [{ dns: 'keys.example.com' }], { notBefore: day(1), notAfter: day(2) })
    const crt = stem === '' ? (key === 'open.key' ? 'open.crt' : 'pages.crt') : `${stem}.crt`
    const good = spoil(basics(), 'pages.tls_certificate', at(crt))
    configure(...spoil(good, 'pages.tls_key', at(stem === '' ? key : `${stem}.key`)))
    const { errors, code } = await run('check-config')
    expect(errors).toEqual([expect.stringMatching(expected)])
    expect(code).toBe(9)
  })

  it('finds a port that somebody else has, and an address that is none of this machine', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const address = taken.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const good = spoil(basics(), 'pages.listen', `127.0.0.1:${port}`)
    configure(...spoil(good, 'machines.listen', '192.0.2.1:4443'))
    const { errors } = await run('check-config')
    taken.close()
    expect(errors).toEqual([
      `pages.listen: 127.0.0.1 port ${port} is taken by another program (${file} line 3)`,
      `machines.listen: 192.0.2.1 port 4443 is no address of this machine (${file} line 4)`,
    ])
  })

  it('takes ports for one also where one address holds the other, or only a name stands there', async () => {
    for (const [one, other, both] of [
      ['0.0.0.0:4480', '127.0.0.1:4480', true],
      ['[::]:4480', '0.0.0.0:4480', true],
      ['localhost:4480', '127.0.0.1:4480', true],
      ['127.0.0.1:4480', '127.0.0.2:4480', false],
      ['127.0.0.1:4480', '127.0.0.1:4481', false],
    ] as const) {
      configure(...spoil(spoil(basics(), 'pages.listen', one), 'machines.listen', other))
      const said = (await run('check-config')).errors.some(line => line.startsWith('machines.listen: is the port of'))
      expect(said, `${one} ${other}`).toBe(both)
    }
  })

  it.skipIf(!isRoot)('as a user without the right to a port below 1024 says that it was not tried', async () => {
    configure(...spoil(basics(), 'machines.listen', '127.0.0.1:1'))
    const line = 'setpriv --bounding-set -net_bind_service --inh-caps -net_bind_service "$@"'
    const tried = spawnSync('sh', ['-c', line, 'sh', process.execPath, SERVER, 'check-config', '--config', file], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: folder },
    })
    expect(tried).toMatchObject({
      status: 0,
      stderr:
        'keyman-server: machines.listen: port 1 was not tried: it wants CAP_NET_BIND_SERVICE, as the unit gives it\n',
    })
  })

  it('beside a running server says that its ports were not tried', async () => {
    mkdirSync(at('running'), { mode: 0o700 })
    const unlock = lockFolder('the data folder', join(at('running'), 'operator.lock'))
    const taken = createServer().listen(ports[0], '127.0.0.1')
    await once(taken, 'listening')
    configure(...spoil(basics(), 'data_folder', at('running')))
    const beside = await run('check-config')
    unlock()
    const alone = await run('check-config')
    taken.close()
    expect(beside).toMatchObject({ code: 0, errors: [] })
    expect(beside.stderr).toContain(': its ports and its embedded database were not tried\n')
    expect(alone.errors).toHaveLength(1)
  })

  it('finds a data folder that is not the server alone to write to', async () => {
    mkdirSync(at('shared'))
    chmodSync(at('shared'), 0o777)
    configure(...spoil(basics(), 'data_folder', at('shared')))
    const { errors, hints } = await run('check-config')
    expect(errors).toEqual([`data_folder: ${at('shared')} has mode 777: others may write there (${file} line 2)`])
    expect(hints).toEqual([`chmod 700 ${at('shared')}`])
  })

  it('finds a passphrase that does not open the software keystore', async () => {
    const good = [
      ...spoil(basics(), 'data_folder', at('sealed')),
      ['keystore.passphrase_file', at('passphrase')] as const,
    ]
    configure(...good)
    write('passphrase', 'the right passphrase')
    expect(await run('check-config')).toMatchObject({ code: 0 })
    mkdirSync(join(at('sealed'), 'keystore'), { recursive: true, mode: 0o700 })
    const { openKeystore } = await import('#server/keystore/index.ts')
    const unlock = { passphrase: 'the right passphrase' }
    await (await openKeystore({ kind: 'software', folder: join(at('sealed'), 'keystore'), unlock })).close()
    expect(await run('check-config')).toMatchObject({ code: 0 })
    write('passphrase', 'another passphrase')
    expect((await run('check-config')).errors).toEqual([
      expect.stringMatching(/^keystore\.passphrase_file: the passphrase does not open the keystore in .* line 7\)$/),
    ])
  })
})

describe.skipIf(!requires('softhsm'))('check-config on a token', () => {
  let hsm: SoftHsm
  let good: readonly Setting[]
  beforeAll(async () => {
    hsm = await startSoftHsm('keyman')
    write('pin', hsm.pin)
    good = [
      ...basics(),
      ['keystore.kind', 'pkcs11'],
      ['keystore.module', hsm.module],
      ['keystore.token', 'keyman'],
      ['keystore.pin_file', at('pin')],
    ]
  })
  afterAll(() => hsm?.close())

  it.each([
    [
      'keystore.token',
      'keymann',
      /^keystore\.token: .* no token with the label keymann \(.* line 9\)/,
      'it has "keyman"',
    ],
    [
      'keystore.pin_file',
      'wrong',
      /^keystore\.pin_file: the token keyman refused the PIN.* line 10\)/,
      'keystore.pin_file',
    ],
    [
      'keystore.module',
      'pages.crt',
      /^keystore\.module: .* it is no library for this machine \(.* line 8\)/,
      'keystore.module',
    ],
  ])('finds a wrong %s', async (path, value, expected, hint) => {
    configure(...good)
    expect(await run('check-config')).toMatchObject({ code: 0, errors: [] })
    write('wrong', '99999999')
    configure(...spoil(good, path, path === 'keystore.token' ? value : at(value)))
    const { errors, hints } = await run('check-config')
    expect(errors).toEqual([expect.stringMatching(expected)])
    expect(hints).toEqual([expect.stringContaining(hint)])
  })

  it('names the variable where the PIN comes from one', async () => {
    configure(...good.slice(0, -1))
    const { errors } = await run('check-config', { KEYMAN_KEYSTORE_PIN: '99999999' })
    expect(errors).toEqual([expect.stringMatching(/^keystore\.pin_file: .*\(variable KEYMAN_KEYSTORE_PIN\)$/)])
  })

  it.skipIf(!requires('cc'))(
    'finds an algorithm that the token does not make, and takes one that it makes',
    async () => {
      const hidden = [CKM.EC_EDWARDS_KEY_PAIR_GEN, CKM.EDDSA].join()
      const env = { ...shimEnv(hsm.module, folder), KEYMAN_SHIM_HIDE: hidden }
      const shim = spoil(good, 'keystore.module', await buildShim())
      configure(...shim)
      expect(await run('check-config', env)).toMatchObject({
        code: 9,
        errors: [expect.stringMatching(/^authority\.algorithm: the token makes no ed25519 keys; it offers ecdsa-p256/)],
        hints: [expect.stringContaining('set authority.algorithm')],
      })
      configure(...shim, ['authority.algorithm', 'ecdsa-p256'])
      expect(await run('check-config', env)).toMatchObject({ code: 0, errors: [] })
    },
  )

  it('finds the same of a standby, under its own settings', async () => {
    configure(
      ...good,
      ['keystore.standby.kind', 'pkcs11'],
      ['keystore.standby.module', hsm.module],
      ['keystore.standby.token', 'none'],
      ['keystore.standby.pin_file', at('pin')],
    )
    expect((await run('check-config')).errors).toEqual([
      expect.stringMatching(/^keystore\.standby\.token: .* the label none \(.* line 13\)/),
    ])
  })

  it('start says the same of the first of them, with its line', async () => {
    configure(...spoil(good, 'keystore.token', 'keymann'))
    const { errors, hints, code } = await run('start')
    expect(errors).toEqual([`the PKCS#11 module has no token with the label keymann (keystore.token: ${file} line 9)`])
    expect(hints).toEqual(['it has "keyman"'])
    expect(code).toBe(8)
  })
})

describe.skipIf(!requires('postgresql'))('check-config on a database', () => {
  let cluster: TestPostgres
  let admin: import('pg').Client
  beforeAll(async () => {
    const { default: pg } = await import('pg')
    cluster = await startPostgres()
    admin = new pg.Client(cluster.adminUrl)
    await admin.connect()
  })
  afterAll(async () => {
    await admin?.end()
    await cluster?.close()
  })
  const check = async (url: string, migrationUrl?: string, ...more: readonly Setting[]) => {
    configure(...basics(), ['database.url', url], ['database.migration_url', migrationUrl], ...more)
    return run('check-config')
  }

  it('calls good an empty one with its two roles, and writes nothing there', async () => {
    expect(await check(cluster.url, cluster.migrationUrl)).toMatchObject({ code: 0, errors: [] })
    expect((await admin.query("select from pg_tables where schemaname = 'public'")).rowCount).toBe(0)
  })

  it('tries it beside a running server too', async () => {
    mkdirSync(at('busy'), { mode: 0o700 })
    const unlock = lockFolder('the data folder', join(at('busy'), 'operator.lock'))
    const url = [['database.url', cluster.url] as const, ['database.migration_url', cluster.migrationUrl] as const]
    configure(...spoil(basics(), 'data_folder', at('busy')), ...url)
    const { code, stderr } = await run('check-config').finally(unlock)
    expect(code).toBe(0)
    expect(stderr).toContain(': its ports were not tried\n')
  })

  it('finds both roles at once where both are wrong', async () => {
    const wrong = (url: string) => url.replace(/keyman$/, 'nothing')
    const { errors } = await check(wrong(cluster.url), wrong(cluster.migrationUrl))
    expect(errors).toEqual([
      expect.stringMatching(/^database\.migration_url: .* there is no such database \(.* line 8\)$/),
      expect.stringMatching(/^database\.url: .* there is no such database \(.* line 7\)$/),
    ])
  })

  it('finds one role for both, a superuser, one that may not make tables, and one that is not in keyman_runtime', async () => {
    const { url, migrationUrl, adminUrl } = cluster
    expect((await check(migrationUrl, migrationUrl)).errors).toEqual([
      expect.stringMatching(/^database\.migration_url: it names the role of database\.url, keyman_migrate/),
    ])
    expect((await check(adminUrl, migrationUrl)).errors).toEqual([
      expect.stringMatching(/^database\.url: the role admin is a superuser/),
    ])
    expect((await check(url)).errors).toEqual([
      expect.stringMatching(/^database\.url: the database lacks the migration/),
    ])
    await admin.query('create role stranger login; create role outside login')
    const as = (role: string) => url.replace('keyman_app', role)
    expect((await check(url, as('stranger'))).errors).toEqual([
      expect.stringMatching(/^database\.migration_url: the role stranger may not make tables/),
    ])
    expect(await check(as('outside'), migrationUrl)).toMatchObject({
      errors: [expect.stringMatching(/^database\.url: the role outside is not a member of keyman_runtime/)],
      hints: [expect.stringContaining('grant keyman_runtime to outside')],
    })
  })

  it('finds a clock that is not the one of the database', async () => {
    configure(
      ['data_folder', at('data')],
      ['database.url', cluster.url],
      ['database.migration_url', cluster.migrationUrl],
    )
    const checked = (seconds: number) =>
      checkConfig(readConfig({ file, env: {}, home: folder }), () => new Date(Date.now() + seconds * 1000))
    const clock = async (seconds: number) => (await checked(seconds)).problems.filter(({ field }) => field === 'clock')
    expect(await clock(0)).toEqual([])
    expect(await clock(-3600)).toEqual([
      {
        field: 'clock',
        message: expect.stringMatching(/^this machine's clock is 3\d{3} seconds behind the database's$/),
        hint: expect.stringContaining('NTP'),
      },
    ])
  })

  it('says what a further server wants, on a database that is in use', async () => {
    const { url, migrationUrl } = cluster
    const { openStore } = await import('#server/store/index.ts')
    await (await openStore({ engine: 'postgresql', url, migrationUrl })).close()
    expect(await check(url, migrationUrl)).toMatchObject({ code: 0, errors: [] })
    await admin.query(
      "insert into ledger_record (index, request_id, kind, actor, at, record) values (0, 'r', 'k', 'a', now(), '{}')",
    )
    expect(await check(url, migrationUrl)).toMatchObject({
      code: 9,
      errors: [
        'trust.root_fingerprint: must be set: the database is in use, and this data folder remembers nothing of it (not set; its variable is KEYMAN_TRUST_ROOT_FINGERPRINT)',
      ],
    })
    const root: Setting = ['trust.root_fingerprint', `SHA256:${'A'.repeat(43)}`]
    expect(await check(url, migrationUrl, root)).toMatchObject({ code: 0, errors: [] })
    await admin.query('truncate ledger_record cascade')
  })

  it('finds a migration URL without its password, and start says it in the same words', async () => {
    await admin.query("alter role keyman_app password 'right'; alter role keyman_migrate password 'right'")
    writeFileSync(
      join(cluster.folder, 'data', 'pg_hba.conf'),
      'host all admin all trust\nhost all all all scram-sha-256\n',
    )
    await admin.query('select pg_reload_conf()')
    write('password', 'right')
    const passwords: readonly Setting[] = [['database.password_file', at('password')]]
    const none = 'the database asks for a password, and none is set'
    // The reload is over once it has effect.
    await expect
      .poll(async () => (await check(cluster.url, cluster.migrationUrl, ...passwords)).errors, { timeout: 20_000 })
      .toEqual([expect.stringMatching(`^database.migration_url: .* ${none} \\(.* line 8\\)$`)])
    expect((await run('start')).errors).toEqual([
      expect.stringMatching(`^127.0.0.1 port \\d+: ${none} \\(database.migration_url: ${file} line 8\\)$`),
    ])
    const both = [...passwords, ['database.migration_password_file', at('password')] as const]
    expect(await check(cluster.url, cluster.migrationUrl, ...both)).toMatchObject({ code: 0, errors: [] })
  })
})
