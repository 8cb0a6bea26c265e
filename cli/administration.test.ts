import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { freePort } from '#test/support/free-port.ts'
import { type ApiPerson, confirm, enrol, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop, type Result } from '#test/support/people/laptop.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { type ServerProcess, startServerProcess, testHome } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'

/** What an administrator does and reads, with the real program against the real server. */
describe.skipIf(!requires('ssh'))('keyman for administrators', () => {
  let server: ServerProcess
  let laptop: Laptop
  let bobs: Laptop
  let bobsHome: string
  let bob: ApiPerson
  const web1 = 'web1.keyman.localhost'

  const signIn = (laptop: Laptop, person: ApiPerson, args: readonly string[] = []): Promise<Result> =>
    laptop.keyman(['login', '--yes', '--ssh-config', 'no', ...args], async url => {
      const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
      const { options } = await page(server, api.login.consentOptions, { params })
      const body = { assertion: person.authenticator.get(options) }
      await fetch((await page(server, api.login.consent, { params, body })).redirectTo ?? '')
    })
  const json = async (...args: string[]) => JSON.parse((await laptop.keyman([...args, '--json'])).stdout)
  /** With a terminal on stdin and stderr, at which `answer` is typed; what it says is on stdout. */
  const asked = (line: string, answer: string) =>
    laptop.run('script', ['-qec', `${join(laptop.home, 'bin', 'keyman')} ${line}`, '/dev/null'], `${answer}\n`)

  beforeAll(async () => {
    // One person touches a passkey here more often in a minute than anybody does.
    server = await startServerProcess({ env: { KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000' } })
    laptop = await openLaptop(server.folder, server.env, { agent: false })
    bobsHome = testHome()
    mkdirSync(join(bobsHome, 'run'), { mode: 0o700 })
    bobs = await openLaptop(
      bobsHome,
      { PATH: server.env.PATH, XDG_RUNTIME_DIR: join(bobsHome, 'run') },
      { agent: false },
    )
    const alice = await enrol(server, server.ownerLink(), 'alice@example.com')
    expect((await signIn(laptop, alice)).stderr).toContain('Signed in as alice@example.com')
    laptop.sitting = url => confirm(server, alice, new URL(url).pathname.split('/').at(-1) ?? '')
    // A series of changes: one touch for all of teams, grants and hosts.
    expect((await laptop.keyman(['admin', '--for', '1h'])).code).toBe(0)
    for (const name of [web1, 'db1.keyman.localhost'])
      await laptop.keyman(['host', 'add', name, '--label', 'env=prod', '--label', 'team=sre', '--json'])
  })
  afterAll(async () => {
    await laptop?.close()
    await bobs?.close()
    await server?.close()
    rmSync(bobsHome, { recursive: true, force: true })
  })

  it('a grant is told with everything that it gives: when it is made, in the list, and by why', async () => {
    const limits = ['--no-pty', '--no-port-forwarding', '--source', '127.0.0.0/8', '--command', '/bin/backup']
    const grant = ['grant', 'add', 'alice@example.com', 'backup', '--host', web1, '--max', '1h']
    const made = await laptop.keyman([...grant, ...limits])
    const options =
      'without a terminal, without port forwarding, from 127.0.0.0/8 alone, for the command "/bin/backup" alone'
    expect(made).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^grant_[A-Za-z0-9_-]+\n$/),
      stderr: `Granted: alice@example.com as backup on ${web1} for at most 1h, ${options}.\n`,
    })
    const id = made.stdout.trim()
    const { stdout: list } = await laptop.keyman(['grant', 'list'])
    expect(list.split('\n').find(line => line.includes(id))).toMatch(new RegExp(`${web1} +1h +- +${options}$`))
    const why = await laptop.keyman(['why', web1])
    expect(why.stdout).toContain(`as backup, by ${id} (alice@example.com), 1h at most, ${options}\n`)
    expect((await laptop.keyman(['grant', 'remove', id])).code).toBe(0)
  })
  it('the same grant twice is refused, with the ID of the first; one grant is shown by itself', async () => {
    const grant = ['grant', 'add', 'alice@example.com', 'twice', '--host', web1, '--source', '127.0.0.0/8']
    const id = (await laptop.keyman(grant)).stdout.trim()
    const again = await laptop.keyman(grant)
    expect([again.code, again.stdout, again.stderr]).toEqual([
      ...[7, '', expect.stringContaining(`keyman: error: ${id} gives just this already`)],
    ])
    const shown = await laptop.keyman(['grant', 'show', id])
    expect(shown.stdout).toContain(`  gives     alice@example.com the login twice\n  on        ${web1}\n`)
    expect(shown.stdout).toContain('  as        from 127.0.0.0/8 alone\n')
    expect((await laptop.keyman(['grant', 'show', 'grant_0123456789'])).code).toBe(6)
    const other = await laptop.keyman([...grant, '--max', '1h'])
    expect(other.code).toBe(0)
    const changed = await laptop.keyman([
      ...['grant', 'change', id, '--max', '30m', '--ends', '30d'],
      ...['--no-pty', '--no-source'],
    ])
    expect(changed.stderr).toContain(`Changed ${id}: alice@example.com as twice on ${web1} for at most 30m, until `)
    expect(changed.stderr).toContain(', without a terminal.\n')
    expect(await json('grant', 'show', id)).toMatchObject({ maxLifetime: 1800, options: { pty: false } })
    expect((await laptop.keyman(['grant', 'change', id])).code).toBe(2)
    expect((await laptop.keyman(['grant', 'change', id, '--pty', '--no-pty'])).code).toBe(2)
    for (const made of [id, other.stdout.trim()]) await laptop.keyman(['grant', 'remove', made, '--no-wait'])
  })
  it('projects, roles, and what is in a project; who may do what is asked as a login is', async () => {
    const made = await laptop.keyman(['project', 'add', 'payments', 'prod', 'dev'])
    expect(made.stderr).toBe('payments is there, with payments/dev, payments/prod.\n')
    expect((await laptop.keyman(['project', 'add', 'payments', 'prod'])).code).toBe(7)
    const { host } = await json('host', 'add', 'pay1.keyman.localhost', '--in', 'payments/prod')
    expect(host).toMatchObject({ in: 'payments/prod' })
    const login = ['grant', 'add', 'alice@example.com', 'pay', '--in', 'payments/prod', '--ends', '30d']
    const grant = (await laptop.keyman(login)).stdout.trim()
    const role = await laptop.keyman(['grant', 'add', 'pia@example.com', '--role', 'admin', '--in', 'payments'])
    expect(role.stderr).toContain('Granted: pia@example.com the role admin on payments.\n')
    const { stdout: list } = await laptop.keyman(['grant', 'list'])
    expect(list).toMatch(/pia@example\.com +role admin +payments +- +- *\n/)
    expect(list).toMatch(/alice@example\.com +login pay +payments\/prod +8h +/)
    expect((await laptop.keyman(['grant', 'show', role.stdout.trim()])).stdout).toContain('  may       host.read, ')
    expect((await laptop.keyman(['why', 'pay1.keyman.localhost'])).stdout).toContain(`as pay, by ${grant}`)
    expect((await laptop.keyman(['project', 'show', 'payments'])).stdout).toContain(
      'host          pay1.keyman.localhost in payments/prod\n',
    )
    const full = await laptop.keyman(['project', 'remove', 'payments/prod'])
    expect([full.code, full.stderr]).toEqual([
      7,
      expect.stringContaining(`payments/prod is not empty: host pay1.keyman.localhost, ${grant}`),
    ])
    const may = await laptop.keyman(['why', '--action', 'host.add', '--in', 'payments/prod'])
    expect(may).toMatchObject({
      code: 0,
      stdout: 'alice@example.com may host.add on payments/prod, as owner on the organisation by alice@example.com\n',
    })
    const other = await json('why', '--action', 'trust.publish', '--person', 'alice@example.com')
    expect(other).toMatchObject({ action: 'trust.publish', allowed: true, reasons: [] })
    const wrong = await laptop.keyman(['why', '--action', 'host.fly'])
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('--action')])
    const mixed = await laptop.keyman(['grant', 'add', 'alice@example.com', '--role', 'viewer'])
    expect([mixed.code, mixed.stderr]).toEqual([
      2,
      expect.stringContaining('--role: administrator, operator, auditor are'),
    ])
    for (const id of [grant, role.stdout.trim()]) await laptop.keyman(['grant', 'remove', id, '--no-wait'])
    await laptop.keyman(['host', 'remove', 'pay1.keyman.localhost', '--yes'])
    for (const place of ['payments/prod', 'payments/dev', 'payments'])
      expect((await laptop.keyman(['project', 'remove', place])).code).toBe(0)
    expect((await json('role', 'list')).roles).toContainEqual({
      ...{ name: 'auditor', of: 'organisation', builtIn: true, actions: ['audit.read', 'login.read'], lapsed: [] },
    })
  })
  it('a role of its own: made, shown, given, changed and taken away, and what it may is said', async () => {
    await laptop.keyman(['project', 'add', 'roles'])
    const add = ['role', 'add', 'deployer', '--of', 'place']
    const nothing = await laptop.keyman(add)
    expect([nothing.code, nothing.stderr]).toEqual([2, expect.stringContaining('--action is missing')])
    const wrong = await laptop.keyman([...add, '--action', 'host.fly'])
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('--action: must be actions that')])
    const made = await laptop.keyman([...add, '--action', 'host.change', '--action', 'host.read'])
    expect([made.code, made.stdout, made.stderr]).toEqual([
      ...[0, ''],
      expect.stringContaining('deployer may host.read, host.change.\n'),
    ])
    expect((await laptop.keyman(add.concat('--action', 'host.read'))).code).toBe(7)
    const given = await laptop.keyman(['grant', 'add', 'pia@example.com', '--role', 'deployer', '--in', 'roles'])
    const id = given.stdout.trim()
    expect(given.stderr).toContain('Granted: pia@example.com the role deployer on roles.\n')
    expect((await laptop.keyman(['grant', 'show', id])).stdout).toContain('  may       host.read, host.change\n')
    const nowhere = await laptop.keyman(['grant', 'add', 'pia@example.com', '--role', 'deployer'])
    expect([nowhere.code, nowhere.stderr]).toEqual([
      2,
      expect.stringContaining('--role: deployer is given for a project'),
    ])
    const changed = await laptop.keyman(['role', 'change', 'deployer', '--add', 'host.add', '--remove', 'host.change'])
    expect(changed.stderr).toContain('deployer may host.read, host.add.\n')
    expect((await laptop.keyman(['role', 'change', 'viewer', '--add', 'host.add'])).code).toBe(2)
    expect((await laptop.keyman(['role', 'show', 'deployer'])).stdout).toMatch(
      /^deployer\n {2}of {8}a project or environment\n {2}may {7}host\.read, host\.add\n {2}made by {3}alice@example\.com, /,
    )
    expect((await laptop.keyman(['role', 'list'])).stdout).toMatch(
      /\ndeployer +a project or environment +host\.read, host\.add *\n/,
    )
    const had = await laptop.keyman(['role', 'remove', 'deployer'])
    expect([had.code, had.stderr]).toEqual([7, expect.stringContaining(`the role deployer is given by ${id}`)])
    await laptop.keyman(['grant', 'remove', id])
    expect((await laptop.keyman(['role', 'remove', 'deployer'])).stderr).toContain('Removed deployer.\n')
    expect((await laptop.keyman(['role', 'show', 'deployer'])).code).toBe(6)
    await laptop.keyman(['project', 'remove', 'roles'])
  })
  it('says of a grant or a member where nobody has the label, the name, or may sign in', async () => {
    const grant = (who: string, value: string) =>
      laptop.keyman(['grant', 'add', who, 'remarked', '--label', `env=${value}`])
    const nowhere = await grant('alice@example.com', 'nowhere')
    expect(nowhere.stderr).toContain('No host has env=nowhere yet: keyman host list\n')
    const fine = await grant('alice@example.com', 'prod')
    expect(fine.stderr).toMatch(/Granted: [^\n]*\n$/)
    const team = await laptop.keyman(['team', 'add', 'remarked', 'alice@example.com', 'alcie@example.com'])
    expect(team.stderr).toMatch(/\nNobody called alcie@example\.com has a passkey here yet: [^\n]*\n$/)
    for (const { stdout } of [nowhere, fine]) await laptop.keyman(['grant', 'remove', stdout.trim(), '--no-wait'])
  })
  it('why says that a host has not joined yet, and that this machine has not heard of it', async () => {
    const id = (await laptop.keyman(['grant', 'add', 'alice@example.com', 'heard', '--host', web1])).stdout.trim()
    const before = await laptop.keyman(['why', web1])
    expect(before.stderr).toContain(`${web1} has not joined yet: nobody gets in there by KeyMan until it has.\n`)
    expect(before.stderr).toContain('Your machine hears of it at the next renewal: keyman ssh renew.')
    await laptop.keyman(['ssh', 'renew'])
    expect((await laptop.keyman(['why', web1])).stderr).not.toContain('Your machine hears of it')
    await laptop.keyman(['grant', 'remove', id, '--no-wait'])
  })
  it('a host is found by the alias that it was given with its name, which is shown before the touch and afterwards', async () => {
    const alias = 'www.keyman.localhost'
    const added = await laptop.keyman(['host', 'add', 'called1.keyman.localhost', '--alias', 'WWW.keyman.localhost.'])
    expect(added.stderr).toContain('Join token of called1.keyman.localhost')
    expect(await json('host', 'show', 'called1.keyman.localhost')).toMatchObject({ aliases: [alias] })
    expect((await laptop.keyman(['host', 'show', 'called1.keyman.localhost'])).stdout).toContain(
      `also       ${alias}\n`,
    )
    const host = 'called1.keyman.localhost'
    const id = (await laptop.keyman(['grant', 'add', 'alice@example.com', 'caller', '--host', host])).stdout.trim()
    expect((await laptop.keyman(['why', alias])).stdout).toContain(`alice@example.com gets in to ${host} as caller`)
    const records = await json('audit', 'list', '--kind', 'host-added', '--host', host)
    expect(JSON.stringify(records)).toContain(alias)
    await laptop.keyman(['grant', 'remove', id, '--no-wait'])
  })
  it('a host is changed in parts, with what it is by then, and what of a change cannot be is said by its flag', async () => {
    const host = 'changed1.keyman.localhost'
    await laptop.keyman(['host', 'add', host, '--label', 'env=test'])
    const change = (...args: string[]) => laptop.keyman(['host', 'change', 'changed1', ...args])
    const changed = await change('--label', 'tier=web', '--no-label', 'env', '--alias', 'C1.keyman.localhost')
    expect(changed).toMatchObject({
      code: 0,
      stderr: expect.stringContaining(`Changed ${host}: in no project, labels tier=web.`),
    })
    const more = await change('--address', '127.0.0.1', '--port', '2222', '--json')
    expect(JSON.parse(more.stdout)).toMatchObject({
      labels: { tier: 'web' },
      aliases: ['c1.keyman.localhost'],
      port: 2222,
    })
    const none = await change('--no-address', '--no-alias', 'c1.keyman.localhost')
    expect(none.stderr).toContain('at their next keyman login or keyman ssh renew')
    expect(await json('host', 'show', host)).not.toHaveProperty('address')
    for (const [args, code, said] of [
      [[], 2, 'nothing is to be changed'],
      [['--address', '10.0.0'], 2, '--address: must be an IP address'],
      [['--alias', 'web1.example.org'], 2, '--alias: web1.example.org does not end in a host suffix'],
      [['--no-label', 'env'], 2, `--label: ${host} has no label env`],
      [['--port', '2222'], 7, 'nothing would change'],
      [['--label', 'a=1', '--no-label', 'a'], 2, 'the label a is given twice'],
    ] as const)
      expect(await change(...args), args.join(' ')).toMatchObject({ code, stderr: expect.stringContaining(said) })
    // What its row says by now is what the log says.
    expect((await laptop.keyman(['audit', 'verify', '--state'])).stdout).toContain(', 0 differ, 0 not checkable.')
  })
  it('plain ssh knows by itself a host that was granted since the last renewal, and asks for none that it knows', async () => {
    await laptop.keyman(['host', 'add', 'new1.keyman.localhost', '--port', '2299', '--address', '127.0.0.1'])
    const evaluate = async (host: string) => {
      const file = join(laptop.home, 'config', 'keyman', 'ssh_config')
      return (await laptop.run('ssh', ['-G', '-F', file, host])).stdout
    }
    expect(await evaluate('new1.keyman.localhost')).toMatch(/^port 22$/m)
    const id = (await laptop.keyman(['grant', 'add', 'alice@example.com', 'new', '--host', 'new1'])).stdout.trim()
    // Not again within a few seconds, since a name that is nobody's may be typed again and again.
    const asked = join(server.env.XDG_RUNTIME_DIR ?? '', 'keyman', 'local.new-host')
    rmSync(asked)
    expect(await evaluate('new1.keyman.localhost')).toMatch(/^port 2299$/m)
    rmSync(asked)
    await evaluate('new1.keyman.localhost')
    expect(existsSync(asked)).toBe(false)
    // Nothing is issued for a name that nobody knows.
    const issued = async () => (await json('audit', 'list', '--kind', 'ssh-user-certificate')).records.length
    const before = await issued()
    await evaluate('nobody.keyman.localhost')
    expect([existsSync(asked), await issued()]).toEqual([true, before])
    await laptop.keyman(['grant', 'remove', id, '--no-wait'])
  })
  it('labels are written alike, and the end of a grant in local time', async () => {
    const label = ['--label', 'env=prod', '--label', 'team=sre']
    const made = await laptop.keyman(['grant', 'add', 'alice@example.com', 'deploy', ...label, '--ends', '18:00'])
    expect(made.stderr).toMatch(/ on env=prod,team=sre for at most 8h, until [-0-9]+ 18:00:00 \S+\.\n$/)
    const tables = await Promise.all([laptop.keyman(['grant', 'list']), laptop.keyman(['host', 'list'])])
    for (const { stdout } of tables) expect(stdout).toContain('  env=prod,team=sre  ')
    await laptop.keyman(['grant', 'remove', made.stdout.trim()])
  })
  it('what the server refuses of a field is said once and by its flag', async () => {
    const refused = await laptop.keyman(['host', 'add', 'web1.example.com'])
    expect(refused).toEqual({
      code: 2,
      stdout: '',
      stderr:
        'keyman: error: NAME: web1.example.com does not end in a host suffix of this organisation (keyman.localhost)\n' +
        'keyman: hint: the suffixes stand in the server configuration as host_suffixes\n',
    })
  })
  it('takes the first part of a name for the whole, wherever a host is named that is there', async () => {
    expect((await laptop.keyman(['host', 'show', 'db1'])).stdout).toMatch(/^db1\.keyman\.localhost, invited\n/)
    const made = await laptop.keyman(['grant', 'add', 'alice@example.com', 'alice', '--host', 'db1'])
    expect(made.stderr).toContain('on db1.keyman.localhost for')
    expect((await laptop.keyman(['why', 'db1'])).stdout).toContain('gets in to db1.keyman.localhost as alice')
    await laptop.keyman(['grant', 'remove', made.stdout.trim()])
    const added = await laptop.keyman(['host', 'add', 'web2'])
    expect([added.code, added.stderr]).toEqual([
      2,
      'keyman: error: NAME: web2 is not the whole name of a host\nkeyman: hint: try web2.keyman.localhost\n',
    ])
  })
  it('a command that asks several times does so over one connection', async () => {
    const path = join(laptop.home, 'config', 'keyman', 'contexts', 'local.json')
    const known = readFileSync(path, 'utf8')
    const machines = new URL(JSON.parse(known).machinesUrl)
    const target = Number(machines.port)
    let connections = 0
    const between = createServer(socket => {
      connections++
      const way = connect(target, '127.0.0.1')
      for (const each of [socket, way]) each.on('error', () => each.destroy())
      socket.pipe(way).pipe(socket)
    })
    machines.port = String(await freePort())
    await new Promise<void>(resolve => between.listen(Number(machines.port), '127.0.0.1', resolve))
    writeFileSync(path, JSON.stringify({ ...JSON.parse(known), machinesUrl: machines.origin }))
    const made = await laptop.keyman(['grant', 'add', 'alcie@example.com', 'relayed', '--host', 'web1'])
    writeFileSync(path, known)
    between.close()
    // It asks for the host's whole name, for the grant, and whether there is such a person.
    expect(made.stderr).toContain('Nobody called alcie@example.com has a passkey here yet')
    expect([made.code, connections]).toEqual([0, 1])
    await laptop.keyman(['grant', 'remove', made.stdout.trim(), '--no-wait'])
  })
  it('a team is shown by itself', async () => {
    await laptop.keyman(['team', 'add', 'sre', 'alice@example.com'])
    expect((await laptop.keyman(['team', 'show', 'team:sre'])).stdout).toBe('team:sre\n  alice@example.com\n')
    expect(await json('team', 'show', 'sre')).toEqual({ name: 'sre', members: ['alice@example.com'] })
    const none = await laptop.keyman(['team', 'show', 'srf'])
    expect([none.code, none.stderr]).toEqual([
      6,
      'keyman: error: there is no team srf\nkeyman: hint: see keyman team list\n',
    ])
  })
  it('invitations are listed, and ended before anybody has used them', async () => {
    const { link } = await json('person', 'invite', 'carol@example.com', '--owner')
    const { stdout } = await laptop.keyman(['invitation', 'list'])
    const [, id = ''] = /^(\S+) +carol@example\.com +yes +alice@example\.com +/m.exec(stdout) ?? []
    expect((await json('invitation', 'list')).invitations).toMatchObject([{ id, identity: 'carol@example.com' }])
    const alone = await laptop.keyman(['invitation', 'remove', id])
    expect([alone.code, alone.stderr]).toEqual([2, expect.stringContaining('keyman: hint: add --yes')])
    expect(await json('invitation', 'remove', id, '--yes')).toEqual({})
    expect((await json('invitation', 'list')).invitations).toEqual([])
    await expect(enrol(server, link, 'carol@example.com')).rejects.toThrow()
    expect((await laptop.keyman(['invitation', 'remove', id, '--yes'])).code).toBe(6)
  })
  it('another person asks why of themselves alone, and is told whom else to ask', async () => {
    const invited = await json('person', 'invite', 'bob@example.com')
    bob = await enrol(server, invited.link, 'bob@example.com')
    expect((await signIn(bobs, bob, [invited.login])).stderr).toContain('Signed in as bob@example.com')
    const why = await bobs.keyman(['why', web1, '--person', 'alice@example.com'])
    expect([why.code, why.stderr]).toEqual([4, expect.stringMatching(/\nkeyman: hint: ask an administrator; /)])
    // The server's log tells a refusal with its reason; that a touch was asked for, as for the invitation, is none.
    await expect.poll(() => server.output()).toMatch(/"refused".*"path":"\/v1\/why".*"code":"denied"/)
    expect(server.output()).not.toContain('assertion-required')
    expect(server.output()).not.toContain('"path":"/v1/invitations"')
    // Who does not get in learns of no alias whose it is.
    const { stdout } = await bobs.keyman(['why', 'www.keyman.localhost'])
    expect(stdout).toContain('does not get in to www.keyman.localhost')
    expect(stdout).not.toContain('called1')
  })
  it('a person who has lost the passkey gets a link for another, and all else of them has ended', async () => {
    const { code, stdout, stderr } = await laptop.keyman([
      'person',
      'reset',
      'bob@example.com',
      '--remove-passkeys',
      '--yes',
    ])
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^http:\S+\/enrol#\S{43}\n$/)])
    expect(stderr).toContain('It gives a new passkey of bob@example.com: once, until ')
    expect(stderr).toContain('Connections that are open go on')
    expect((await bobs.keyman(['passkey', 'list'])).code).toBe(3)
    // The link is the first line; which hosts have it follows.
    bob = await enrol(server, stdout.split('\n')[0] ?? '', 'bob@example.com')
    expect((await signIn(bobs, bob)).stderr).toContain('Signed in as bob@example.com')
    expect((await json('person', 'show', 'bob@example.com')).passkeys).toBe(1)
    expect((await laptop.keyman(['person', 'reset', 'alice@example.com', '--yes'])).stderr).toContain(
      'you are signed in, so that you need no new link',
    )
  })
  it('who administers is changed, but for the last owner', async () => {
    const change = (who: string, to: string) => laptop.keyman(['person', 'change', who, '--owner', to])
    expect((await change('bob@example.com', 'maybe')).code).toBe(2)
    expect((await change('alice@example.com', 'no')).code).toBe(7)
    expect((await change('bob@example.com', 'yes')).stderr).toContain('bob@example.com is an owner.\n')
    expect((await laptop.keyman(['person', 'list'])).stdout).toMatch(/bob@example\.com +yes +active/)
    expect((await change('bob@example.com', 'no')).stderr).toContain('bob@example.com is no owner.\n')
  })
  it('an owner who is reset waits for the yes of another than who did it', async () => {
    const byBob = (...args: string[]) =>
      bobs.keyman(args, url => confirm(server, bob, new URL(url).pathname.split('/').at(-1) ?? ''))
    await laptop.keyman(['person', 'change', 'bob@example.com', '--owner', 'yes'])
    const { link } = await json('person', 'invite', 'dan@example.com', '--owner')
    await enrol(server, link, 'dan@example.com')
    const reset = await laptop.keyman(['person', 'reset', 'dan@example.com', '--remove-passkeys', '--yes'])
    expect(reset.stderr).toContain('It gives a new passkey of dan@example.com, an owner: once, until ')
    expect(reset.stderr).toContain('another owner than you has to say yes: keyman person enable dan@example.com\n')
    const dan = await enrol(server, reset.stdout.split('\n')[0] ?? '', 'dan@example.com')
    expect(dan.identity).toBe('dan@example.com')
    const { stdout } = await laptop.keyman(['person', 'list'])
    expect(stdout).toMatch(/dan@example\.com +yes +waits for the yes of another than alice@example\.com/)
    const own = await laptop.keyman(['person', 'enable', 'dan@example.com'])
    expect([own.code, own.stderr]).toEqual([4, expect.stringContaining('you have reset dan@example.com yourself')])
    // Whoever administered and does no more is signed out.
    expect((await signIn(bobs, bob)).stderr).toContain('Signed in as bob@example.com')
    const yes = await byBob('person', 'enable', 'dan@example.com')
    expect([yes.code, yes.stderr]).toEqual([0, expect.stringContaining('dan@example.com is active.')])
    await laptop.keyman(['person', 'disable', 'dan@example.com', '--yes', '--no-wait'])
    await laptop.keyman(['person', 'change', 'bob@example.com', '--owner', 'no'])
  })
  it("the operator's link is for somebody who is here, says what it gives, and so does its page", async () => {
    const adminLink = (...args: string[]) => laptop.run(process.execPath, [SERVER, 'admin-link', ...args])
    const what = async (link: string) =>
      page(server, api.enrolment.open, { body: { secret: new URL(link.trim()).hash.slice(1) } })
    const mistyped = await adminLink('bbo@example.com')
    expect([mistyped.code, mistyped.stdout, mistyped.stderr]).toEqual([6, '', expect.stringContaining('--new')])
    const fresh = await adminLink('zoe@example.com', '--new')
    expect(fresh.stderr).toContain('It gives a new owner, zoe@example.com.\n')
    expect(await what(fresh.stdout)).toMatchObject({ isHere: false, owner: true, first: false })
    const known = await adminLink('bob@example.com')
    expect(known.stderr).toContain(
      'It gives a new passkey of bob@example.com, who was no owner, active, and then is an active owner;',
    )
    expect(await what(known.stdout)).toMatchObject({ isHere: true, owner: true })
    expect((await bobs.keyman(['passkey', 'list'])).code).toBe(3)
    expect(server.output()).toContain('a link was made that makes bob@example.com an owner')
  })
  it.skipIf(process.platform !== 'linux')(
    "a new name's operator's link is asked for once more at a terminal",
    async () => {
      const main = SERVER
      const typed = (answer: string) =>
        laptop.run(
          'script',
          ['-qec', `${process.execPath} ${main} admin-link zoe@example.com`, '/dev/null'],
          `${answer}\n`,
        )
      const no = await typed('yes')
      expect([no.code, no.stdout]).toEqual([6, expect.stringContaining('Nobody here is called zoe@example.com')])
      const yes = await typed('zoe@example.com')
      expect([yes.code, yes.stdout]).toEqual([0, expect.stringContaining('/enrol#')])
    },
  )
  it.skipIf(process.platform !== 'linux')(
    'a name that is not typed is a failure and no refusal, and says what would have been lost',
    async () => {
      const { code, stdout } = await asked(`host remove ${web1}`, 'web2')
      expect([code, stdout]).toEqual([1, expect.stringContaining(`${web1} was not typed; nothing was changed`)])
      expect(stdout).toContain('you run there: keyman-agent leave')
      expect((await laptop.keyman(['host', 'show', web1])).code).toBe(0)
      const { passkeys } = await json('passkey', 'list')
      const passkey = await asked(`passkey remove ${passkeys[0].id}`, 'no')
      expect([passkey.code, passkey.stdout]).toEqual([
        1,
        expect.stringContaining('It also ends all your sessions but this one, with their certificates.'),
      ])
    },
  )
  it('a host that is removed goes on letting in, and its own grants would come back: both are said', async () => {
    const grant = (await laptop.keyman(['grant', 'add', 'alice@example.com', 'root', '--host', web1])).stdout.trim()
    const { code, stdout, stderr } = await laptop.keyman(['host', 'remove', 'web1', '--yes', '--json'])
    expect([code, JSON.parse(stdout)]).toEqual([0, { goodUntil: expect.any(String) }])
    expect(stderr).toContain('It still lets in whom it let in, and hears of no revocation any more')
    expect(stderr).toContain('keyman-agent leave')
    expect(stderr).toContain(`  keyman grant remove ${grant}    # alice@example.com as root\n`)
    expect((await laptop.keyman(['grant', 'remove', grant])).code).toBe(0)
    const other = await laptop.keyman(['host', 'remove', 'db1', '--yes'])
    expect(other.stderr).toMatch(/^Removed db1\.keyman\.localhost\.\nIt still lets in .+ leave\.\n$/)
  })
  it('the log is asked by time, by person and by host, whatever the record says of them', async () => {
    const kinds = async (...flags: string[]): Promise<string[]> => {
      const { records } = await json('audit', 'list', '--limit', '1000', ...flags)
      return records.map(({ record }: { record: string }) => JSON.parse(record).kind)
    }
    const bobs = await kinds('--person', 'bob@example.com')
    // By him, about him, and for him.
    for (const kind of ['enrolled', 'invitation-created', 'person-reset', 'person-changed'])
      expect(bobs).toContain(kind)
    expect(bobs).not.toContain('team-changed')
    expect(await kinds('--person', 'alice@example.com', '--host', 'web1')).toContain('host-added')
    expect(await kinds('--person', 'bob@example.com', '--host', web1)).toEqual([])
    expect(await kinds('--host', web1, '--kind', 'host-removed')).toEqual(['host-removed'])
    expect(await kinds('--since', '1h')).toEqual(await kinds())
    expect(await kinds('--until', '1h')).toEqual([])
    expect(await kinds('--since', '2030-01-31T18:00:00Z')).toEqual([])
    expect((await laptop.keyman(['audit', 'list', '--since', 'monday'])).code).toBe(2)
    expect((await laptop.keyman(['audit', 'list', '--limit', '2'])).stderr).toContain('These are the newest 2;')
  })
  it('opens the page of the passkeys, and says in JSON which it is', async () => {
    expect(await json('passkey', 'add')).toEqual({ page: server.pagesUrl, opened: true })
  })

  describe('the root of trust', () => {
    const rootKey = () => join(server.dataFolder, 'root', 'root_key')
    const shown = async () => (await json('trust', 'show')).version
    const pinned = () => JSON.parse(laptop.read(join('config', 'keyman', 'contexts', 'local.json')))
    const key = async (name: string) => {
      await laptop.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', join(laptop.home, name)])
      const { stdout } = await laptop.run('ssh-keygen', ['-l', '-f', join(laptop.home, `${name}.pub`)])
      return /SHA256:\S+/.exec(stdout)?.[0] ?? ''
    }
    const signature = async (file: string, key: string, to: string) => {
      const { stdout } = await laptop.run('sh', ['-c', `ssh-keygen -q -Y sign -n keyman-trust -f '${key}' < '${file}'`])
      writeFileSync(join(laptop.home, to), stdout)
      return ['--signature', join(laptop.home, to)]
    }

    it('is the new one here too as soon as it is published', async () => {
      const signed = await laptop.keyman(['trust', 'sign', '--root-key', rootKey()])
      expect([signed.code, signed.stderr]).toEqual([0, expect.stringContaining('Published version 2')])
      expect(pinned().bundleVersion).toBe(2)
    })
    it('says how many signatures are missing, and of which keys', async () => {
      const [one, two, three] = [await key('root1'), await key('root2'), await key('root3')]
      const to = ['root1', 'root2', 'root3'].flatMap(name => ['--to', join(laptop.home, `${name}.pub`)])
      const next = join(laptop.home, 'next.json')
      expect((await laptop.keyman(['trust', 'move-root', ...to, '--threshold', '2', '--out', next])).code).toBe(0)
      const first = await signature(next, join(laptop.home, 'root1'), '1.sig')
      const old = await signature(next, rootKey(), 'old.sig')
      const meant = [one, two, three, pinned().rootFingerprint].flatMap(print => ['--key', `root=${print}`])
      const sign = ['trust', 'sign', '--in', next, '--change', 'roots', '--change', 'threshold', ...meant]
      const refused = await laptop.keyman([...sign, ...first])
      expect(refused.code).toBe(2)
      expect(refused.stderr).toContain(
        `keyman: error: too few signatures: today's root of trust needs 1, and 1 more of ${pinned().rootFingerprint}; ` +
          `and the new root of trust needs 2, and 1 more of ${two}, ${three}\n`,
      )
      expect(refused.stderr).toMatch(/\nkeyman: hint: have it signed by them: ssh-keygen -Y sign /)
      expect(refused.stderr).not.toContain(`more of ${one}`)
      const unproven = await laptop.keyman([
        ...sign,
        ...first,
        ...(await signature(next, join(laptop.home, 'root2'), '2.sig')),
        ...old,
      ])
      expect(unproven.stderr).toContain(`keyman: error: a root that is added has not signed: ${three}\n`)

      const second = await signature(next, join(laptop.home, 'root2'), '2.sig')
      const third = await signature(next, join(laptop.home, 'root3'), '3.sig')
      const signed = await laptop.keyman([...sign, ...first, ...second, ...third, ...old])
      expect([signed.code, signed.stderr]).toEqual([0, expect.stringContaining('Published version 3')])
      expect((await laptop.keyman(['trust', 'show'])).stdout).toMatch(
        /^local, version 3\n +root of trust +\S+ \(2 of 3\)/,
      )
    })
    it('names the keys that sign, which authority list shows', async () => {
      const { keys } = await json('authority', 'list')
      expect(keys.map(({ purpose, state }: Record<string, string>) => `${purpose} ${state}`)).toEqual([
        'ssh-user active',
        'ssh-host active',
        'machines active',
      ])
      expect((await laptop.keyman(['authority', 'list'])).stdout).toContain(keys[0].fingerprint)
    })

    it('is fetched and verified by trust show; without the server that shows what is pinned, and says so', async () => {
      const path = join(bobs.home, '.config', 'keyman', 'contexts', 'local.json')
      expect(JSON.parse(readFileSync(path, 'utf8')).bundleVersion).toBe(1)
      expect(JSON.parse((await bobs.keyman(['trust', 'show', '--json'])).stdout).version).toBe(3)
      expect(JSON.parse(readFileSync(path, 'utf8')).bundleVersion).toBe(3)
      await server.kill()
      expect(await shown()).toBe(3)
      expect((await laptop.keyman(['trust', 'show'])).stderr).toContain('This is what is pinned here')
    })
  })
})
