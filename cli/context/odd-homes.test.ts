import { spawn } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { KEYMAN } from '#test/support/programs/programs.ts'
import { startSshAgent } from '#test/support/programs/ssh-agent.ts'
import { readSession, sessionFiles, writeContext, writeSession } from './context.ts'
import { writeFile } from './files.ts'
import { type Folders, folders } from './folders.ts'

const parent = mkdtempSync(join(tmpdir(), 'keyman-odd-homes-'))
afterAll(() => rmSync(parent, { recursive: true, force: true }))
let home: string
let places: Folders
beforeEach(() => {
  home = mkdtempSync(join(parent, 'home-'))
  mkdirSync(join(home, 'run'), { mode: 0o700 })
  places = folders({ HOME: home, XDG_RUNTIME_DIR: join(home, 'run') })
})
/** The real program, in a home that knows nothing but what a test puts there. */
function keyman(args: readonly string[], env: NodeJS.ProcessEnv = {}, uid = process.geteuid?.()) {
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve, reject) => {
    const child = spawn(process.execPath, [KEYMAN, ...args], {
      env: { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: join(home, 'run'), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(uid === undefined ? {} : { uid }),
    })
    const said = { stdout: '', stderr: '' }
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        said[stream] += text
      })
    child.once('error', reject)
    child.once('close', code => resolve({ code, ...said }))
  })
}
const file = (...path: string[]) => {
  mkdirSync(dirname(join(home, ...path)), { recursive: true })
  writeFileSync(join(home, ...path), '')
}

describe('logout --all', () => {
  it('takes everything away where the file of an organisation is damaged, and says whose server was not told', async () => {
    file('.config', 'keyman', 'contexts', 'acme.json')
    const { code, stderr } = await keyman(['logout', '--all'])
    expect([code, stderr]).toEqual([9, expect.stringContaining('The file of acme is damaged')])
    expect(existsSync(join(home, '.config', 'keyman'))).toBe(false)
    expect((await keyman(['logout', '--all'])).code).toBe(0)
  })
})

describe('doctor', () => {
  const oddities: [string, () => void, RegExp][] = [
    ['a configuration that is a file', () => file('.config', 'keyman'), /^look {2}\S+\/contexts: .*ENOTDIR/m],
    ['contexts that are a file', () => file('.config', 'keyman', 'contexts'), /^look {2}organisation: .*ENOTDIR/m],
    ['a folder for ssh that is a file', () => file('.ssh'), /^look {2}\S+\/\.ssh\/config: /m],
    [
      "ssh's configuration that is a folder",
      () => mkdirSync(join(home, '.ssh', 'config'), { recursive: true }),
      /^look {2}\S+\/\.ssh\/config: .*EISDIR/m,
    ],
  ]
  it.each(oddities)('finds %s, and goes on', async (_, make, says) => {
    make()
    const { code, stdout, stderr } = await keyman(['doctor'])
    expect([code, stderr]).toEqual([9, ''])
    expect(stdout).toMatch(says)
    expect(stdout).toContain('session: ')
  })
  it('looks for ssh, and tells what is wrong from what is worth knowing', async () => {
    const { stdout } = await keyman(['doctor'])
    expect(stdout).toMatch(/^ok {4}ssh: OpenSSH_/m)
    expect(stdout).toMatch(/^note {2}ssh-agent: no local one/m)
    expect((await keyman(['doctor'], { PATH: '/nonexistent' })).stdout).toMatch(
      /^look {2}ssh: there is no ssh in PATH/m,
    )
  })
  it('asks the ssh-agent: one that is named and not there is wrong, one that the terminal has is worth knowing', async () => {
    const socket = join(home, 'agent')
    const named = await keyman(['doctor'], { KEYMAN_SSH_AGENT: socket })
    expect(named.stdout).toMatch(
      /^look {2}ssh-agent: \S+ is not used \(no ssh-agent listens there\).*KEYMAN_SSH_AGENT/m,
    )
    const found = await keyman(['doctor'], { SSH_AUTH_SOCK: socket })
    expect(found.stdout).toMatch(/^note {2}ssh-agent: \S+ is not used \(no ssh-agent listens there\)/m)
    const agent = await startSshAgent(socket)
    const there = await keyman(['doctor'], { KEYMAN_SSH_AGENT: socket })
    agent.kill()
    expect(there.stdout).toContain(`\nok    ssh-agent: ${socket}\n`)
  })
  it('finds our line in a block of the ssh configuration, and install moves it to the top', async () => {
    const config = join(home, '.ssh', 'config')
    mkdirSync(dirname(config))
    writeFileSync(config, `Host a\n  Include ${places.config}/ssh_config\n`)
    const moved = await keyman(['ssh', 'config', '--install', '--json'])
    expect(JSON.parse(moved.stdout)).toEqual({ included: true, by: config, changed: true })
    // This home is not the one of the passwd entry.
    expect(moved.stderr).toMatch(/^Moved to the top of \S+; but plain ssh reads \S+/)
    expect(readFileSync(config, 'utf8')).toBe(`Include ${places.config}/ssh_config\nHost a\n`)
  })
})

