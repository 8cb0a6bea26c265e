import { createPrivateKey } from 'node:crypto'
import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { compose, type Services } from '#server/compose.ts'
import { loadConfig } from '#server/config/index.ts'
import { createLog } from '#server/log.ts'
import { migrate, readMigrations } from '#server/store/migrate.ts'
import { schemas } from '#shared/api/index.ts'
import { fromBase64Url } from '#shared/bytes.ts'
import { parseHostName, parsePersonIdentity } from '#shared/names.ts'
import { Authenticator } from '#test/support/people/authenticator.ts'
import { startPostgres } from '#test/support/programs/postgres.ts'
import { newPGlite } from '#test/support/programs/templates.ts'
import { requires } from '#test/support/requires.ts'

/** What a server of the release before had made is taken up by this one: rows, keys, and what it remembered. See README.md. */

const before = join(import.meta.dirname, 'from-0022')
const migrations = readMigrations().filter(({ name }) => name < '0023')
/** What psql reads and no database. */
const rows = readFileSync(join(before, 'rows.sql'), 'utf8').replace(/^\\.*$/gm, '')
const people = z
  .array(
    z.object({
      identity: z.string(),
      credentials: z.array(
        z.object({ id: z.string(), userHandle: z.string(), rpId: z.string(), privateKey: z.string() }),
      ),
    }),
  )
  .parse(JSON.parse(readFileSync(join(before, 'people.json'), 'utf8')))

const EMPTIED = `do $$ declare t record; begin
  for t in select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'public' loop
    execute 'truncate ' || t.name || ' cascade';
  end loop; end $$`

async function intoPostgres({ adminUrl, migrationUrl }: { adminUrl: string; migrationUrl: string }): Promise<void> {
  const owner = new pg.Client(migrationUrl)
  await owner.connect()
  await migrate(
    {
      run: async sql => void (await owner.query(sql)),
      rows: async (sql, parameters) => (await owner.query(sql, [...parameters])).rows,
    },
    migrations,
  )
  await owner.end()
  const admin = new pg.Client(adminUrl)
  await admin.connect()
  await admin.query(EMPTIED)
  await admin.query(rows)
  await admin.end()
}

async function intoPGlite(folder: string): Promise<void> {
  await newPGlite(folder)
  const database = await PGlite.create(join(folder, 'pgdata'))
  await migrate(
    {
      run: async sql => void (await database.exec(sql)),
      rows: async (sql, parameters) => (await database.query(sql, [...parameters])).rows,
    },
    migrations,
  )
  await database.exec(EMPTIED)
  await database.exec(rows)
  await database.close()
}

function privateFor(folder: string): void {
  chmodSync(folder, 0o700)
  for (const each of readdirSync(folder, { recursive: true, withFileTypes: true }))
    chmodSync(join(each.parentPath, each.name), each.isDirectory() ? 0o700 : 0o600)
}

async function opened(folder: string, env: Readonly<Record<string, string>>, alarms: string[]): Promise<Services> {
  const config = loadConfig({
    env: {
      KEYMAN_DATA_FOLDER: join(folder, 'data'),
      KEYMAN_ORGANISATION: 'acme',
      KEYMAN_MACHINES_LISTEN: '127.0.0.1:4443',
      KEYMAN_MACHINES_URL: 'https://localhost:4443',
      ...env,
    },
    home: folder,
  })
  const write = (line: string) => void (line.includes('"level":"error"') && alarms.push(line))
  return compose({ config, log: createLog({ write }) })
}

