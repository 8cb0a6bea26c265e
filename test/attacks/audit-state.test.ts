import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api } from '#shared/api/index.ts'
import { logIn, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { requires } from '#test/support/requires.ts'
import { bodyOf, type JoinedHost, joinHost } from '#test/support/worlds/attack-world.ts'
import { type DatabaseWorld, openDatabaseWorld } from '#test/support/worlds/database-world.ts'

/**
 * Whoever administers the database changes rows of a running server, behind its log. The checker is the real CLI of an
 * auditor, who takes neither the server's word nor the database's.
 */
describe.skipIf(!requires('postgresql'))('rows that are held against the log by an auditor', () => {
  let world: DatabaseWorld
  let laptop: Laptop
  let host: JoinedHost
  const tables = ['person', 'passkey', 'relying_party', 'access_grant', 'team_member', 'host', 'serial_block'].concat([
    'authority_key',
    'trust_bundle',
    'revocation',
    'revoked_certificate',
    'revoked_key',
    'krl_state',
  ])

  beforeAll(async () => {
    world = await openDatabaseWorld()
    laptop = await openLaptop(world.server.folder, world.server.env, { agent: false })
    host = await joinHost(world, 'web1.keyman.localhost')
    const { connection } = world.alice
    await call(connection, api.teams.addMembers, {
      params: { name: 'sre' },
      body: bodyOf(api.teams.addMembers, { persons: ['bob@example.com'] }),
    })
    for (const who of ['alice@example.com', 'bob@example.com'])
      await call(connection, api.grants.add, {
        body: bodyOf(api.grants.add, { who, login: 'deploy', hosts: { labels: { env: 'test' } } }),
      })
    const bob = await logIn(world.server, world.bob.person)
    const issue = () => call(bob.connection, api.ssh.issueUserCertificate, { body: { publicKey: bob.keys.ssh.line } })
    const [first] = [await issue(), await issue()]
    for (const target of [{ keyId: first.keyId }, { publicKey: bob.keys.ssh.line }])
      await call(connection, api.revocations.create, { body: bodyOf(api.revocations.create, { target, wait: 0 }) })
    const { code, stderr } = await laptop.keyman(['login', '--ssh-config', 'no', '--yes', '--for', '8h'], allow)
    expect(code, stderr).toBe(0)
    await world.sql('set session_replication_role = replica')
    for (const table of tables) await world.sql(`create table kept_${table} as select * from ${table}`)
  })
  afterAll(async () => {
    await laptop?.close()
    await world?.close()
  })

  /** Opens the page that the CLI asked for, touches the passkey, and goes where the browser would be sent. */
  async function allow(url: string): Promise<void> {
    const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
    const { options } = await page(world.server, api.login.consentOptions, { params })
    const body = { assertion: world.alice.person.authenticator.get(options) }
    const { redirectTo } = await page(world.server, api.login.consent, { params, body })
    await fetch(redirectTo ?? '')
  }
  /** What the auditor is told of while the database is so; then it is as it was. */
  async function found(changes: readonly string[]): Promise<{ code: number; differing: readonly string[] }> {
    for (const change of changes) await world.sql(change)
    const { code, stdout, stderr } = await laptop.keyman(['audit', 'verify', '--state', '--json'])
    for (const table of tables)
      await world.sql(`delete from ${table}; insert into ${table} select * from kept_${table}`)
    expect(stdout, stderr).not.toBe('')
    const { state } = JSON.parse(stdout)
    const differing: { id: string; message: string }[] = state.differing
    return { code, differing: differing.map(({ id, message }) => `${id} ${message}`) }
  }

  /** One more row of this table, as another but for this. */
  const like = (table: string, otherwise: object): string =>
    `insert into ${table} select (jsonb_populate_record(r, '${JSON.stringify(otherwise)}')).* from ${table} r limit 1`

  it('finds nothing where every row is what the log says', async () => {
    const { code, stdout } = await laptop.keyman(['audit', 'verify', '--state'])
    expect(stdout).toMatch(
      /Rows of the server and its revocation list: \d\d as the log says, 0 differ, 0 not checkable/,
    )
    expect(stdout).toMatch(/Records that say what is so, by their places and by who acted: \d+ good, 0 failed, 0 not/)
    expect(code).toBe(0)
  })

  it('names each row that was added', async () => {
    const { code, differing } = await found([
      like('person', { identity: 'mallory@example.com', user_handle: `\\x${'01'.repeat(64)}` }),
      like('passkey', { id: 'passkey_mallory', person: 'mallory@example.com', credential_id: '\\x02' }),
      like('access_grant', { id: 'grant_mallory1', who: 'mallory@example.com', login: 'root' }),
      like('team_member', { person: 'mallory@example.com' }),
      like('host', { id: 'host_mallory', name: 'evil.keyman.localhost', client_spki: null }),
      `insert into serial_block (authority, incarnation, next) values ('ssh-user-9', 'none', 7)`,
      like('authority_key', { label: 'ssh-user-9', state: 'retired' }),
      like('trust_bundle', { version: 99 }),
      like('revocation', { id: 'revocation_mallory' }),
      like('revoked_certificate', { serial: 999 }),
      like('revoked_key', { fingerprint: 'SHA256:mallory' }),
    ])
    const added = 'is in the database, and no record says so'
    expect(differing.toSorted()).toEqual(
      [
        ...['person:mallory@example.com', 'passkey:passkey_mallory', 'grant:grant_mallory1', 'host:host_mallory'],
        ...['member:sre mallory@example.com', 'serials:ssh-user-9 none', 'authority-key:ssh-user-9'],
        ...['trust-bundle:99', 'revocation:revocation_mallory', 'revoked:ssh-user-1 999', 'revoked-key:SHA256:mallory'],
      ]
        .map(id => `${id} ${added}`)
        .toSorted(),
    )
    expect(code).toBe(9)
  })

  it('names each row that was changed', async () => {
    const { code, differing } = await found([
      `update person set administrator = true where identity = 'bob@example.com'`,
      `update passkey set public_key = '\\x02' where person = 'bob@example.com'`,
      `update relying_party set origin = 'https://evil.example.com'`,
      `update access_grant set login = 'root' where who = 'bob@example.com'`,
      `update host set client_spki = '\\x03' where name = '${host.name}'`,
      `update serial_block set next = 2`,
      `update authority_key set spki = (select spki from authority_key where purpose = 'machines') where purpose = 'ssh-host'`,
      `update authority_key set state = 'retired' where purpose = 'ssh-user'`,
      `update trust_bundle set document = replace(document, 'https', 'http')`,
      `update revocation set certificates = 77`,
      `update revoked_certificate set until = 1`,
      `update krl_state set version = version + 5`,
    ])
    const changed =
      /^([a-z-]+)(:.*)? is not in the database as (record \d+ says|the root of trust has signed it|the certificate's own record says)$/
    // One version follows the other: another one is one more.
    const other = /^(krl-version):\d+ \d+ is in the database, and no record says so$/
    const kinds = ['person', 'passkey', 'relying-party', 'grant', 'host', 'serials', 'authority-key', 'trust-bundle']
    expect(new Set(differing.map(each => (changed.exec(each) ?? other.exec(each))?.[1] ?? each))).toEqual(
      new Set([...kinds, 'revocation', 'revoked', 'krl-version']),
    )
    expect(differing).toContain('authority-key:ssh-user-1 is not in the database as the root of trust has signed it')
    expect(code).toBe(9)
  })

  it('names each row that was taken away', async () => {
    const { code, differing } = await found([
      `delete from passkey where person = 'bob@example.com'`,
      `delete from person where identity = 'bob@example.com'`,
      `delete from access_grant where who = 'bob@example.com'`,
      ...[
        'relying_party',
        'team_member',
        'host',
        'serial_block',
        'trust_bundle',
        'revocation',
        'revoked_certificate',
      ].map(table => `delete from ${table}`),
      `delete from authority_key where purpose = 'ssh-host'`,
      'delete from revoked_key',
      'delete from krl_state',
    ])
    const gone = /^([a-z-]+)(:.*)? is not in the database, though record \d+ says that it is so$/
    expect(new Set(differing.map(each => gone.exec(each)?.[1] ?? each))).toEqual(
      new Set(
        [
          'person',
          'passkey',
          'relying-party',
          'grant',
          'member',
          'host',
          'serials',
          'authority-key',
          'trust-bundle',
        ].concat(['revocation', 'revoked', 'revoked-key', 'krl-version']),
      ),
    )
    expect(code).toBe(9)
  })
})