describe('login', () => {
  it('refuses a KEYMAN_SSH_AGENT that is no path before it asks the server anything', async () => {
    const args = ['login', 'https://127.0.0.1:1', '--fingerprint', `SHA256:${'A'.repeat(43)}`]
    const wrong = await keyman(args, { KEYMAN_SSH_AGENT: 'off' })
    expect(wrong.stderr).toContain('KEYMAN_SSH_AGENT is "off"')
    expect((await keyman(args, { KEYMAN_SSH_AGENT: 'none' })).stderr).toContain('is not reached')
  })
  it('says which folder it cannot write before it asks the server anything', async () => {
    file('.config', 'keyman')
    const { code, stderr } = await keyman([
      'login',
      'https://127.0.0.1:1',
      '--fingerprint',
      `SHA256:${'A'.repeat(43)}`,
      '--device',
    ])
    expect([code, stderr]).toEqual([1, expect.stringContaining("/.config/keyman can't be written")])
  })
})

describe.runIf(process.geteuid?.() === 0)('sudo -E', () => {
  const somebody = 4242
  it("as root in somebody else's home refuses every command before it touches a file; in its own it goes on", async () => {
    expect((await keyman(['ssh', 'config', '--install'])).code).toBe(0)
    rmSync(join(home, '.ssh'), { recursive: true })
    chownSync(home, somebody, somebody)
    for (const args of [['ssh', 'config', '--install'], ['login'], ['status'], ['logout', '--all']]) {
      const { code, stderr } = await keyman(args)
      expect([code, stderr]).toEqual([4, expect.stringContaining(`${home} belongs to the user ${somebody}`)])
    }
    expect(existsSync(join(home, '.ssh'))).toBe(false)
  })
  it("is named where it has left files of root's behind, with the command that gives them back", async () => {
    mkdirSync(join(home, '.config', 'keyman', 'contexts'), { recursive: true, mode: 0o700 })
    for (const path of [home, join(home, '.config')]) chownSync(path, somebody, somebody)
    chmodSync(parent, 0o755)
    chownSync(join(home, 'run'), somebody, somebody)
    const { stdout } = await keyman(['doctor'], {}, somebody)
    expect(stdout).toMatch(
      /look {2}organisation: .*EACCES.*it is root's; give it back: sudo chown -R \S+ "\S+\.config\/keyman/m,
    )
  })
})

describe('logout --all', () => {
  it('takes the empty folders with it that were made for it, and no other', async () => {
    file('.local', 'share', 'x')
    expect((await keyman(['ssh', 'config', '--install'])).code).toBe(0)
    writeFile(join(places.state, 'x'), '', 0o600)
    writeFile(join(places.config, 'x'), '', 0o600)
    expect((await keyman(['logout', '--all'])).code).toBe(0)
    for (const gone of ['.ssh', '.config', join('.local', 'state')])
      expect(existsSync(join(home, gone)), gone).toBe(false)
    for (const kept of [join('.local', 'share', 'x'), 'run']) expect(existsSync(join(home, kept)), kept).toBe(true)
  })
})

