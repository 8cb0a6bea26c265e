import { spawnSync } from 'node:child_process'
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { verifyState } from '#agent/server/verify-state.ts'
import { call } from '#cli/server/client.ts'
import { api, type hostStream } from '#shared/api/index.ts'
import { parseCheckpoint } from '#shared/merkle/index.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { parseCertificate } from '#shared/ssh/index.ts'
import { parseTrustDocument } from '#shared/trust/index.ts'
import { type ApiPerson, logIn, machinesConnection } from '#test/support/people/api-person.ts'
import { postgresPrograms } from '#test/support/programs/postgres.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { type ServerProcess, startServerProcess, testHome } from '#test/support/programs/server-process.ts'
import { bodyOf, joinHost, newKeys } from '#test/support/worlds/attack-world.ts'
import { type CrashSetUp, type CrashWorld, openCrashWorld, readLedger } from '#test/support/worlds/crash-world.ts'
import { RememberingHost } from '#test/support/worlds/remembering-host.ts'

const main = SERVER
const ADMIN = 'admin@example.com'
const BOB = 'bob@example.com'

/** What the first remembers, the second does too. */
async function startBeside(first: ServerProcess): Promise<ServerProcess> {
  const folder = testHome()
  cpSync(first.dataFolder, join(folder, 'state', 'keyman-server'), {
    recursive: true,
    filter: path => !/operator\.(sock|lock)$/.test(path),
  })
  const own = ['KEYMAN_PAGES_LISTEN', 'KEYMAN_MACHINES_LISTEN']
  const env = Object.fromEntries(
    Object.entries(first.env).filter(([name]) => /^(KEYMAN|SOFTHSM)/.test(name) && !own.includes(name)),
  )
  const urls = { KEYMAN_PUBLIC_URL: first.pagesUrl, KEYMAN_MACHINES_URL: first.machinesUrl }
  return startServerProcess({ folder, env: { ...env, ...urls } })
}

