import { createPrivateKey } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { type ApiPerson, confirm, enrol, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop, type Result } from '#test/support/people/laptop.ts'
import { type ServerProcess, startServerProcess, testHome } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'
import { readContext, sessionFiles } from './context/context.ts'
import { type Folders, folders } from './context/folders.ts'
import { call } from './server/client.ts'
import { sessionConnection } from './trust/checkpoint.ts'

const NAME = 'payments/prod/backup'
const AGAIN = `ask for a new token (keyman workload token ${NAME}), then run keyman workload join`

/** The real program on a machine where nobody sits: no agent, no runtime folder, no terminal; against the real server and a real sshd. */
describe.skipIf(!requires('ssh', 'sshd'))('a workload', () => {
  let server: ServerProcess
  let laptop: Laptop
  let cron: Laptop
  let other: Laptop
  let places: Folders
  let alice: ApiPerson
  const me = userInfo().username
  const homes: string[] = []

  const machine = (): Promise<Laptop> => {
    const home = testHome()
    homes.push(home)
    // Cron sets HOME and a short PATH. An empty XDG_RUNTIME_DIR is none.
    return openLaptop(home, { PATH: server.env.PATH }, { agent: false })
  }
  const signIn = (of: Laptop, person: ApiPerson): Promise<Result> =>
    of.keyman(['login', '--yes', '--ssh-config', 'no'], async url => {
      const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
      const { options } = await page(server, api.login.consentOptions, { params })
      const body = { assertion: person.authenticator.get(options) }
      await fetch((await page(server, api.login.consent, { params, body })).redirectTo ?? '')
    })
  const json = async (of: Laptop, ...args: string[]) => JSON.parse((await of.keyman([...args, '--json'])).stdout)
  const token = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await laptop.keyman(['workload', ...args])
    expect(code, stderr).toBe(0)
    return stdout
  }
  const joins = (of: Laptop, given: string, ...args: string[]): Promise<Result> =>
    of.run(join(of.home, 'bin', 'keyman'), ['workload', 'join', ...args], given)
  const files = (of: Folders = places) => sessionFiles(of, 'local')
  const spki = (pem: string) => createPrivateKey(pem).export({ format: 'jwk' }).x
  const renewals = async () => {
    const { records } = await json(laptop, 'audit', 'list', '--kind', 'workload-renewed', '--limit', '1000')
    return records.length
  }
  /** As if the certificate had ended a second ago. */
  const outlive = () => {
    const held = JSON.parse(readFileSync(files().session, 'utf8'))
    const ssh = { ...held.ssh, endsAt: new Date(Date.now() - 1000).toISOString() }
    writeFileSync(files().session, JSON.stringify({ ...held, ssh }))
    writeFileSync(files().validUntil, '0\n0\n')
  }

  beforeAll(async () => {
    server = await startServerProcess({ env: { KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000' }, demo: true })
    laptop = await openLaptop(server.folder, server.env, { agent: false })
    alice = await enrol(server, server.ownerLink(), 'alice@example.com')
    expect((await signIn(laptop, alice)).stderr).toContain('Signed in as alice@example.com')
    laptop.sitting = url => confirm(server, alice, new URL(url).pathname.split('/').at(-1) ?? '')
    expect((await laptop.keyman(['admin', '--for', '1h'])).code).toBe(0)
    expect((await laptop.keyman(['project', 'add', 'payments', 'prod'])).code).toBe(0)
    cron = await machine()
    other = await machine()
    places = folders(cron.env)
  })
  afterAll(async () => {
    for (const each of [laptop, cron, other]) await each?.close()
    await server?.close()
    for (const home of homes) rmSync(home, { recursive: true, force: true })
  })

  it('is named with how long its sessions last, and is given logins and roles as persons are', async () => {
    const file = join(laptop.home, 'token')
    const added = await laptop.keyman(['workload', 'add', NAME, '--idle', '2d', '--token-file', file])
    expect([added.code, added.stdout]).toEqual([0, ''])
    expect(added.stderr).toContain(`Token of ${NAME}, good once until `)
    expect(added.stderr).toContain('  keyman workload join --token-file -\n')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const granted = await laptop.keyman(['grant', 'add', `workload:${NAME}`, me, '--label', 'env=demo', '--max', '1h'])
    expect([granted.code, granted.stderr]).toEqual([0, expect.stringContaining(`Granted: workload:${NAME} as ${me}`)])
    expect(granted.stderr).toContain(
      `Nothing has joined as ${NAME} yet; if its token has ended or was lost: keyman workload token ${NAME}\n`,
    )
    expect(
      (await laptop.keyman(['grant', 'add', `workload:${NAME}`, '--role', 'viewer', '--in', 'payments'])).code,
    ).toBe(0)
    expect((await laptop.keyman(['workload', 'add', NAME])).code).toBe(7)
    expect((await laptop.keyman(['workload', 'add', 'payments'])).code).toBe(2)
    expect((await laptop.keyman(['workload', 'show', 'payments/prod/nothing'])).code).toBe(6)
    const changed = await laptop.keyman(['workload', 'change', `workload:${NAME}`, '--idle', '7d', '--lifetime', '90d'])
    expect(changed.stderr).toBe(`Changed ${NAME}: a session lasts 90d at most, 7d without a renewal.\n`)
    expect((await laptop.keyman(['project', 'show', 'payments'])).stdout).toContain(`  workload      ${NAME}\n`)
    expect(await json(laptop, 'workload', 'show', NAME)).toMatchObject({ name: NAME, state: 'invited', idle: 604_800 })
    expect((await laptop.keyman(['workload', 'list'])).stdout).toMatch(/^payments\/prod\/backup +invited +never /m)
  })
  it('joins by its token on stdin, once: asks nobody, and says where it gets in and until when', async () => {
    const given = readFileSync(join(laptop.home, 'token'), 'utf8')
    const asArgument = await cron.keyman(['workload', 'join', given.trim()])
    expect([asArgument.code, asArgument.stderr]).toEqual([2, expect.stringContaining('never an argument')])
    expect(asArgument.stderr).not.toContain(given.trim().slice(20, 60))
    expect((await joins(cron, 'keyman-workload-v1.x')).code).toBe(2)
    const line = `${join(cron.home, 'bin', 'keyman')} workload join`
    const asked = await cron.run('script', ['-qec', line, '/dev/null'], 'mistyped\n')
    expect(asked.stdout).toContain("Token, from 'keyman workload add': ")
    expect(asked.stdout).toContain('this is not a whole token of a workload')
    // What cannot be written is found out before the token is used.
    writeFileSync(join(cron.home, '.local'), '')
    expect((await joins(cron, given)).code).not.toBe(0)
    rmSync(join(cron.home, '.local'))

    const joined = await joins(cron, given, '--token-file', '-')
    expect([joined.code, joined.stdout], joined.stderr).toEqual([0, ''])
    expect(joined.stderr).toContain('local answers for the hosts *.keyman.localhost; root of trust SHA256:')
    expect(joined.stderr).toContain(`Joined as workload:${NAME}.\n`)
    expect(joined.stderr).toMatch(
      /The session ends in \d+ d .*, in any case; and in \d d .*, unless it is renewed before\.\n/,
    )
    expect(joined.stderr).toContain(`It gets in to demo.keyman.localhost (${me}).\n`)
    expect(joined.stderr).not.toContain('warning')
    expect(readFileSync(join(cron.home, '.ssh', 'config'), 'utf8')).toMatch(/^Include \S+\/ssh_config\n$/)
    expect(await json(laptop, 'workload', 'show', NAME)).toMatchObject({ state: 'active' })

    const again = await joins(other, given)
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('has ended or was used already')])
    expect(existsSync(files(folders(other.env)).folder)).toBe(false)
  })
  it('keeps its keys in the state folder, for itself alone, and lists them', async () => {
    expect(files().folder).toBe(join(cron.home, '.local', 'state', 'keyman', 'workloads', 'local'))
    for (const name of readdirSync(files().folder).filter(name => !/\.pub$|root/.test(name)))
      expect(statSync(join(files().folder, name)).mode & 0o777, name).toBe(0o600)
    const { stdout } = await cron.keyman(['status', '--files'])
    for (const file of [files().client, files().key, files().machinesRoot]) expect(stdout).toContain(`${file}\n`)
    expect(stdout.split('\n').filter(path => path.endsWith('.lock')).length).toBeGreaterThan(0)
  })
  it('says who it is and both ends of its session; a login in its place is refused', async () => {
    const status = await cron.keyman(['status'])
    expect(status.stdout).toMatch(
      new RegExp(`^workload:${NAME} at local\n {2}session +ends in .*, in any case\n +ends in .*, unless`),
    )
    expect(await json(cron, 'status')).toMatchObject({ signedIn: true, workload: NAME, keyIn: 'file' })
    expect((await cron.keyman(['status', '--check', '--for', '30m'])).code).toBe(0)
    expect((await cron.keyman(['status', '--check', '--for', '2h'])).code).toBe(9)
    const { findings } = await json(cron, 'doctor')
    expect(findings).toContainEqual(expect.objectContaining({ check: 'session', ok: true }))
    const login = await cron.keyman(['login', '--yes'])
    expect([login.code, login.stderr]).toEqual([
      7,
      expect.stringContaining(`this home has the session of workload:${NAME} at local`),
    ])
  })
  it('hears by which grant it gets in, and what it may do by a role; of others nothing', async () => {
    const why = await cron.keyman(['why', 'demo.keyman.localhost'])
    expect([why.code, why.stdout]).toEqual([
      0,
      expect.stringContaining(`workload:${NAME} gets in to demo.keyman.localhost as ${me}, by grant_`),
    ])
    expect((await cron.keyman(['why', '--action', 'grant.add'])).code).toBe(4)
    const other = await cron.keyman(['why', 'demo.keyman.localhost', '--person', 'admin@keyman.localhost'])
    expect([other.code, other.stdout]).toEqual([4, ''])
  })
  it('gets in by plain ssh, without an agent or a runtime folder', async () => {
    const inside = await cron.ssh(['-l', me, 'demo.keyman.localhost', 'id', '-un'])
    expect([inside.code, inside.stdout.trim()], inside.stderr).toEqual([0, me])
  })
  it("calls the API by its role, also with curl; what is persons' own it may not do", async () => {
    expect(await json(cron, 'host', 'list')).toHaveProperty('hosts')
    const { machinesUrl } = await json(cron, 'config', 'show').then(rows => ({ machinesUrl: rows.server.value }))
    const curl = await cron.run('curl', [
      ...['-sS', '--cert', files().client, '--cacert', files().machinesRoot],
      `${machinesUrl}/v1/workload`,
    ])
    expect(JSON.parse(curl.stdout), curl.stderr).toMatchObject({ workload: NAME, organisation: 'local' })
    expect((await cron.keyman(['passkey', 'list'])).code).toBe(4)
    expect((await cron.keyman(['status'])).code).toBe(0)
  })
  it('renews for a new client key and the same SSH key; a call by the key before is made once more by the new one', async () => {
    const context = readContext(places, 'local')
    if (!context) throw new Error('it has no context')
    const before = sessionConnection(places, context)
    const held = readFileSync(files().client, 'utf8')
    const sshKey = readFileSync(files().key, 'utf8')
    expect((await cron.keyman(['ssh', 'renew', '--if-due'])).code).toBe(0)
    expect(readFileSync(files().client, 'utf8')).toBe(held)
    const renewed = await cron.keyman(['ssh', 'renew'])
    expect([renewed.code, renewed.stderr]).toEqual([0, ''])
    expect(spki(readFileSync(files().client, 'utf8'))).not.toBe(spki(held))
    expect(readFileSync(files().key, 'utf8')).toBe(sshKey)
    expect(existsSync(files().nextClientKey)).toBe(false)
    // One that has read the key of before, a moment ago or long ago.
    const { current: _, ...stale } = before
    expect(await call(stale, api.workloadSelf.show)).toMatchObject({ workload: NAME })
    expect(await call(before, api.workloadSelf.show)).toMatchObject({ workload: NAME })
    // Nothing is asked by a key that may have been replaced.
    writeFileSync(files().nextClientKey, 'x')
    await expect(call(before, api.workloadSelf.show)).rejects.toThrow('has had no answer yet')
    rmSync(files().nextClientKey)
    expect((await json(cron, 'status')).endedByServer).toBeUndefined()
  })
  it('renews before a call once half of its client certificate is over', async () => {
    const held = JSON.parse(readFileSync(files().session, 'utf8'))
    const aged = { ...held, clientStartsAt: new Date(2 * Date.now() - Date.parse(held.clientEndsAt)).toISOString() }
    writeFileSync(files().session, JSON.stringify(aged))
    const before = await renewals()
    expect((await cron.keyman(['host', 'list'])).code).toBe(0)
    expect(await renewals()).toBe(before + 1)
    expect((await cron.keyman(['host', 'list'])).code).toBe(0)
    expect(await renewals()).toBe(before + 1)
    // Those that have read the key of before are told no by the server, and ask again by the one of then.
    writeFileSync(files().session, JSON.stringify(aged))
    const all = await Promise.all(Array.from({ length: 10 }, () => cron.keyman(['host', 'list'])))
    expect(all.filter(({ code }) => code !== 0)).toEqual([])
    expect(await renewals()).toBe(before + 2)
  })
  it('which lost the answer of a renewal asks for the same key again, before anything else', async () => {
    const held = readFileSync(files().client, 'utf8')
    expect((await cron.keyman(['ssh', 'renew'])).code).toBe(0)
    const asked = readFileSync(files().client, 'utf8')
    // As it was when the request had gone out and the machine lost its power.
    writeFileSync(files().client, held)
    writeFileSync(files().nextClientKey, asked.slice(0, asked.indexOf('-----BEGIN CERTIFICATE')), { mode: 0o600 })
    const listed = await cron.keyman(['host', 'list'])
    expect(listed.code, listed.stderr).toBe(0)
    expect(spki(readFileSync(files().client, 'utf8'))).toBe(spki(asked))
    expect(existsSync(files().nextClientKey)).toBe(false)
  })
  it('renews once for fifty ssh at once, all of which find its certificate good', { timeout: 180_000 }, async () => {
    outlive()
    const before = await renewals()
    const all = await Promise.all(Array.from({ length: 50 }, () => cron.run(check(), [])))
    expect(all.filter(({ code }) => code !== 0)).toEqual([])
    expect(await renewals()).toBe(before + 1)
    const inside = await cron.ssh(['-l', me, 'demo.keyman.localhost', 'true'])
    expect(inside.code, inside.stderr).toBe(0)
  })
  /** What ssh runs before it connects. */
  const check = () => join(places.config, 'ssh-check', 'local')

  it('moves to another machine by a new token: the session of before is over, and says what to do', async () => {
    const moved = await joins(other, await token('token', NAME), '--no-ssh-config', '--json')
    expect(moved.code, moved.stderr).toBe(0)
    expect(JSON.parse(moved.stdout)).toMatchObject({ signedIn: true, workload: NAME })
    expect(existsSync(join(other.home, '.ssh', 'config'))).toBe(false)
    outlive()
    const first = await cron.run(check(), [])
    expect([first.code, first.stdout]).toEqual([3, ''])
    expect(first.stderr).toMatch(new RegExp(`^keyman: the session of workload:${NAME} is over [^\\n]*\n$`))
    expect(first.stderr).toContain(AGAIN)
    const plain = await cron.ssh(['-l', me, 'demo.keyman.localhost', 'true'])
    expect([plain.code, plain.stderr]).toEqual([255, expect.stringContaining(AGAIN)])
    const status = await cron.keyman(['status'])
    expect([status.code, status.stderr]).toEqual([3, expect.stringContaining(`Next: ${AGAIN}\n`)])
    const renew = await cron.keyman(['ssh', 'renew'])
    expect([renew.code, renew.stderr]).toEqual([3, expect.stringContaining(`keyman: hint: ${AGAIN}\n`)])
  })
  it('gives way to a person once its session is over, and takes the place of no person', async () => {
    const signedIn = await signIn(cron, alice)
    expect(signedIn.stderr).toContain('Signed in as alice@example.com')
    expect(existsSync(join(places.state, 'workloads', 'local'))).toBe(false)
    const given = await token('add', 'payments/prod/third')
    const refused = await joins(cron, given)
    expect([refused.code, refused.stderr]).toEqual([
      7,
      expect.stringContaining('this home has the session of alice@example.com at local already'),
    ])
    expect((await json(cron, 'status')).person).toBe('alice@example.com')
    expect((await cron.keyman(['logout'])).code).toBe(0)
    expect((await joins(cron, given)).code).toBe(0)
    expect((await cron.keyman(['logout'])).code).toBe(0)
  })
  it('joins again where its session is over, and refuses where another one is live', async () => {
    const others = await token('add', 'payments/prod/other')
    const refused = await joins(other, others)
    expect([refused.code, refused.stderr]).toEqual([
      7,
      expect.stringContaining(`this home has the session of workload:${NAME} at local already`),
    ])
    expect((await joins(cron, others)).code).toBe(0)
    expect((await json(cron, 'status')).workload).toBe('payments/prod/other')
  })
  it('which logs out leaves nothing of its session, and the server knows', async () => {
    const out = await cron.keyman(['logout'])
    expect([out.code, out.stderr]).toEqual([0, 'Ended the session of workload:payments/prod/other at local.\n'])
    expect(existsSync(files().folder)).toBe(false)
    expect(await json(laptop, 'workload', 'show', 'payments/prod/other')).toMatchObject({ state: 'ended' })
    expect((await cron.keyman(['status'])).stderr).toBe('You are not signed in.\nNext: keyman login\n')
    expect((await cron.keyman(['logout', '--all'])).code).toBe(0)
    expect(existsSync(join(cron.home, '.local'))).toBe(false)
  })
  it('is ended with its certificates by workload end and by revoke, and removed when no grant names it', async () => {
    const ended = await laptop.keyman(['revoke', `workload:${NAME}`])
    expect([ended.code, ended.stdout]).toEqual([0, expect.stringMatching(/^demo\.keyman\.localhost +in-force$/m)])
    expect(ended.stderr).toMatch(new RegExp(`^Ended the session of ${NAME} and revoked \\d+ certificates?\\.\n`))
    const doctor = await json(other, 'doctor')
    expect(doctor.findings).toContainEqual(
      expect.objectContaining({ check: 'session', ok: false, says: expect.stringContaining(AGAIN) }),
    )
    expect((await laptop.keyman(['workload', 'end', NAME, '--no-wait'])).code).not.toBe(2)
    expect((await laptop.keyman(['revoke', `workload:${NAME}`, '--serial', '4'])).code).toBe(2)
    expect((await laptop.keyman(['workload', 'remove', NAME])).code).toBe(2)
    expect((await laptop.keyman(['workload', 'remove', NAME, '--yes'])).code).toBe(7)
    const { grants } = await json(laptop, 'grant', 'list')
    for (const { id, who } of grants)
      if (who === `workload:${NAME}`) await laptop.keyman(['grant', 'remove', id, '--no-wait'])
    const removed = await laptop.keyman(['workload', 'remove', NAME, '--yes', '--json'])
    expect(JSON.parse(removed.stdout)).toHaveProperty('revoked')
    expect((await laptop.keyman(['workload', 'show', NAME])).code).toBe(6)
  })
})