async function stands(services: Services, alarms: readonly string[]): Promise<void> {
  const { identity, access, hosts } = services
  const listed = (await identity.persons.list()).map(({ identity, owner, state }) => [identity, owner, state])
  expect(listed).toEqual([
    ['alice@example.com', true, 'active'],
    ['bob@example.com', false, 'active'],
    ['carol@example.com', false, 'disabled'],
  ])
  const grants = await access.listGrants()
  expect(grants).toMatchObject([
    { kind: 'login', who: 'team:sre', login: 'deploy', options: { sourceAddress: ['10.0.0.0/8'] } },
    { kind: 'login', who: 'alice@example.com', login: 'root', hosts: { host: 'web1.keyman.localhost' } },
  ])
  expect(await access.listTeams()).toEqual([{ name: 'sre', members: ['bob@example.com'] }])
  const web1 = { name: parseHostName('web1.keyman.localhost', 'test'), labels: { env: 'prod' } }
  expect(await hosts.list()).toMatchObject([{ ...web1, aliases: ['www.keyman.localhost'], state: 'invited' }])
  expect(access.principalsFor(web1)).toMatchObject({
    deploy: [{ principal: 'bob@example.com' }],
    root: [{ principal: 'alice@example.com' }],
  })

  const at = () => ({ requestId: services.requestId(), from: '192.0.2.7' })
  const signIn = async (name: string) => {
    const authenticator = new Authenticator(services.config.publicUrl)
    for (const { id, userHandle, rpId, privateKey } of people.find(each => each.identity === name)?.credentials ?? [])
      authenticator.credentials.push({
        ...{ id: fromBase64Url(id), userHandle, rpId, counter: 0 },
        privateKey: createPrivateKey(privateKey),
      })
    return identity.signIns.complete(authenticator.get(await identity.signIns.options()), at(), undefined)
  }
  expect((await signIn('alice@example.com')).caller).toMatchObject({ identity: 'alice@example.com', owner: true })
  expect((await signIn('bob@example.com')).caller).toMatchObject({ owner: false })
  await expect(signIn('carol@example.com')).rejects.toMatchObject({ code: 'denied' })

  // What there was goes on with what is new.
  const by = () => ({ actor: { kind: 'operator' } as const, ...at() })
  const alice = { kind: 'person', identity: parsePersonIdentity('alice@example.com', 'test') } as const
  const bob = { kind: 'person', identity: parsePersonIdentity('bob@example.com', 'test') } as const
  expect([access.may(alice, { action: 'owner.change' }), access.may(bob, { action: 'audit.read' })]).toEqual([
    true,
    false,
  ])
  await access.addGrant(schemas.newGrant.parse({ kind: 'role', who: bob.identity, role: 'auditor' }), by())
  expect(access.may(bob, { action: 'audit.read' })).toBe(true)
  await access.roles.add(schemas.newRole.parse({ name: 'looker', of: 'organisation', actions: ['host.read'] }), by())
  await access.addGrant(schemas.newGrant.parse({ kind: 'role', who: bob.identity, role: 'looker' }), by())
  expect([access.may(bob, { action: 'host.read' }), access.may(bob, { action: 'audit.read' })]).toEqual([true, true])
  const [first] = grants
  await access.changeGrant(first?.id ?? '', { maxLifetime: 600 }, by())
  await hosts.change(web1.name, { labels: { tier: 'web' } }, by())
  await access.removeGrant(first?.id ?? '', by())
  await services.ledger.follow()
  expect(alarms).toEqual([])
}

describe('what the release before had made', () => {
  it.skipIf(!requires('postgresql'))('stands, on PostgreSQL', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keyman-upgrade-'))
    const postgres = await startPostgres({ fsync: false })
    cpSync(join(before, 'data'), join(folder, 'data'), { recursive: true })
    privateFor(join(folder, 'data'))
    await intoPostgres(postgres)
    const alarms: string[] = []
    const { url, migrationUrl } = postgres
    const services = await opened(
      folder,
      { KEYMAN_DATABASE_URL: url, KEYMAN_DATABASE_MIGRATION_URL: migrationUrl },
      alarms,
    )
    try {
      await stands(services, alarms)
    } finally {
      await services.close()
      await postgres.close()
      rmSync(folder, { recursive: true })
    }
  })

  it('stands, in the embedded database', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keyman-upgrade-'))
    cpSync(join(before, 'data'), join(folder, 'data'), { recursive: true })
    privateFor(join(folder, 'data'))
    await intoPGlite(join(folder, 'data', 'database'))
    const alarms: string[] = []
    const services = await opened(folder, {}, alarms)
    try {
      await stands(services, alarms)
    } finally {
      await services.close()
      rmSync(folder, { recursive: true })
    }
  })
})