const setUps: CrashSetUp[] = ['PGlite and the software keystore', 'PostgreSQL and SoftHSM']
describe.each(setUps)('a backup that was put back, on %s', setUp => {
  const skip = setUp === 'PostgreSQL and SoftHSM' && !postgresPrograms()
  let world: CrashWorld
  let host: RememberingHost
  let before: { certificate: string; krlVersion: string; size: bigint }
  let lostCertificate: string
  /** What the host had been told last before the restore. */
  let lost: hostStream.DesiredState | undefined
  /** Revoked after the backup. */
  const lostKey = newKeys().ssh.line
  /** On the same database, with a data folder of its own. */
  let second: ServerProcess | undefined

  const database = () => join(world.server.dataFolder, 'database')
  const copy = () => join(world.server.folder, 'backup')
  const sql = async (...statements: string[]) => {
    const admin = new pg.Client((world.postgres?.adminUrl ?? '').replace(/keyman$/, 'postgres'))
    await admin.connect()
    for (const statement of statements) await admin.query(statement)
    await admin.end()
  }
  const backUp = () =>
    world.postgres
      ? sql('create database backup template keyman')
      : cpSync(database(), copy(), { recursive: true, preserveTimestamps: true })
  const putBack = async () => {
    if (world.postgres)
      return sql('drop database keyman with (force)', 'create database keyman template backup owner keyman_migrate')
    rmSync(database(), { recursive: true })
    cpSync(copy(), database(), { recursive: true })
  }
  const command = (...args: string[]) => commandOf(world.server, ...args)
  const commandOf = (server: ServerProcess, ...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
      env: server.env,
      encoding: 'utf8',
    })
    return { status, stdout, stderr }
  }
  const certificateOf = async (n: number): Promise<string> => {
    const outcome = await world.machines[n]?.renew()
    if (outcome?.kind !== 'certificate') throw new Error(JSON.stringify(outcome))
    return outcome.certificate
  }
  /** `/readyz` of the second server, asked by the organisation's own name. */
  const secondReady = () =>
    new Promise<unknown>((resolve, reject) => {
      const headers = { host: new URL(world.server.pagesUrl).host }
      get(`${second?.pagesUrl}/readyz`, { headers }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve(JSON.parse(text)))
      }).on('error', reject)
    })
  const person = (n: number): ApiPerson => {
    const { person } = world.sessions[n] ?? {}
    if (!person) throw new Error('no such session')
    return person
  }

  beforeAll(async () => {
    if (skip) return
    world = await openCrashWorld(setUp, { machines: 2 })
    const { server, sessions } = world
    const stranger = await machinesConnection(server)
    const joined = await joinHost({ alice: sessions[0], stranger }, 'web1.keyman.localhost')
    const { bundles } = await call(stranger, api.trust.show)
    const bundle = bundles.at(-1)
    if (!bundle) throw new Error('no bundle')
    host = new RememberingHost(joined, bundle, JSON.parse(bundle.document).incarnation)
    await host.comeBack()
    const certificate = await certificateOf(1)
    await server.stop()
    await backUp()
    // A bundle that the backup does not hold, and nobody goes back from.
    server.env.KEYMAN_HOST_SUFFIXES = 'keyman.localhost,prod.example.com'
    await server.restart()

    if (world.postgres) second = await startBeside(server)
    lostCertificate = await certificateOf(1)
    await call(sessions[0].connection, api.persons.disable, {
      params: { identity: parsePersonIdentity(BOB, 'identity') },
    })
    await call(sessions[0].connection, api.revocations.create, {
      body: bodyOf(api.revocations.create, { target: { publicKey: lostKey }, wait: 0 }),
    })
    await host.comeBack()
    expect(host.refuses(certificate)).toBe(true)
    expect(host.refusesKey(lostKey)).toBe(true)
    const { size } = await readLedger(sessions[0])
    before = { certificate, krlVersion: host.memory.krlVersion, size }
    await server.stop()
    await putBack()
  }, 300_000)
  afterAll(async () => {
    await second?.close()
    await world?.close()
  })

  it.skipIf(skip)('keeps the server from starting, and the command says how much is missing', async () => {
    await expect(world.server.restart()).rejects.toThrow(
      /the log that this server remembers has \d+.*keyman-server restore/s,
    )
    const { status, stdout } = command('restore')
    expect(status).toBe(9)
    expect(stdout).toMatch(/The database holds \d+ records.*are lost/s)
    expect(stdout).toContain('Nothing was changed')
    expect(command('restore', '--yes', '--keep', 'nobody@example.com').stderr).toContain(
      'nobody@example.com is no person',
    )
  })

  // An embedded database is opened by one server alone.
  if (setUp !== 'PGlite and the software keystore')
    it.skipIf(skip)(
      'stops a second server that still runs: it finds that the log is shorter, and gives out nothing any more',
      async () => {
        await expect.poll(secondReady, { timeout: 20_000 }).toMatchObject({ checks: { database: 'ok', log: 'failed' } })
        expect(second?.output()).toMatch(/the database holds \d+ records; this server has read \d+/)
      },
    )

  if (setUp !== 'PGlite and the software keystore')
    it.skipIf(skip)(
      'is not taken up where somebody hides a person or an authority from it; where all of them are there, it is',
      async () => {
        const admin = new pg.Client(world.postgres?.adminUrl)
        await admin.connect()
        await admin.query(`set session_replication_role = replica`)
        const hidden = async (table: string, column: string, value: string) => {
          const rename = (from: string, to: string) =>
            admin.query(`update ${table} set ${column} = $2 where ${column} = $1`, [from, to])
          await rename(value, 'hidden@example.com')
          const { stderr } = command('restore', '--yes', '--keep', ADMIN)
          await rename('hidden@example.com', value)
          return stderr
        }
        expect(await hidden('person', 'identity', BOB)).toMatch(/does not say of 1 persons .*bob@example.com/)
        for (const label of ['ssh-user-1', 'ssh-host-1'])
          expect(await hidden('authority_key', 'label', label)).toMatch(/the database lacks .* authority key/)
        // Below, he is disabled by what the log says, not by this.
        await admin.query(`update person set state = 'disabled' where identity = $1`, [BOB])
        await admin.end()
      },
    )

  it.skipIf(skip)(
    'goes on as a new history: all sessions have ended, and who may have been disabled waits',
    async () => {
      const done = command('restore', '--yes', '--keep', ADMIN)
      expect(done, done.stderr).toMatchObject({ status: 0, stdout: expect.stringContaining(`  ${BOB}\n`) })
      // Nothing is lost any more.
      expect(command('restore')).toMatchObject({ status: 7, stderr: expect.stringContaining('nothing was lost') })
      await world.server.restart()
      for (const machine of world.machines)
        expect(await machine.renew()).toMatchObject({ kind: 'refused', status: 401 })
      await expect(logIn(world.server, person(1))).rejects.toThrow(/denied|disabled|403/)

      const admin = await logIn(world.server, person(0))
      const { persons } = await call(admin.connection, api.persons.list)
      expect(persons).toMatchObject([
        { identity: ADMIN, state: 'active' },
        { identity: BOB, state: 'disabled' },
      ])
      const serial = parseCertificate(admin.login.ssh?.certificate ?? '', 'certificate').serial
      expect(serial).toBeGreaterThanOrEqual(1n << 40n)
      // What ended stands in rows and log alike.
      expect(world.server.output()).not.toContain('not what the audit log says')
      if (second) {
        expect(await secondReady()).toMatchObject({ checks: { log: 'failed' } })
        // Nor does it start again without being told which history to trust.
        await second.stop()
        await expect(second.restart()).rejects.toThrow(/is of another history.*start --checkpoint/s)
        expect(commandOf(second, 'restore')).toMatchObject({ status: 9, stdout: expect.stringContaining('already') })
        const done = commandOf(second, 'restore', '--yes')
        expect(done, done.stderr).toMatchObject({ status: 0, stdout: expect.stringContaining('remembers it now') })
        await second.restart()
        expect(await secondReady()).toMatchObject({ status: 'ready' })
      }
      const { kinds } = await readLedger(admin)
      expect(kinds).toContain('restored')
      await call(admin.connection, api.persons.enable, { params: { identity: parsePersonIdentity(BOB, 'identity') } })
      await logIn(world.server, person(1))
    },
    // Ten programs start in it, one after the other.
    180_000,
  )

  it.skipIf(skip)(
    'is taken as forward by a host that was away: what was revoked stays so, and what nobody recorded is revoked',
    async () => {
      const old = host.memory
      const lostState = host.sent
      lost = lostState
      if (!lostState) throw new Error('no state came')
      await host.comeBack()
      expect(host.memory.incarnation).not.toBe(old.incarnation)
      const versions = [old.bundle, host.memory.bundle].map(({ document }) => parseTrustDocument(document).version)
      expect(versions).toEqual([2, 3])
      expect(BigInt(host.memory.krlVersion)).toBeGreaterThan(BigInt(before.krlVersion))
      expect(host.refuses(before.certificate)).toBe(true)
      expect(host.refuses(lostCertificate)).toBe(true)
      const admin = await logIn(world.server, person(0))
      expect(host.refuses(admin.login.ssh?.certificate ?? '')).toBe(false)
      const note = readFileSync(join(world.server.dataFolder, 'restored-checkpoint'), 'utf8')
      expect(parseCheckpoint(note).origin).toMatch(/keyman-log-2$/)
      // And the state of the history that was given up is refused from then on.
      expect(() => verifyState(lostState, host.memory)).toThrow(/older/)
    },
  )

  it.skipIf(skip)(
    'revokes again what a host still has on the list that it had, by the signature of the log key and by no word of the host',
    async () => {
      if (!lost || !host.sent) throw new Error('no state came')
      expect(host.refusesKey(lostKey)).toBe(false)
      expect(await host.reports({ ...lost.krl, signature: host.sent.krl.signature })).toBe('denied')
      expect(await host.reports(host.sent.krl)).toBe('conflict')
      expect(host.refusesKey(lostKey)).toBe(false)
      expect(await host.reports(lost.krl)).toMatchObject({ keys: expect.any(Number) })
      await host.comeBack()
      expect(host.refusesKey(lostKey)).toBe(true)
      // Once is enough.
      expect(await host.reports(lost.krl)).toEqual({ certificates: 0, keys: 0 })
      expect(world.server.output()).not.toContain('not what the audit log says')
    },
  )
})
