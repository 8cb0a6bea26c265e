import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DEMO_HOST, type DemoHost, type FoundSshd, findSshd, startDemoHost } from '#server/demo/index.ts'
import { api } from '#shared/api/index.ts'
import { parseLogin, parsePersonIdentity } from '#shared/names.ts'
import { enrol, page } from '#test/support/people/api-person.ts'
import { openLaptop } from '#test/support/people/laptop.ts'
import { startServerProcess, testHome } from '#test/support/programs/server-process.ts'
import { ownLogin, ssh } from '#test/support/programs/sshd.ts'
import { requires } from '#test/support/requires.ts'
import { newKey } from '#test/support/trust-world.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'
import { insertPerson, insertSession } from '#test/support/worlds/insert-rows.ts'

const ALICE = parsePersonIdentity('alice@example.com', 'test')

it('a demo host that cannot be has no grant: the first owner is enrolled, and nothing failed', async () => {
  // Others may write there: sshd would refuse what lies below.
  const open = mkdtempSync(join(tmpdir(), 'keyman-no-demo-'))
  const without = await startServerProcess({ folder: open, demo: true })
  try {
    expect(without.output()).toContain('Demo host:  none (')
    await enrol(without, without.ownerLink(), 'alice@example.com')
    expect(without.output()).not.toContain('"error"')
    expect(without.output()).toMatch(/^ {2}Next: {2}bin\/keyman login$/m)
  } finally {
    await without.close()
  }
})