describe('a session that the server has ended', () => {
  const authority = newMachineAuthority()
  let server: Server
  beforeAll(async () => {
    server = createServer(authority.server(), (_, response) =>
      response.writeHead(401).end(
        JSON.stringify({
          type: '/errors/not-signed-in',
          title: 'Not signed in',
          status: 401,
          code: 'not-signed-in',
          detail: 'this session was revoked',
          requestId: 'req_1',
        }),
      ),
    )
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })
  beforeEach(() => {
    const hence = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString()
    writeContext(places, {
      organisation: 'acme',
      machinesUrl: `https://localhost:${(server.address() as AddressInfo).port}`,
      publicUrl: 'http://localhost:4480',
      rootFingerprint: 'SHA256:x',
      bundle: { document: '{}', signatures: [] },
      bundleVersion: 1,
      machinesRoot: authority.root,
      logKey: { name: 'acme', key: '' },
      hostAuthorities: [],
      hostSuffixes: [],
      hosts: [],
    })
    const { key, cert } = authority.client('keyman://acme/person/alice@example.com/session/session_1')
    const files = sessionFiles(places, 'acme')
    for (const [path, text] of [
      [files.clientKey, key],
      [files.clientCertificate, cert],
      [files.certificate, ''],
      [files.key, ''],
    ] as const)
      writeFile(path, text, 0o600)
    writeSession(places, 'acme', {
      person: 'alice@example.com',
      session: 'session_1',
      owner: false,
      startedAt: hence(-1),
      endsAt: hence(8),
      passkeys: 1,
      ssh: { keyId: 'x', serial: '1', principals: [], startsAt: hence(-1), endsAt: hence(8) },
      clientEndsAt: hence(8),
      keyIn: 'file',
    })
  })
  it('is found by doctor, which asks', async () => {
    expect((await keyman(['status', '--check', '--json'])).stdout).toBe('{\n  "good": true\n}\n')
    const { code, stdout } = await keyman(['doctor'])
    expect([code, stdout]).toEqual([
      9,
      expect.stringMatching(/^look {2}session: the server does not take it any more/m),
    ])
  })
  it('is known from then on, whichever command was told: to status, its checks and ssh', async () => {
    const listed = await keyman(['passkey', 'list'])
    expect([listed.code, listed.stderr]).toEqual([3, expect.stringContaining('hint: run keyman login')])
    expect(readSession(places, 'acme')).toHaveProperty('endedByServer')
    const { code, stderr } = await keyman(['status'])
    expect([code, stderr]).toEqual([3, expect.stringContaining('The server has ended your session')])
    const checked = await keyman(['status', '--check', '--json'])
    expect([checked.code, JSON.parse(checked.stdout)]).toEqual([3, { good: false, says: 'not signed in' }])
    expect((await keyman(['ssh', 'check'])).code).toBe(3)
    expect((await keyman(['team', 'list'])).stderr).toContain('the server has ended your session')
  })
  it('needs no word to the server to be logged out of', async () => {
    expect(await keyman(['logout'])).toEqual({ code: 0, stdout: '', stderr: 'Signed out of acme.\n' })
  })
})

describe('config show', () => {
  it('says that the program for pages comes from BROWSER where it does', async () => {
    const browser = async (env: NodeJS.ProcessEnv) =>
      JSON.parse((await keyman(['config', 'show', '--json'], env)).stdout).KEYMAN_BROWSER
    expect(await browser({ BROWSER: 'w3m' })).toEqual({ value: 'w3m', from: 'BROWSER' })
    expect(await browser({ BROWSER: 'w3m', KEYMAN_BROWSER: 'lynx' })).toEqual({
      value: 'lynx',
      from: 'the environment',
    })
    expect(await browser({})).toEqual({ value: "the desktop's", from: 'default' })
  })
})
