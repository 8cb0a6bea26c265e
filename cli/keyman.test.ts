import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { decodeKrl } from '#shared/ssh/index.ts'
import { type ApiPerson, confirm, enrol, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop, type Result } from '#test/support/people/laptop.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { type ServerProcess, startServerProcess, testHome } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'

/** The real program against the real server; a person with a software authenticator stands for browser and passkey. */
describe.skipIf(!requires('ssh'))('keyman', () => {
  let server: ServerProcess
  let near: Laptop
  let far: Laptop
  let farHome: string
  let alice: ApiPerson
  let invitation: string
  let clock: string
  const root = join(import.meta.dirname, '..')

  beforeAll(async () => {
    const folder = testHome()
    clock = join(folder, 'clock')
    writeFileSync(clock, '0')
    // The server's clock alone is set ahead.
    server = await startServerProcess({
      folder,
      env: { TEST_CLOCK_FILE: clock, KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000' },
      program: ['--import', join(root, 'test', 'support', 'clock.ts'), SERVER],
    })
    near = await openLaptop(server.folder, server.env)
    farHome = testHome()
    mkdirSync(join(farHome, 'run'), { mode: 0o700 })
    const { PATH } = server.env
    far = await openLaptop(
      farHome,
      {
        PATH,
        XDG_CONFIG_HOME: join(farHome, 'config'),
        XDG_STATE_HOME: join(farHome, 'state'),
        XDG_RUNTIME_DIR: join(farHome, 'run'),
      },
      { agent: false },
    )
    alice = await enrol(server, server.ownerLink(), 'alice@example.com')
    near.sitting = touch(alice)
  })
  afterAll(async () => {
    await near?.close()
    await far?.close()
    await server?.close()
    rmSync(farHome, { recursive: true, force: true })
  })

  /** The page of a login: the passkey is touched, and the browser goes where it is sent. */
  const touch = (person: ApiPerson) => async (url: string) => {
    const transaction = new URL(url).pathname.split('/').at(-1) ?? ''
    if (url.includes('/login/')) await fetch((await consent(person, transaction)) ?? '')
    else await confirm(server, person, transaction)
  }
  const consent = async (person: ApiPerson, transaction: string) => {
    const params = { transaction }
    const { options } = await page(server, api.login.consentOptions, { params })
    const assertion = person.authenticator.get(options)
    return (await page(server, api.login.consent, { params, body: { assertion } })).redirectTo
  }
  const login = (laptop: Laptop, args: readonly string[] = [], person = alice): Promise<Result> =>
    laptop.keyman(['login', '--yes', ...args], touch(person))
  const files = (laptop: Laptop) => join(laptop.home, 'run', 'keyman', 'local')
  const json = async (laptop: Laptop, ...args: string[]) =>
    JSON.parse((await laptop.keyman([...args, '--json'])).stdout)

  it('knows nobody before the first login, and says what to do', async () => {
    const { code, stdout, stderr } = await near.keyman(['status'])
    expect([code, stdout, stderr]).toEqual([3, '', 'You are not signed in.\nNext: keyman login\n'])
    expect((await near.keyman(['why', 'demo'])).code).toBe(3)
  })
  const listOfRevokedHosts = () => {
    const { comment, version } = decodeKrl(readFileSync(join(near.home, 'config', 'keyman', 'revoked_hosts', 'local')))
    return { comment, version }
  }
  it("on the server's own machine nothing has to be given; results go to stdout, remarks to stderr", async () => {
    const { code, stdout, stderr } = await login(near, ['--ssh-config', 'yes'])
    expect(code, stderr).toBe(0)
    expect(stdout).toBe('')
    expect(stderr).toContain('local answers for the hosts *.keyman.localhost; root of trust SHA256:')
    expect(stderr).toContain('Signed in as alice@example.com')
    expect(stderr).toContain('Make a second: keyman passkey add')
    expect(readFileSync(join(near.home, '.ssh', 'config'), 'utf8')).toMatch(/^Include \S+\/ssh_config\n$/)
    // Of the server, signed: a list of our own making names no history.
    expect(listOfRevokedHosts().comment).toMatch(/^keyman local \S+$/)
  })
  it('leaves certificate and public key as files, the key in the agent alone, and nothing open to others', async () => {
    const names = readdirSync(files(near)).sort()
    expect(names).not.toContain('id_ed25519')
    expect(names).not.toContain('id_ed25519-cert.pub') // nobody has granted alice anything yet
    for (const name of ['client-key.pem', 'client-certificate.pem', 'session.json'])
      expect(statSync(join(files(near), name)).mode & 0o777, name).toBe(0o600)
    expect((await near.run('ssh-add', ['-l'])).stdout).toContain('keyman:local')
    expect(
      readdirSync(join(near.home, 'config', 'keyman'), { recursive: true }).filter(name => /tmp/.test(String(name))),
    ).toEqual([])
  })
  it('without a grant there is no certificate; with one a renewal brings it', async () => {
    expect((await near.keyman(['status', '--check'])).code).toBe(9)
    // Refused before a token is made for nothing: the name is still free.
    writeFileSync(join(near.home, 'file'), '')
    const nowhere = join(near.home, 'file', 'token')
    const refused = await near.keyman(['host', 'add', 'web1.keyman.localhost', '--token-file', nowhere])
    expect(refused.code).not.toBe(0)
    expect(refused.stdout).toBe('')
    expect(
      (
        await near.keyman([
          'host',
          'add',
          'web1.keyman.localhost',
          '--label',
          'env=prod',
          '--port',
          '2201',
          '--token-file',
          join(near.home, 'token'),
        ])
      ).code,
    ).toBe(0)
    expect(statSync(join(near.home, 'token')).mode & 0o777).toBe(0o600)
    const added = await near.keyman([
      'grant',
      'add',
      'alice@example.com',
      'deploy',
      '--label',
      'env=prod',
      '--max',
      '2h',
    ])
    expect(added.stdout).toMatch(/^grant_[A-Za-z0-9_-]+\n$/)
    expect(added.stderr).toContain('Granted: alice@example.com as deploy on env=prod for at most 2h.\n')
    expect((await near.keyman(['ssh', 'renew'])).code).toBe(0)
    expect((await near.keyman(['status', '--check', '--for', '1h'])).code).toBe(0)
    expect((await near.keyman(['status', '--check', '--for', '3h'])).code).toBe(9)
    const fields = await near.run('ssh-keygen', ['-L', '-f', join(files(near), 'id_ed25519-cert.pub')])
    expect(fields.stdout).toMatch(/Principals: \n\s+alice@example\.com\n/)
  })
  it('a renewal brings the list of revoked hosts, and the next a newer one', async () => {
    const { version } = listOfRevokedHosts()
    await near.keyman(['revoke', '--serial', (await json(near, 'status')).ssh.serial])
    await near.keyman(['ssh', 'renew'])
    expect(listOfRevokedHosts().version).toBeGreaterThan(version)
  })
  it('a renewal keeps the same two keys and gets a new serial', async () => {
    const before = await json(near, 'status')
    const key = readFileSync(join(files(near), 'id_ed25519.pub'), 'utf8')
    expect((await near.keyman(['ssh', 'renew', '--if-due'])).code).toBe(0)
    expect((await json(near, 'status')).ssh.serial).toBe(before.ssh.serial)
    await near.keyman(['ssh', 'renew'])
    const after = await json(near, 'status')
    expect(Number(after.ssh.serial)).toBeGreaterThan(Number(before.ssh.serial))
    expect([after.session, readFileSync(join(files(near), 'id_ed25519.pub'), 'utf8')]).toEqual([before.session, key])
  })
  it('says why, as whom and by which grant; 4 where there is no way in, 6 where there is no such host', async () => {
    const why = await near.keyman(['why', 'web1.keyman.localhost'])
    expect(why.stdout).toMatch(/^alice@example\.com gets in to web1\.keyman\.localhost as deploy, by grant_/)
    expect((await near.keyman(['why', 'nobody.keyman.localhost'])).code).toBe(6)
  })
  it('lists in the shape of the API', async () => {
    const nouns = ['person', 'grant', 'host', 'passkey', 'team'] as const
    const [person, grant, host, passkey, team] = await Promise.all(nouns.map(noun => json(near, noun, 'list')))
    expect(person.persons).toMatchObject([{ identity: 'alice@example.com', owner: true }])
    expect(grant.grants).toMatchObject([{ who: 'alice@example.com', login: 'deploy', maxLifetime: 7200 }])
    expect(host.hosts).toMatchObject([{ name: 'web1.keyman.localhost', state: 'invited' }])
    expect(passkey.passkeys).toMatchObject([{ name: 'test' }])
    expect(team.teams).toEqual([])
    const { records } = await json(near, 'audit', 'list', '--limit', '2', '--from', '0')
    expect(records).toHaveLength(2)
    const lines = (await near.keyman(['audit', 'list', '--limit', '2', '--from', '0', '--json-lines'])).stdout
    expect(
      lines
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line)),
    ).toEqual(records)
  })
  it('changes in the shape of the API too, and says nothing else on stdout', async () => {
    expect(await json(near, 'ssh', 'renew')).toMatchObject({ signedIn: true, person: 'alice@example.com' })
    expect(await json(near, 'team', 'add', 'ops', 'alice@example.com')).toEqual({
      name: 'ops',
      members: ['alice@example.com'],
    })
    expect(await json(near, 'team', 'remove', 'ops', 'alice@example.com')).toMatchObject({
      ...{ name: 'ops', members: [] },
      // No grant was the team's.
      hosts: [],
    })
    const { passkeys } = await json(near, 'passkey', 'list')
    expect(await json(near, 'passkey', 'rename', passkeys[0].id, 'test')).toMatchObject({ name: 'test' })
    const grant = await json(near, 'grant', 'add', 'alice@example.com', 'other', '--host', 'web1.keyman.localhost')
    expect(await json(near, 'grant', 'remove', grant.id)).toMatchObject({ hosts: expect.any(Array) })
  })
  it('says so where nobody of the name in a grant has a passkey yet; the grant stands', async () => {
    const host = ['--host', 'web1.keyman.localhost']
    const nobody = await near.keyman(['grant', 'add', 'alcie@example.com', 'deploy', ...host])
    expect(nobody.stderr).toMatch(
      /Granted: alcie@\S+ as deploy on \S+ for at most 8h\.\nNobody called alcie@example\.com has a passkey here yet: keyman person invite alcie@example\.com\n$/,
    )
    expect((await near.keyman(['grant', 'remove', nobody.stdout.trim()])).code).toBe(0)
    for (const who of ['alice@example.com', 'team:ops']) {
      const granted = await near.keyman(['grant', 'add', who, 'deploy2', ...host])
      expect([granted.code, granted.stderr]).toEqual([0, expect.stringMatching(/Granted: [^\n]*\n$/)])
      await near.keyman(['grant', 'remove', granted.stdout.trim()])
    }
  })
  it('verifies the log, and shows a record with its proof', async () => {
    const verified = await near.keyman(['audit', 'verify'])
    expect(verified.stdout).toMatch(
      /^The log of [0-9]+ records is whole and continues what this machine remembered\.\nLogins and touches by their passkeys' signatures: [1-9][0-9]* good, 0 failed, 0 not checkable\.\nRecords that say what is so, by their places and by who acted: [1-9][0-9]* good, 0 failed, 0 not checkable\.\n$/,
    )
    const shown = await near.keyman(['audit', 'show', '0'])
    expect([shown.code, shown.stderr]).toEqual([0, expect.stringContaining('It is in the log of')])
  })
  it('a log that lost what this machine remembers is found out', async () => {
    const path = join(near.home, 'config', 'keyman', 'contexts', 'local.json')
    const held = readFileSync(path, 'utf8')
    const context = JSON.parse(held)
    const [origin, , root, ...rest] = context.checkpoint.split('\n')
    writeFileSync(path, JSON.stringify({ ...context, checkpoint: [origin, '100000', root, ...rest].join('\n') }))
    const found = await near.keyman(['audit', 'verify'])
    expect([found.code, found.stdout]).toEqual([9, expect.stringContaining('The log was tampered with')])
    const renewed = await near.keyman(['ssh', 'renew'])
    expect(renewed.stderr).toContain('keyman: warning: the log has')
    writeFileSync(path, held)
  })
  it('a log that the root of trust has signed in place of the one that was remembered is told of, and remembered from then on', async () => {
    const path = join(near.home, 'config', 'keyman', 'contexts', 'local.json')
    const context = JSON.parse(readFileSync(path, 'utf8'))
    const [, , ...rest] = context.checkpoint.split('\n')
    writeFileSync(path, JSON.stringify({ ...context, checkpoint: ['local/before', '100000', ...rest].join('\n') }))
    const renewed = await near.keyman(['ssh', 'renew'])
    expect(renewed.stderr).toContain('a backup of local was restored')
    expect((await near.keyman(['ssh', 'renew'])).stderr).not.toContain('restored')
    expect((await near.keyman(['audit', 'verify'])).code).toBe(0)
  })
  it("invites somebody, whose machine trusts by the invitation's line alone", async () => {
    const answer = await json(near, 'person', 'invite', 'bob@example.com')
    invitation = answer.login
    const bob = await enrol(server, answer.link, 'bob@example.com')
    const { code, stderr } = await login(far, ['--ssh-config', 'no', invitation], bob)
    expect(code, stderr).toBe(0)
    expect(stderr).toContain('Signed in as bob@example.com; but you have no certificate')
    // No agent there: the key is a 0600 file.
    expect(statSync(join(files(far), 'id_ed25519')).mode & 0o777).toBe(0o600)
    expect(existsSync(join(far.home, '.ssh', 'config'))).toBe(false)
  })
  it('is never blind at first contact', async () => {
    const url = server.machinesUrl
    const wrong = await far.keyman(['login', url, '--fingerprint', `SHA256:${'A'.repeat(43)}`])
    expect([wrong.code, wrong.stderr]).toEqual([4, expect.stringContaining('no trust bundle has the root of trust')])
    const unknown = await far.keyman(['login', 'https://127.0.0.1:1'])
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining('add --fingerprint SHA256:…')])
  })
  it('an ordinary person administers nothing', async () => {
    for (const args of [
      ['person', 'list'],
      ['audit', 'list'],
      ['grant', 'add', 'bob@example.com', 'root', '--host', 'web1.keyman.localhost'],
    ]) {
      const { code, stderr } = await far.keyman(args)
      expect([code, stderr], args.join(' ')).toEqual([4, expect.stringContaining('keyman: hint: ')])
    }
  })
  it('the trust bundle verifies with ssh-keygen', async () => {
    const [document, signature, allowed] = ['trust.json', 'trust.sig', 'allowed'].map(name => join(near.home, name))
    await near.keyman(['trust', 'show', '--document', document ?? '', '--signature', signature ?? ''])
    const { roots } = JSON.parse(readFileSync(document ?? '', 'utf8'))
    writeFileSync(allowed ?? '', `root ${roots.keys[0]}\n`)
    const verified = await near.run('sh', [
      '-c',
      `ssh-keygen -Y verify -n keyman-trust -I root -f '${allowed}' -s '${signature}' < '${document}'`,
    ])
    expect(verified.stdout).toContain('Good "keyman-trust" signature for root')
  })
  it('a published bundle is followed at the next renewal elsewhere', async () => {
    const rootKey = join(server.dataFolder, 'root', 'root_key')
    const signed = await near.keyman(['trust', 'sign', '--root-key', rootKey])
    expect([signed.code, signed.stderr]).toEqual([0, expect.stringContaining('Published version 2')])
    await far.keyman(['ssh', 'renew'])
    expect(JSON.parse(far.read(join('config', 'keyman', 'contexts', 'local.json'))).bundleVersion).toBe(2)
  })
  it('revoking oneself needs no fresh touch, and ends the session at the server', async () => {
    const { code, stderr } = await far.keyman(['revoke', '--person', 'bob@example.com'])
    expect(stderr).toContain('That was you: keyman login signs in again.')
    expect(code).toBe(0)
    expect((await far.keyman(['passkey', 'list'])).code).toBe(3)
    expect((await far.keyman(['status', '--check'])).code).toBe(3)
  })
  it('a private key that is pasted where a public one belongs never leaves the machine', async () => {
    const { code, stderr } = await near.keyman(['revoke', '--key', join(server.dataFolder, 'root', 'root_key')])
    expect([code, stderr]).toEqual([2, expect.stringContaining('this is a private key')])
  })
  it("a second login replaces the first one's key and certificate in the agent", async () => {
    await login(near)
    const listed = await near.run('ssh-add', ['-l'])
    expect(listed.stdout.match(/\(\S+\)$/gm)).toEqual(['(ED25519)', '(ED25519-CERT)'])
  })
  it('a second login ends the session that it replaces: no certificate of it lives on unseen', async () => {
    const replaced = await json(near, 'status')
    const { code, stderr } = await login(near, ['--for', '100d'])
    expect(code, stderr).toBe(0)
    expect(stderr).toMatch(/^You asked for 100d; the server allows \d+ h at most\.$/m)
    expect(stderr).toMatch(/your certificate ends in .+ \(.*grant_/)
    const { records } = await json(near, 'audit', 'list', '--kind', 'revoked', '--limit', '1')
    expect(JSON.stringify(records)).toContain(replaced.session)
    expect(await json(near, 'doctor')).toMatchObject({
      findings: expect.arrayContaining([expect.objectContaining({ check: 'session', ok: true })]),
    })
  })
  it('hints at what to do where the server has not', async () => {
    const { code, stderr } = await near.keyman(['audit', 'show', '999999'])
    expect([code, stderr]).toEqual([6, expect.stringContaining('hint: keyman audit list shows what there is')])
  })
  it('of two logins at once one opens a page; the other waits and takes what that one gets', async () => {
    let second: ReturnType<Laptop['start']> | undefined
    const first = await near.keyman(['login'], async url => {
      second = near.start(['login'])
      await second.says(/Another keyman login waits for a touch of the passkey/)
      await touch(alice)(url)
    })
    expect(first.code, first.stderr).toBe(0)
    const { code, stderr } = await (second?.ended ?? Promise.reject(new Error('it was never started')))
    expect(code, stderr).toBe(0)
    expect(stderr).toContain('The other keyman login has signed this machine in')
    expect(stderr).toContain('Signed in as alice@example.com')
    // Neither a page nor a session of its own.
    expect(stderr).not.toContain('Touch your passkey in the browser')
    const { records } = await json(near, 'audit', 'list', '--kind', 'login', '--limit', '1')
    expect(JSON.stringify(records)).toContain((await json(near, 'status')).session)
  })
  it('where the first of two logins is refused, the other goes on by itself', async () => {
    let second: ReturnType<Laptop['start']> | undefined
    const first = await near.keyman(['login'], async url => {
      second = near.start(['login'])
      await second.says(/waiting for that one/)
      const { redirectTo } = await page(server, api.login.refuse, {
        params: { transaction: new URL(url).pathname.split('/').at(-1) ?? '' },
      })
      await fetch(redirectTo ?? '')
    })
    expect(first.code).toBe(4)
    const [, url = ''] = (await second?.says(/If no page opened: (\S+)/)) ?? []
    await touch(alice)(url)
    expect((await second?.ended)?.code).toBe(0)
  })
  it('doctor looks at what keyman needs', async () => {
    const { findings } = await json(near, 'doctor')
    const ok = Object.fromEntries(findings.map(({ check, ok }: { check: string; ok: boolean }) => [check, ok]))
    const remarks = findings.filter(({ check }: { check: string }) => check === 'the server on this machine')
    expect(remarks).toContainEqual(
      expect.objectContaining({
        ok: true,
        says: expect.stringMatching(/the root of trust is a software key.*docs\/trust/),
      }),
    )
    expect(ok).toMatchObject({ 'ssh-agent': true, session: true, clock: true, [server.machinesUrl]: true })
  })
  it('each change wants a touch for just that, and then goes on by itself; several persons are one change', async () => {
    const team = ['team', 'add', 'sre', 'alice@example.com', 'bob@example.com']
    // Where nobody can open the page, the refusal says where the passkey is to be touched.
    const alone = await near.run('env', ['-u', 'KEYMAN_BROWSER', join(near.home, 'bin', 'keyman'), ...team])
    expect(alone.code).toBe(5)
    expect(alone.stderr).toMatch(/keyman: hint: touch a passkey at http:\S+ and run the command again/)
    expect((await json(near, 'team', 'list')).teams).not.toContainEqual(expect.objectContaining({ name: 'sre' }))

    const { code, stderr } = await near.keyman(team, touch(alice))
    expect([code, stderr]).toEqual([0, expect.stringContaining('team:sre is now alice@example.com, bob@example.com.')])
    const emptied = ['team', 'remove', ...team.slice(2)]
    expect((await near.keyman(emptied, touch(alice))).stderr).toContain('team:sre is now empty.')
  })
  it('one touch for a series of changes: keyman admin, until it is ended', async () => {
    const begun = await near.keyman(['admin', '--for', '5m'], touch(alice))
    expect([begun.code, begun.stderr]).toEqual([0, expect.stringMatching(/this session administers without a touch/)])
    const add = (person: string) => {
      const args = ['-u', 'KEYMAN_BROWSER', join(near.home, 'bin', 'keyman'), 'team', 'add', 'series', person]
      return near.run('env', args)
    }
    expect((await add('alice@example.com')).stderr).toBe('team:series is now alice@example.com.\n')
    expect(await near.keyman(['admin', '--end'])).toMatchObject({
      code: 0,
      stderr: 'Ended: each change wants a touch again.\n',
    })
    expect((await add('bob@example.com')).code).toBe(5)
    expect((await near.keyman(['admin', '--for', '2h'])).code).toBe(2)
  })
  it('an action that is refused in the browser changes nothing', async () => {
    const { code, stderr } = await near.keyman(['team', 'add', 'sre', 'alice@example.com'], async url => {
      const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
      await page(server, api.actions.refuse, { params })
    })
    expect([code, stderr]).toEqual([4, expect.stringContaining('the action was refused in the browser')])
    expect((await json(near, 'team', 'list')).teams).toContainEqual({ name: 'sre', members: [] })
  })
  it.each([
    ['ahead of', 1800],
    ['behind', -1800],
  ])(
    "a laptop whose clock is half an hour %s the server's signs in all the same, and is told",
    async (words, seconds) => {
      const own = join(near.home, 'laptop-clock')
      writeFileSync(own, String(seconds))
      const shifted = {
        NODE_OPTIONS: `--import ${join(root, 'test', 'support', 'clock.ts')}`,
        TEST_CLOCK_FILE: own,
      }
      Object.assign(near.env, shifted)
      try {
        const { code, stderr } = await login(near)
        expect(code, stderr).toBe(0)
        expect(stderr).toMatch(new RegExp(`^This machine's clock is (29|30) min ${words} the server's`, 'm'))
        const device = near.start(['login', '--device'])
        const [, userCode = ''] = await device.says(/type the code {2}(\S+)/)
        const { transaction } = await page(server, api.login.find, { body: { userCode } })
        await consent(alice, transaction)
        const confirmed = await device.ended
        expect(confirmed.code, confirmed.stderr).toBe(0)
        const team = await near.keyman(['team', 'add', 'clocks', 'alice@example.com'], touch(alice))
        expect(team.code, team.stderr).toBe(0)
      } finally {
        writeFileSync(clock, '0')
        for (const name of Object.keys(shifted)) delete near.env[name]
      }
    },
  )
  it('logout ends the session and its keys; the pin, the checkpoint and the ssh line stay', async () => {
    const { code, stderr } = await near.keyman(['logout'])
    expect([code, stderr]).toEqual([0, 'Signed out of local.\n'])
    expect(existsSync(files(near))).toBe(false)
    expect((await near.run('ssh-add', ['-l'])).stdout).not.toContain('keyman')
    expect(readFileSync(join(near.home, '.ssh', 'config'), 'utf8')).toContain('Include ')
    expect(
      JSON.parse(readFileSync(join(near.home, 'config', 'keyman', 'contexts', 'local.json'), 'utf8')),
    ).toHaveProperty('checkpoint')
    expect((await near.keyman(['status', '--check'])).code).toBe(3)
  })
  it('a login that is refused changes nothing and says so', async () => {
    const { code, stderr } = await near.keyman(['login'], async url => {
      const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
      const { redirectTo } = await page(server, api.login.refuse, { params })
      await fetch(redirectTo ?? '')
    })
    expect([code, stderr]).toEqual([4, expect.stringContaining('the login was refused in the browser')])
    expect(existsSync(files(near))).toBe(false)
  })
  it('where nobody can open a page, login fails at once and says which flag helps', async () => {
    const { code, stderr } = await near.run('env', ['-u', 'KEYMAN_BROWSER', join(near.home, 'bin', 'keyman'), 'login'])
    expect([code, stderr]).toEqual([
      3,
      expect.stringContaining('keyman: hint: run keyman login in a terminal, or add --device'),
    ])
  })
  it('with a dead server says until when the certificate is good, and answers from files what it can', async () => {
    await login(near)
    await server.kill()
    const why = await near.keyman(['why', 'web1.keyman.localhost'])
    expect(why.code).toBe(8)
    expect(why.stderr).toMatch(
      /^keyman: error: https:\S+ is not reached: nothing listens there\nkeyman: hint: ssh goes on working: your certificate ends in (1 h 59 min|2 h), /,
    )
    expect((await near.keyman(['status', '--check', '--for', '1h'])).code).toBe(0)
    const ssh = await near.run('ssh', ['-T', '-G', '-F', join(near.home, '.ssh', 'config'), 'web1.keyman.localhost'])
    expect(ssh.stdout).toContain('certificatefile')
    expect(ssh.stderr).toBe('')
    const out = await near.keyman(['logout'])
    expect([out.code, out.stderr]).toEqual([0, expect.stringContaining('its server does not know')])
    expect(existsSync(files(near))).toBe(false)
  })
  it('another server with the same name and another root is not taken for it', async () => {
    rmSync(server.dataFolder, { recursive: true, force: true })
    await server.restart()
    const { code, stderr } = await near.keyman(['login'])
    expect(code).toBe(4)
    expect(stderr).toContain('this is not the local that is pinned here')
    expect(stderr).toContain('keyman: hint: if it was set up anew on purpose: keyman logout --all')
  })
  it("logout --all leaves nothing of the CLI's, and everything of the server's", async () => {
    expect((await near.keyman(['logout', '--all'])).code).toBe(0)
    expect((await near.keyman(['status', '--files'])).stdout).toBe('')
    expect(existsSync(join(near.home, '.ssh', 'config'))).toBe(false)
    expect(existsSync(join(near.home, 'config', 'keyman'))).toBe(false)
    expect(existsSync(server.dataFolder)).toBe(true)
  })
})