it('a demo host below a folder whose name sshd cannot read is none: one sentence says so, and how to have one', async () => {
  const parent = testHome()
  const folder = join(parent, 'al ice')
  mkdirSync(folder)
  const without = await startServerProcess({ folder, demo: true })
  try {
    expect(without.output()).toMatch(
      /^ {2}Demo host: {2}none \(sshd does not read ".*\/al ice\/.*; to have one, name another data folder: KEYMAN_DATA_FOLDER=\/FOLDER npm start\)$/m,
    )
    expect(without.output()).not.toContain('"error"')
    expect(without.output()).toMatch(/^ {2}Next: {2}bin\/keyman login$/m)
  } finally {
    await without.close()
    rmSync(parent, { recursive: true, force: true })
  }
})

it("the first owner's page proposes a name to whoever tries it out, and none on a server of its own user", async () => {
  const proposed = async (demo: boolean) => {
    const server = await startServerProcess({ demo })
    const secret = new URL(server.ownerLink()).hash.slice(1)
    const { identity } = await page(server, api.enrolment.open, { body: { secret } }).finally(() => server.close())
    return identity
  }
  expect(await proposed(false)).toBe('')
  expect(await proposed(true)).toBe(`${ownLogin()}@localhost`)
})

it.skipIf(!requires('ssh', 'sshd'))(
  'what is said to do next leads into the demo host also where the data folder is another one',
  async () => {
    const folder = testHome()
    const server = await startServerProcess({ folder, demo: true, env: { KEYMAN_DATA_FOLDER: join(folder, 'data') } })
    const laptop = await openLaptop(server.folder, server.env)
    try {
      const { authenticator } = await enrol(server, server.ownerLink(), 'alice@example.com')
      const [, login = '', host = ''] =
        /^ {2}Next: {2}bin\/keyman (.+) {3}then {3}ssh (\S+)$/m.exec(server.output()) ?? []
      const { code, stderr } = await laptop.keyman(
        [...login.split(' '), '--yes', '--ssh-config', 'yes'],
        async opened => {
          const params = { transaction: new URL(opened).pathname.split('/').at(-1) ?? '' }
          const { options } = await page(server, api.login.consentOptions, { params })
          const body = { assertion: authenticator.get(options) }
          const { redirectTo } = await page(server, api.login.consent, { params, body })
          await fetch(redirectTo ?? '')
        },
      )
      expect({ code, stderr }).toMatchObject({ code: 0 })
      expect(await laptop.ssh([host, 'id -un'])).toMatchObject({ code: 0, stdout: `${ownLogin()}\n` })
    } finally {
      await laptop.close()
      await server.close()
    }
  },
)

describe.skipIf(!requires('ssh', 'sshd'))('the demo host', () => {
  let server: HostsServer
  let parent: string
  let folder: string
  let sshd: FoundSshd
  let demo: DemoHost | undefined
  const said: string[] = []
  const key = newKey()
  let certificate = ''

  const start = async () => {
    const started = await startDemoHost({
      folder,
      sshd,
      hosts: server.services.hosts,
      requestId: () => server.by().requestId,
      say: text => said.push(text),
    })
    if ('missing' in started) throw new Error(started.missing)
    demo = started
    return started
  }
  const running = (name: string): number => JSON.parse(readFileSync(join(folder, `${name}.running.json`), 'utf8')).pid
  const alive = (pid: number): boolean => {
    try {
      return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')
    } catch {
      return false
    }
  }
  const logIn = (port: number) => ssh({ port, folder: parent }, ownLogin(), { key, certificate }, 'id -un')
  const inForce = () =>
    expect.poll(async () => (await server.services.hosts.show(DEMO_HOST)).state, { timeout: 20_000 }).toBe('connected')

  beforeAll(async () => {
    server = await startHostsServer()
    process.env.KEYMAN_KEYSTORE_PIN = '4711'
    parent = testHome()
    chmodSync(parent, 0o755)
    folder = join(parent, 'demo')
    const found = await findSshd(folder, () => undefined)
    if ('missing' in found) throw new Error(found.missing)
    sshd = found
    certificate = await certificateForAlice()
  })
  afterAll(async () => {
    await demo?.stop()
    delete process.env.KEYMAN_KEYSTORE_PIN
    await server?.close()
    rmSync(parent, { recursive: true, force: true })
  })

  /** A session as a login makes it, and a grant for the demo host. */
  async function certificateForAlice(): Promise<string> {
    const { store, ledger, access, identity, authority } = server.services
    const at = new Date()
    await insertPerson({ store, ledger }, { identity: ALICE, owner: true, at })
    const session = await insertSession(
      { store, ledger },
      { person: ALICE, at, endsAt: new Date(Date.now() + 3_600_000), sshPublicKey: key.publicKey.blob },
    )
    await access.reload()
    await access.addGrant(
      {
        kind: 'login',
        who: ALICE,
        login: parseLogin(ownLogin(), 'login'),
        hosts: { labels: { env: 'demo' } },
        maxLifetime: 3600,
        options: { pty: true, portForwarding: true, agentForwarding: false, x11Forwarding: false },
      },
      server.by(),
    )
    const nothing = new Uint8Array()
    const caller = await identity.reload({
      ...{ kind: 'person', via: 'machine', identity: ALICE, owner: true, session, device: '', epochs: [] },
      ...{ startedAt: new Date(0), endsAt: new Date(0), assertedAt: new Date(0), clientFingerprint: '' },
      ssh: { blob: nothing, fingerprint: '', line: '' },
      clientSpki: nothing,
    } as const)
    const issued = await authority.issueUserCertificate(caller, { requestId: server.by().requestId })
    return issued.certificate
  }

  it('joins as any host does, and lets in whom a grant names, as the user who started it', async () => {
    const { port, login } = await start()
    expect(JSON.parse(readFileSync(join(folder, 'demo.json'), 'utf8'))).toEqual({
      name: 'demo.keyman.localhost',
      port,
      address: '127.0.0.1',
      login,
    })
    await inForce()
    expect(await server.services.hosts.show(DEMO_HOST)).toMatchObject({
      labels: { env: 'demo' },
      port,
      address: '127.0.0.1',
    })
    expect(await logIn(port)).toMatchObject({ code: 0, out: `${ownLogin()}\n` })
  })

  it("does not know the server's settings, its PIN among them", () => {
    for (const name of ['agent', 'sshd'])
      expect(readFileSync(`/proc/${running(name)}/environ`, 'utf8')).not.toContain('KEYMAN_KEYSTORE_PIN')
    expect(process.env.KEYMAN_KEYSTORE_PIN).toBe('4711')
  })

  it('refuses after the certificate was revoked, within a second of the answer', async () => {
    const { port } = demo ?? (await start())
    expect((await logIn(port)).code).toBe(0)
    const { krlVersion } = await server.services.authority.revoke({ person: ALICE }, 'test', server.by())
    const hosts = await server.services.hosts.waitForKrl(krlVersion, 10)
    expect(hosts).toMatchObject([{ name: DEMO_HOST, state: 'in-force' }])
    expect((await logIn(port)).code).toBe(255)
  })

  it('keeps its port and its place over a stop and a start, without joining again', async () => {
    const before = demo?.port
    await demo?.stop()
    const { port } = await start()
    expect(port).toBe(before)
    await inForce()
    const joined = await server.services.ledger.list({ limit: 1000, kind: 'host-joined' })
    expect(joined.length).toBe(1)
  })

  it('ends what a killed server has left running, and nothing else', async () => {
    const left = { sshd: running('sshd'), agent: running('agent') }
    // The handle is lost, as with kill -9: both children live on.
    const lost = demo
    const { port } = await start()
    expect(alive(left.sshd)).toBe(false)
    expect(alive(left.agent)).toBe(false)
    expect(port).toBe(lost?.port)
    expect(running('sshd')).not.toBe(left.sshd)
    await lost?.stop()
    await inForce()
  })

  it('joins anew when the server does not know it any more', async () => {
    await demo?.stop()
    await server.services.hosts.remove(DEMO_HOST, server.by())
    await start()
    await inForce()
    expect((await server.services.ledger.list({ limit: 1000, kind: 'host-joined' })).length).toBe(2)
  })

  it('joins anew when its agent has lost what it remembers', async () => {
    await demo?.stop()
    writeFileSync(join(folder, 'agent', 'memory.json'), '{}')
    await start()
    await inForce()
    expect((await server.services.ledger.list({ limit: 1000, kind: 'host-joined' })).length).toBe(3)
  })

  it('is not there where others can write to its folder, and says why', async () => {
    await demo?.stop()
    demo = undefined
    chmodSync(parent, 0o777)
    await expect(start()).rejects.toThrow(/others can write/)
    chmodSync(parent, 0o755)
  })
})
