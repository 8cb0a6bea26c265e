import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { sessionFiles } from '#cli/context/context.ts'
import { folders } from '#cli/context/folders.ts'
import { api } from '#shared/api/index.ts'
import { confirm, enrol, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { type ServerProcess, startServerProcess, testHome } from '#test/support/programs/server-process.ts'
import { pathOf, requires } from '#test/support/requires.ts'

/** The whole life of a machine that fetches backups each night: the real programs, a real sshd, rsync, and no more around it than cron gives. */

const NAME = 'payments/prod/backup'
const WORKLOAD = `workload:${NAME}`
const root = join(import.meta.dirname, '..', '..')
const me = userInfo().username

let server: ServerProcess
let laptop: Laptop
let machine: Laptop
let clock: string
const setClock = (seconds: number) => writeFileSync(clock, String(seconds))

beforeAll(async () => {
  if (!requires('ssh', 'sshd', 'rsync')) return
  const folder = testHome()
  clock = join(folder, 'clock')
  setClock(0)
  server = await startServerProcess({
    folder,
    env: { TEST_CLOCK_FILE: clock, KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000' },
    demo: true,
    program: ['--import', join(root, 'test', 'support', 'clock.ts'), SERVER],
  })
  laptop = await openLaptop(server.folder, server.env, { agent: false })
  const alice = await enrol(server, server.ownerLink(), 'alice@example.com')
  await laptop.keyman(['login', '--yes', '--ssh-config', 'no'], async url => {
    const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
    const { options } = await page(server, api.login.consentOptions, { params })
    const body = { assertion: alice.authenticator.get(options) }
    await fetch((await page(server, api.login.consent, { params, body })).redirectTo ?? '')
  })
  laptop.sitting = url => confirm(server, alice, new URL(url).pathname.split('/').at(-1) ?? '')
  machine = await openLaptop(testHome(), { PATH: server.env.PATH }, { agent: false })
})
afterAll(async () => {
  await laptop?.close()
  await machine?.close()
  await server?.close()
  if (machine) rmSync(machine.home, { recursive: true, force: true })
})

const keyman = async (...args: string[]) => {
  const result = await laptop.keyman(args)
  expect(result.code, result.stderr).toBe(0)
  return result
}
const join_ = (token: string) => machine.run(join(machine.home, 'bin', 'keyman'), ['workload', 'join'], token)
/** As crontab(5) has it: HOME, LOGNAME, SHELL, and a PATH. */
const nightly = () => {
  const ssh = `ssh -F ${join(machine.home, '.ssh', 'config')} -o BatchMode=yes`
  const command = `rsync -a -e '${ssh}' ${me}@demo.keyman.localhost:${join(server.folder, 'source')}/ ${join(machine.home, 'backup')}/`
  const env = [`HOME=${machine.home}`, `LOGNAME=${me}`, 'SHELL=/bin/sh', `PATH=${machine.env.PATH}`]
  return machine.run('env', ['-i', ...env, '/bin/sh', '-c', command])
}
const files = () => sessionFiles(folders(machine.env), 'local')
const records = async () => (await keyman('audit', 'list', '--person', WORKLOAD, '--limit', '200', '--json')).stdout
/** As if the night were over: the certificate has ended, as far as this machine knows. */
const nextNight = () => {
  const held = JSON.parse(readFileSync(files().session, 'utf8'))
  const ssh = { ...held.ssh, endsAt: new Date(Date.now() - 1000).toISOString() }
  writeFileSync(files().session, JSON.stringify({ ...held, ssh }))
  writeFileSync(files().validUntil, '0\n0\n')
}

/** What rsync says where ssh lets nobody in: ssh's own code, or that nothing came, whichever it hears of first. */
const NO_WAY_IN = [255, 12]

it.skipIf(!requires('ssh', 'sshd', 'rsync'))(
  'a workload is named, joins, copies each night, is found to have been copied itself, joins anew, is ended; and the log tells it',
  { timeout: 180_000 },
  async () => {
    expect(pathOf('rsync')).toContain('rsync')
    mkdirSync(join(server.folder, 'source'))
    writeFileSync(join(server.folder, 'source', 'monday'), 'one\n')
    await keyman('project', 'add', 'payments', 'prod')
    const token = (await keyman('workload', 'add', NAME)).stdout
    await keyman('grant', 'add', WORKLOAD, me, '--host', 'demo.keyman.localhost', '--max', '1h')
    const joined = await join_(token)
    expect(joined.code, joined.stderr).toBe(0)

    const first = await nightly()
    expect(first.code, first.stderr).toBe(0)
    expect(readdirSync(join(machine.home, 'backup'))).toEqual(['monday'])

    // Somebody takes a copy of all its files; the next night it renews, by itself.
    const stolen = testHome()
    cpSync(machine.home, stolen, { recursive: true, verbatimSymlinks: true })
    const before = readFileSync(files().client, 'utf8')
    nextNight()
    writeFileSync(join(server.folder, 'source', 'tuesday'), 'two\n')
    const second = await nightly()
    expect(second.code, second.stderr).toBe(0)
    expect(readdirSync(join(machine.home, 'backup')).sort()).toEqual(['monday', 'tuesday'])
    expect(readFileSync(files().client, 'utf8')).not.toBe(before)

    // The copy is used a while later: nobody goes on, and the owner is told.
    setClock(120)
    const thief = await openLaptop(stolen, { PATH: server.env.PATH }, { agent: false })
    expect((await thief.keyman(['host', 'list'])).code).toBe(3)
    await thief.close()
    rmSync(stolen, { recursive: true, force: true })
    expect(server.output()).toContain(`workload ${NAME}: somebody came from 127.0.0.1 with a key of it that had been`)
    setClock(0)
    nextNight()
    const refused = await nightly()
    expect(NO_WAY_IN).toContain(refused.code)
    expect(refused.stderr).toContain(`keyman workload token ${NAME}`)
    expect((await machine.keyman(['status', '--check'])).code).toBe(3)
    const shown = await keyman('workload', 'show', NAME)
    expect(shown.stdout).toContain('ended')

    const again = await join_((await keyman('workload', 'token', NAME)).stdout)
    expect(again.code, again.stderr).toBe(0)
    expect((await nightly()).code).toBe(0)
    const ended = await laptop.keyman(['workload', 'end', NAME, '--reason', 'moved to another machine'])
    expect([ended.code, ended.stdout]).toEqual([0, expect.stringMatching(/^demo\.keyman\.localhost +in-force$/m)])
    // By the certificate that it holds still: the host itself knows.
    const gone = await nightly()
    expect(NO_WAY_IN).toContain(gone.code)
    expect(gone.stderr).toContain('Permission denied')

    const kinds = JSON.parse(await records()).records.map(({ record }: { record: string }) => JSON.parse(record).kind)
    const told = ['workload-added', 'grant-added', 'workload-joined', 'ssh-user-certificate', 'workload-renewed']
    for (const kind of [...told, 'workload-ended', 'workload-invited']) expect(kinds).toContain(kind)
    expect(kinds.indexOf('workload-joined')).toBeLessThan(kinds.indexOf('workload-renewed'))
    expect((await laptop.keyman(['audit', 'verify'])).code).toBe(0)
  },
)
