import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readRootKey } from '#server/authority/trust/root-key.ts'
import { utf8 } from '#shared/bytes.ts'
import { fingerprint } from '#shared/ssh/index.ts'
import { encodeTrustDocument, parseTrustDocument } from '#shared/trust/index.ts'
import { freePort } from '#test/support/free-port.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'
import { newKey, sshsig } from '#test/support/trust-world.ts'

/** Files that a server reads or writes while it runs are not as they should be: it says so and goes on. */

/** As long as it takes on a busy machine. */
const PATIENT = { timeout: 30_000 }

describe('a server whose pages have a certificate, when it gets SIGHUP', () => {
  let server: ServerProcess
  let port: number
  const folder = mkdtempSync(join(tmpdir(), 'keyman-pages-'))
  const file = (name: string) => join(folder, name)
  const make = (name: string) =>
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'].concat(
        ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost'],
        ['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)],
      ),
      { stdio: 'ignore' },
    )
  const put = (name: string) => copyFileSync(file(name), file(`pages${name.slice(name.indexOf('.'))}`))
  beforeAll(async () => {
    make('old')
    make('new')
    put('old.crt')
    put('old.key')
    port = await freePort()
    server = await startServerProcess({
      env: {
        KEYMAN_PAGES_LISTEN: `127.0.0.1:${port}`,
        KEYMAN_PUBLIC_URL: `https://localhost:${port}`,
        KEYMAN_PAGES_TLS_CERTIFICATE: file('pages.crt'),
        KEYMAN_PAGES_TLS_KEY: file('pages.key'),
      },
    })
  })
  afterAll(async () => {
    await server?.close()
    rmSync(folder, { recursive: true })
  })

  const served = () =>
    new Promise<unknown>((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false })
      socket.once('error', reject)
      socket.once('secureConnect', () => {
        resolve(socket.getPeerCertificate().subject.CN)
        socket.destroy()
      })
    })
  const times = (text: RegExp) => server.output().match(text)?.length ?? 0
  const kept = () => times(/the old certificate of the pages stays.*reason/g)

  it('between certificate and key of a renewal, or where one is missing, keeps the old certificate and says why', async () => {
    put('new.crt')
    process.kill(server.pid, 'SIGHUP')
    await expect.poll(kept, PATIENT).toBe(1)
    expect(server.output()).toMatch(/the old certificate of the pages stays.*it is not the key of the certificate/)
    expect(await served()).toBe('old')
    rmSync(file('pages.key'))
    process.kill(server.pid, 'SIGHUP')
    await expect.poll(kept, PATIENT).toBe(2)
    expect(server.output()).toMatch(/the old certificate of the pages stays.*there is no such file/)
    expect(await served()).toBe('old')
  })

  it('serves the new one once both are there', async () => {
    put('new.crt')
    put('new.key')
    process.kill(server.pid, 'SIGHUP')
    await expect.poll(() => times(/the certificate of the pages was read anew/g), PATIENT).toBe(1)
    expect(await served()).toBe('new')
  })

  it('has said at its start what its keystore cannot do, and says it to keyman doctor', () => {
    const remark = expect.stringContaining('a software keystore does not keep its keys')
    expect(server.output()).toEqual(remark)
    const { remarks } = JSON.parse(readFileSync(join(server.dataFolder, 'local.json'), 'utf8'))
    expect(remarks).toContainEqual(remark)
  })
})

describe.skipIf(!requires('postgresql'))('a server that hears of a new root of trust', () => {
  let postgres: TestPostgres
  let server: ServerProcess
  let admin: pg.Client
  beforeAll(async () => {
    postgres = await startPostgres()
    const env = { KEYMAN_DATABASE_URL: postgres.url, KEYMAN_DATABASE_MIGRATION_URL: postgres.migrationUrl }
    server = await startServerProcess({ env })
    admin = new pg.Client(postgres.adminUrl)
    await admin.connect()
  })
  const root = (): unknown => JSON.parse(readFileSync(join(server.dataFolder, 'local.json'), 'utf8')).rootFingerprint
  afterAll(async () => {
    await admin?.end()
    await server?.close()
    await postgres?.close()
  })

  /** As another server publishes it: with a new root, which the one of before has signed. Gives the new one's fingerprint. */
  async function publish(sign: (document: string) => Promise<string | undefined>) {
    const { rows } = await admin.query('select version, document from trust_bundle order by version desc limit 1')
    const bundle = parseTrustDocument(rows[0].document)
    const other = newKey()
    const document = encodeTrustDocument({
      ...bundle,
      version: bundle.version + 1,
      roots: { threshold: 1, keys: [other.line] },
    })
    const signatures = [await sign(document), sshsig(other, 'keyman-trust', utf8(document))]
    await admin.query(
      `insert into trust_bundle select * from jsonb_populate_record((select b from trust_bundle b where version = $1), $2)`,
      [rows[0].version, JSON.stringify({ version: bundle.version + 1, document, signatures, changes_roots: true })],
    )
    await admin.query('notify trust')
    return { other, print: fingerprint(other.publicKey) }
  }
  let newest: Awaited<ReturnType<typeof publish>>['other']

  it('that another server published writes down the new one, not the one that it had before', async () => {
    const before = root()
    const own = await readRootKey(join(server.dataFolder, 'root', 'root_key'))
    const { other, print } = await publish(async document => own?.sign(document))
    newest = other
    await expect.poll(root, PATIENT).toBe(print)
    expect(before).not.toBe(print)
  })

  it('and can not write it down for keyman says so, goes on, and writes it down as soon as it can', async () => {
    const local = join(server.dataFolder, 'local.json')
    mkdirSync(`${local}.tmp`)
    rmSync(local)
    const { print } = await publish(async document => sshsig(newest, 'keyman-trust', utf8(document)))
    await expect.poll(() => server.output(), PATIENT).toMatch(/could not be written; it is tried again.*EISDIR/)
    expect((await fetch(`${server.pagesUrl}/readyz`)).status).toBe(200)
    rmdirSync(`${local}.tmp`)
    await expect.poll(() => existsSync(local), PATIENT).toBe(true)
    expect(root()).toBe(print)
  })
})
