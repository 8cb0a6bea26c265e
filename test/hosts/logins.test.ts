import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { type ApiPerson, confirm, enrol, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { type ServerProcess, startServerProcess, testHome } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'

/** Who logged in, and the end of open sessions: the real programs, a real sshd and a real agent. */
describe.skipIf(!requires('ssh', 'sshd'))('who logs in on a host', () => {
  const me = userInfo().username
  let server: ServerProcess
  let laptop: Laptop
  let bobs: Laptop
  const homes: string[] = []

  const signIn = (of: Laptop, person: ApiPerson, ...args: string[]) =>
    of.keyman(['login', ...args, '--yes', '--ssh-config', 'yes'], async url => {
      const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
      const { options } = await page(server, api.login.consentOptions, { params })
      const body = { assertion: person.authenticator.get(options) }
      await fetch((await page(server, api.login.consent, { params, body })).redirectTo ?? '')
    })
  const keyman = async (...args: string[]) => {
    const result = await laptop.keyman(args)
    expect(result.code, result.stderr).toBe(0)
    return result
  }
  type Login = { who?: string; closedAt?: string; ended: boolean; address: string; recorded?: boolean; login: string }
  const logins = async (...args: string[]): Promise<Login[]> =>
    JSON.parse((await keyman('login', 'list', '--json', ...args)).stdout).logins
  /** Plain ssh that stays, with what it exits with. */
  const stays = (of: Laptop) => {
    const args = ['-F', join(of.home, '.ssh', 'config'), '-o', 'BatchMode=yes', `${me}@demo.keyman.localhost`]
    const child = spawn('ssh', [...args, 'echo in; exec sleep 600'], {
      env: of.env,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return { in: once(child.stdout, 'data'), exited: once(child, 'exit').then(([code]: number[]) => code), child }
  }
  const open = (of: string) => expect.poll(() => logins('--open', '--person', of), { timeout: 20_000 })

  beforeAll(async () => {
    server = await startServerProcess({ env: { KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000' }, demo: true })
    laptop = await openLaptop(server.folder, server.env)
    const alice = await enrol(server, server.ownerLink(), 'alice@example.com')
    expect((await signIn(laptop, alice)).code).toBe(0)
    laptop.sitting = url => confirm(server, alice, new URL(url).pathname.split('/').at(-1) ?? '')
    const [link = ''] = /http\S+/.exec((await keyman('person', 'invite', 'bob@example.com')).stdout) ?? []
    const invitation = JSON.parse((await keyman('person', 'invite', 'bob@example.com', '--json')).stdout)
    const bob = await enrol(server, invitation.link, 'bob@example.com')
    expect(link).not.toBe('')
    await keyman('grant', 'add', 'bob@example.com', me, '--host', 'demo.keyman.localhost', '--max', '1h')
    const home = testHome()
    homes.push(home)
    bobs = await openLaptop(home, { PATH: server.env.PATH })
    const [url = '', , fingerprint = ''] = invitation.login.split(' ').slice(2)
    const signedIn = await signIn(bobs, bob, url, '--fingerprint', fingerprint)
    expect(signedIn.code, signedIn.stderr).toBe(0)
  })
  afterAll(async () => {
    await laptop?.close()
    await bobs?.close()
    await server?.close()
    for (const home of homes) rmSync(home, { recursive: true, force: true })
  })

  it('is told by the host, with the person, the address and the end', async () => {
    expect((await laptop.ssh(['demo', 'true'])).code).toBe(0)
    await expect
      .poll(() => logins('--person', 'alice@example.com'), { timeout: 20_000 })
      .toEqual([
        expect.objectContaining({
          login: me,
          who: 'alice@example.com',
          address: '127.0.0.1',
          recorded: true,
          closedAt: expect.any(String),
          ended: false,
        }),
      ])
    expect((await keyman('login', 'list', '--host', 'demo', '--since', '1h')).stdout).toMatch(
      new RegExp(`demo\\.keyman\\.localhost +${me} +alice@example\\.com +127\\.0\\.0\\.1`),
    )
    const { records } = JSON.parse((await keyman('audit', 'list', '--kind', 'host-login', '--json')).stdout)
    expect(JSON.parse(records[0].record)).toMatchObject({
      actor: { kind: 'host', name: 'demo.keyman.localhost' },
      target: 'alice@example.com',
      details: { login: me, recorded: true },
    })
  })

  it('is ended with the person, whatever became of the certificate since, and not where that was asked for', async () => {
    const session = stays(bobs)
    await session.in
    await open('bob@example.com').toEqual([expect.objectContaining({ who: 'bob@example.com' })])
    const kept = await keyman('revoke', '--person', 'bob@example.com', '--keep-sessions')
    expect(kept.stderr).toContain('Connections that are open go on')
    expect(session.child.exitCode).toBeNull()
    // Its certificates have ended, and those of new ones there are none.
    const disabled = await keyman('person', 'disable', 'bob@example.com', '--yes')
    expect(disabled.stderr).toContain('1 open session was ended.')
    expect(disabled.stdout).toMatch(/demo\.keyman\.localhost +in-force +1 session ended/)
    expect(await session.exited).toBe(255)
    expect(await logins('--person', 'bob@example.com')).toEqual([expect.objectContaining({ ended: true })])
    expect((await keyman('audit', 'verify')).stderr).not.toContain('wrong')
  })
})
