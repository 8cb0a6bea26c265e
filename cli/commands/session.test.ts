import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { type ApiPerson, confirm, enrol, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { type ServerProcess, startServerProcess, testHome } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'

/** Whose machines and browsers are signed in, and ending one of them: the real program against the real server. */
describe.skipIf(!requires('ssh'))('keyman session', () => {
  let server: ServerProcess
  let alice: Laptop
  /** Bob's two machines: the one that he sits at, and the one that he has left on a train. */
  let bob: Laptop
  let left: Laptop
  const homes: string[] = []

  const signIn = async (laptop: Laptop, person: ApiPerson, at: readonly string[] = []) => {
    const { code } = await laptop.keyman(['login', '--yes', '--ssh-config', 'no', ...at], async url => {
      const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
      const { options } = await page(server, api.login.consentOptions, { params })
      const body = { assertion: person.authenticator.get(options) }
      await fetch((await page(server, api.login.consent, { params, body })).redirectTo ?? '')
    })
    expect(code).toBe(0)
    laptop.sitting = url => confirm(server, person, new URL(url).pathname.split('/').at(-1) ?? '')
  }
  const elsewhere = (): Promise<Laptop> => {
    const home = testHome()
    homes.push(home)
    mkdirSync(join(home, 'run'), { mode: 0o700 })
    return openLaptop(home, { PATH: server.env.PATH, XDG_RUNTIME_DIR: join(home, 'run') }, { agent: false })
  }
  const listed = async (laptop: Laptop, ...args: string[]) =>
    JSON.parse((await laptop.keyman(['session', 'list', ...args, '--json'])).stdout).sessions as {
      id: string
      person: string
      kind: string
      current: boolean
    }[]

  const machines = async (laptop: Laptop, ...args: string[]) =>
    (await listed(laptop, ...args)).filter(({ kind }) => kind === 'machine')

  beforeAll(async () => {
    server = await startServerProcess({ env: { KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000' } })
    alice = await openLaptop(server.folder, server.env, { agent: false })
    await signIn(alice, await enrol(server, server.ownerLink(), 'alice@example.com'))
    const invited = await alice.keyman(['person', 'invite', 'bob@example.com', '--json'])
    const { link, login } = JSON.parse(invited.stdout)
    const person = await enrol(server, link, 'bob@example.com')
    bob = await elsewhere()
    left = await elsewhere()
    await signIn(left, person, [login])
    await signIn(bob, person, [login])
  })
  afterAll(async () => {
    for (const laptop of [alice, bob, left]) await laptop?.close()
    await server?.close()
    for (const home of homes) rmSync(home, { recursive: true, force: true })
  })

  it('a person sees each of their own sessions: device, address, when, and by which passkey', async () => {
    const { stdout } = await bob.keyman(['session', 'list'])
    expect(stdout).toMatch(/^SESSION +PERSON +DEVICE +FROM +STARTED +LAST USED +ENDS +PROVEN BY\n/)
    expect((await machines(bob)).map(({ person, current }) => [person, current])).toEqual([
      ['bob@example.com', true],
      ['bob@example.com', false],
    ])
    expect(stdout).toMatch(/^session_\S+ \(this one\) +bob@example\.com +\S+ +(127\.0\.0\.1|::1) /m)
    expect(stdout).toMatch(/^session_\S+ +bob@example\.com +a browser +/m)
  })

  it("nobody but an administrator sees another's, or ends it", async () => {
    const [hers] = await machines(alice)
    for (const args of [['--person', 'alice@example.com'], ['--everybody']])
      expect((await bob.keyman(['session', 'list', ...args])).code).toBe(4)
    expect((await bob.keyman(['session', 'end', hers?.id ?? ''])).code).toBe(4)
    expect((await listed(alice)).map(({ id }) => id)).toContain(hers?.id)
    expect(new Set((await listed(alice, '--everybody')).map(({ person }) => person))).toEqual(
      new Set(['alice@example.com', 'bob@example.com']),
    )
  })

  it('one of my own is ended from another machine without a touch; the one that ends it goes on', async () => {
    const train = (await machines(bob)).find(({ current }) => !current)
    bob.sitting = undefined
    const ended = await bob.keyman(['session', 'end', train?.id ?? '', '--no-wait'])
    expect(ended).toMatchObject({ code: 0, stderr: expect.stringContaining(`Ended the session ${train?.id} of bob@`) })
    expect((await left.keyman(['passkey', 'list'])).code).toBe(3)
    expect((await bob.keyman(['passkey', 'list'])).code).toBe(0)
    expect((await bob.keyman(['session', 'end', train?.id ?? ''])).code).not.toBe(0)
  })

  it('an administrator ends one of another person by a touch that names person and device', async () => {
    const [his, ...more] = await machines(alice, '--person', 'bob@example.com')
    expect(more).toEqual([])
    const ended = await alice.keyman(['session', 'end', his?.id ?? '', '--reason', 'lost', '--no-wait'])
    expect(ended).toMatchObject({ code: 0, stderr: expect.stringContaining('Ended the session') })
    expect((await bob.keyman(['passkey', 'list'])).code).toBe(3)
    expect((await listed(alice)).some(({ current }) => current)).toBe(true)
    const { records } = JSON.parse((await alice.keyman(['audit', 'list', '--kind', 'revoked', '--json'])).stdout)
    expect(JSON.parse(records.at(-1).record)).toMatchObject({
      reason: 'lost',
      target: `session ${his?.id} of bob@example.com`,
    })
  })

  it('this very session ends as by a logout', async () => {
    const own = (await listed(alice)).find(({ current }) => current)
    const ended = await alice.keyman(['session', 'end', own?.id ?? '', '--no-wait'])
    expect(ended).toMatchObject({ code: 0, stderr: expect.stringContaining('That was this one') })
    expect((await alice.keyman(['status'])).stdout).not.toContain('Signed in')
  })
})
