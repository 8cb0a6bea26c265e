import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openBrowser, type TestBrowser, type TestPerson } from '#test/support/people/browser.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { startPostgres, type TestPostgres } from '#test/support/programs/postgres.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { requires } from '#test/support/requires.ts'

/** A second person, on a second machine, by the real CLI and in real Chromium; and what an administrator does with that person. */
describe.skipIf(!requires('ssh', 'sshd', 'chromium', 'postgresql'))('two people', () => {
  let postgres: TestPostgres
  let server: ServerProcess
  let browser: TestBrowser
  let alice: { laptop: Laptop; person: TestPerson }
  let bob: { laptop: Laptop; person: TestPerson }
  let home: string
  const me = userInfo().username
  const root = () => JSON.parse(alice.laptop.read('state/keyman-server/local.json')).rootFingerprint as string
  const confirmed = (args: string[]) => alice.laptop.keyman(args, url => alice.person.confirm(url))

  beforeAll(async () => {
    postgres = await startPostgres()
    server = await startServerProcess({
      env: { KEYMAN_DATABASE_URL: postgres.url, KEYMAN_DATABASE_MIGRATION_URL: postgres.migrationUrl },
      demo: true,
    })
    browser = await openBrowser()
    alice = { laptop: await openLaptop(server.folder, server.env), person: await browser.person() }
    await alice.person.enrol(server.ownerLink(), 'alice@example.com')
    const login = await alice.laptop.keyman(['login', '--ssh-config', 'yes'], url => alice.person.consent(url))
    expect(login.code, login.stderr).toBe(0)
    alice.laptop.sitting = url => alice.person.confirm(url)
    // Bob's machine knows nothing of the server's.
    home = mkdtempSync(join(tmpdir(), 'keyman-bob-'))
    const { XDG_STATE_HOME: _, XDG_CONFIG_HOME: __, XDG_RUNTIME_DIR: ___, ...env } = server.env
    bob = { laptop: await openLaptop(home, env, { agent: false }), person: await browser.person() }
  })
  afterAll(async () => {
    await browser?.close()
    await alice?.laptop.close()
    await bob?.laptop.close()
    await server?.close()
    await postgres?.close()
    if (home) rmSync(home, { recursive: true, force: true })
  })

  it('an invited person makes a passkey, and logs in by the line that came with the link', async () => {
    const invited = await alice.laptop.keyman(['person', 'invite', 'bob@example.com', '--json'])
    expect(invited.code, invited.stderr).toBe(0)
    const { link, login } = JSON.parse(invited.stdout)
    expect(await bob.person.enrol(link)).toBe('bob@example.com')
    const words = login.split(' ').slice(1)
    const first = await bob.laptop.keyman([...words, '--ssh-config', 'no', '--yes'], url => bob.person.consent(url))
    expect(first.stderr).toContain('Signed in as bob@example.com')
    expect(first.stderr).toContain('no certificate')
  })
  it('first contact is never blind: no fingerprint, or a wrong one, is refused', async () => {
    await bob.laptop.keyman(['logout', '--all'])
    const blind = await bob.laptop.keyman(['login', server.machinesUrl])
    expect(blind.code).toBe(2)
    expect(blind.stderr).toContain('--fingerprint')
    const wrong = await bob.laptop.keyman(['login', server.machinesUrl, '--fingerprint', `SHA256:${'A'.repeat(43)}`])
    expect(wrong.code).not.toBe(0)
  })
  it('a machine without a browser logs in by a code that the person types', async () => {
    const told = bob.laptop.start([
      'login',
      server.machinesUrl,
      '--fingerprint',
      root(),
      '--device',
      '--ssh-config',
      'yes',
      '--yes',
    ])
    const [, page = '', code = ''] = await told.says(/(http:\S+\/device)[\s\S]*?([A-Z]{4}-[A-Z]{4})/)
    await bob.person.deviceLogin(page, code)
    const done = await told.ended
    expect(done.stderr).toContain('Signed in as bob@example.com')
    expect(done.code).toBe(0)
  })
  it('without a grant keyman why says what is missing', async () => {
    const why = await bob.laptop.keyman(['why', 'demo.keyman.localhost'])
    expect(why.code).toBe(4)
    expect(why.stdout).toContain('bob@example.com does not get in')
    // Somebody else's access is for administrators to see.
    expect((await bob.laptop.keyman(['why', 'demo.keyman.localhost', '--person', 'alice@example.com'])).code).toBe(4)
    expect((await bob.laptop.keyman(['person', 'list'])).code).toBe(4)
  })
  it('a grant to a team lets in; leaving the team shuts out at once, with the same certificate', async () => {
    expect((await alice.laptop.keyman(['team', 'add', 'sre', 'bob@example.com'])).code).toBe(0)
    const granted = await alice.laptop.keyman(['grant', 'add', 'team:sre', me, '--label', 'env=demo', '--max', '1h'])
    expect(granted.code, granted.stderr).toBe(0)
    await hostsInForce()
    const renewed = await bob.laptop.keyman(['ssh', 'renew'])
    expect(renewed.code, renewed.stderr).toBe(0)
    const inside = await bob.laptop.ssh(['-l', me, 'demo.keyman.localhost', 'id', '-un'])
    expect(inside.stdout.trim(), inside.stderr).toBe(me)
    const left = await alice.laptop.keyman(['team', 'remove', 'sre', 'bob@example.com'])
    expect([left.code, left.stdout]).toEqual([0, expect.stringMatching(/^demo\.keyman\.localhost +in-force$/m)])
    expect(left.stderr).toContain('Connections that are open go on')
    expect((await bob.laptop.ssh(['-l', me, 'demo.keyman.localhost', 'true'])).code).toBe(255)
  })
  it('each change wants a touch for just that, by a page that says all of it', async () => {
    const looked = await alice.laptop.keyman(['person', 'list'])
    expect(looked.code, looked.stderr).toBe(0)
    const added = await alice.laptop.keyman(
      ['team', 'add', 'sre', 'bob@example.com', 'alice@example.com'],
      async url => {
        const { page } = alice.person
        await page.goto(url)
        await page.getByText('bob@example.com, alice@example.com').waitFor()
        await page.getByText('The team sre is').waitFor()
        await page.getByText(/on env=demo for at most 1h/).waitFor()
        await alice.person.confirm(url)
      },
    )
    expect(added.code, added.stderr).toBe(0)
    expect((await confirmed(['team', 'remove', 'sre', 'bob@example.com', 'alice@example.com'])).code).toBe(0)
  })
  it('a disabled person is signed out, and cannot sign in until enabled again', async () => {
    const disabled = await alice.laptop.keyman(['person', 'disable', 'bob@example.com', '--yes'])
    expect([disabled.code, disabled.stdout]).toEqual([0, expect.stringMatching(/^demo\.keyman\.localhost +in-force$/m)])
    expect((await bob.laptop.keyman(['why', 'demo.keyman.localhost'])).code).toBe(3)
    // The page tells the terminal, which need not wait until nobody has answered.
    const refused = await bob.laptop.keyman(['login', '--yes'], url => bob.person.consent(url))
    expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('refused: bob@example.com is disabled')])
    expect((await alice.laptop.keyman(['person', 'disable', 'alice@example.com', '--yes'])).code).toBe(7)
    expect((await alice.laptop.keyman(['person', 'enable', 'bob@example.com'])).code).toBe(0)
    const again = await bob.laptop.keyman(['login', '--yes'], url => bob.person.consent(url))
    expect(again.code, again.stderr).toBe(0)
  })
  it('passkeys are listed, added, renamed and removed in the page', async () => {
    const { page } = bob.person
    await page.goto(server.pagesUrl)
    // Being disabled has signed the browser out too.
    await page.getByRole('button', { name: 'Sign in with passkey' }).click()
    await page.getByRole('heading', { name: 'My passkeys' }).waitFor()
    await page.getByRole('button', { name: 'Rename' }).first().click()
    await page.getByRole('textbox', { name: 'Name' }).first().fill('Laptop')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByText('Laptop').waitFor()
    const listed = await bob.laptop.keyman(['passkey', 'list', '--json'])
    expect(JSON.parse(listed.stdout).passkeys).toMatchObject([{ name: 'Laptop' }])
    const second = await bob.person.cdp.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2',
        transport: 'usb',
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
      },
    })
    await page.getByRole('textbox', { name: 'Name' }).fill('Security key')
    await page.getByRole('button', { name: 'Add a passkey' }).click()
    await page.getByText('Security key', { exact: true }).waitFor()
    await page.getByRole('button', { name: 'Remove Security key' }).click()
    await page.getByRole('button', { name: 'Remove', exact: true }).click()
    await page.getByText('Security key', { exact: true }).waitFor({ state: 'detached' })
    await bob.person.cdp.send('WebAuthn.removeVirtualAuthenticator', second)
  })
  it('a person who has lost the passkeys makes another by a link, whose page says what it gives', async () => {
    const { page } = bob.person
    const reset = await alice.laptop.keyman(
      ['person', 'reset', 'bob@example.com', '--remove-passkeys', '--yes'],
      async url => {
        const { page } = alice.person
        await page.goto(url)
        // Whoever gets the link gets what bob has: all of it stands there.
        await page.getByText('What bob@example.com gets').waitFor()
        await page.getByText('Remove the passkeys of today').waitFor()
        await alice.person.confirm(url)
      },
    )
    expect([reset.code, reset.stdout]).toEqual([0, expect.stringMatching(/^demo\.keyman\.localhost +in-force$/m)])
    expect(reset.stderr).toContain('It gives a new passkey of bob@example.com: once, until ')
    expect((await bob.laptop.keyman(['passkey', 'list'])).code).toBe(3)
    const [link = ''] = reset.stdout.split('\n')
    await page.goto(link)
    await page.getByText('This is for bob@example.com alone, and gives all that bob@example.com has').waitFor()
    expect(await bob.person.enrol(link)).toBe('bob@example.com')
    const again = await bob.laptop.keyman(['login', '--yes'], url => bob.person.consent(url))
    expect(again.code, again.stderr).toBe(0)
  })
  it('logging out ends the session at the server too', async () => {
    const out = await bob.laptop.keyman(['logout'])
    expect(out.stderr).toContain('Signed out of local.')
    expect((await bob.laptop.keyman(['status'])).code).toBe(3)
    // Nobody is there to ask: no terminal, no browser.
    const config = join(home, '.ssh', 'config')
    const refused = await bob.laptop.run('env', [
      '-u',
      'KEYMAN_BROWSER',
      'ssh',
      '-F',
      config,
      '-o',
      'BatchMode=yes',
      'demo.keyman.localhost',
    ])
    expect(refused.stderr).toContain('keyman login')
    expect(refused.code).toBe(255)
  })

  /** Until the demo host has confirmed its newest revision: asked of the server, which is told by the host. */
  async function hostsInForce(): Promise<void> {
    for (;;) {
      const { hosts } = JSON.parse((await alice.laptop.keyman(['host', 'list', '--json'])).stdout)
      if (hosts.every((host: { revision: number; inForce: number }) => host.revision === host.inForce)) return
    }
  }
})
