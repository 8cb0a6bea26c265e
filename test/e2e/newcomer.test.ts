import { cpSync, existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openBrowser, type TestBrowser, type TestPerson } from '#test/support/people/browser.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { startPostgres } from '#test/support/programs/postgres.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { startSoftHsm } from '#test/support/programs/softhsm.ts'
import { requires } from '#test/support/requires.ts'

/** What a newcomer does, in real Chromium, with real ssh-agent, sshd and keyman-agent; twice. */
const worlds = [
  {
    name: 'embedded database, software keystore, key in the ssh-agent',
    agent: true,
    needs: ['ssh', 'sshd', 'chromium'],
    surroundings: async () => ({ env: {}, close: async () => {} }),
  },
  {
    name: 'PostgreSQL, SoftHSM, key in a file',
    agent: false,
    needs: ['ssh', 'sshd', 'chromium', 'postgresql', 'softhsm'],
    surroundings: async () => {
      const postgres = await startPostgres()
      const hsm = await startSoftHsm()
      return {
        env: {
          KEYMAN_DATABASE_URL: postgres.url,
          KEYMAN_DATABASE_MIGRATION_URL: postgres.migrationUrl,
          KEYMAN_KEYSTORE_KIND: 'pkcs11',
          KEYMAN_KEYSTORE_MODULE: hsm.module,
          KEYMAN_KEYSTORE_TOKEN: hsm.token,
          KEYMAN_KEYSTORE_PIN: hsm.pin,
          SOFTHSM2_CONF: hsm.configFile,
        },
        async close() {
          await hsm.close()
          await postgres.close()
        },
      }
    },
  },
] as const

for (const world of worlds) {
  describe.skipIf(!requires(...world.needs))(`from nothing to plain ssh: ${world.name}`, () => {
    let around: Awaited<ReturnType<typeof world.surroundings>>
    let server: ServerProcess
    let laptop: Laptop
    let browser: TestBrowser
    let person: TestPerson
    const me = userInfo().username
    const login = (...args: string[]) =>
      laptop.keyman(['login', '--ssh-config', 'yes', '--yes', ...args], url => person.consent(url))

    beforeAll(async () => {
      around = await world.surroundings()
      server = await startServerProcess({ env: around.env, demo: true })
      laptop = await openLaptop(server.folder, server.env, { agent: world.agent })
      browser = await openBrowser()
      person = await browser.person()
    })
    afterAll(async () => {
      await browser?.close()
      await laptop?.close()
      await server?.close()
      await around?.close()
    })

    it('the first owner makes a passkey by the link', async () => {
      expect(await person.enrol(server.ownerLink(), 'alice@example.com')).toBe('alice@example.com')
    })
    it('the link works once', async () => {
      await person.page.goto('about:blank')
      await person.page.goto(server.ownerLink())
      await person.page.locator('.problem').waitFor()
    })
    it('keyman login ends with a certificate, its key where this world keeps it', async () => {
      const { code, stderr } = await login()
      expect(stderr).toContain('Signed in as alice@example.com')
      expect(code).toBe(0)
      const key = join(server.folder, 'run', 'keyman', 'local', 'id_ed25519')
      if (world.agent) expect((await laptop.run('ssh-add', ['-l'])).stdout).toContain('ED25519')
      expect(existsSync(key)).toBe(!world.agent)
      if (!world.agent) expect(statSync(key).mode & 0o777).toBe(0o600)
    })
    it("the certificate's fields are what the grant says", async () => {
      const { stdout } = await laptop.run('ssh-keygen', [
        '-L',
        '-f',
        join(server.folder, 'run', 'keyman', 'local', 'id_ed25519-cert.pub'),
      ])
      expect(stdout).toContain('ssh-ed25519-cert-v01@openssh.com user certificate')
      expect(stdout).toMatch(/Principals: \n\s+alice@example\.com\n\s+Critical Options: \(none\)/)
      expect(stdout).toMatch(/Extensions: \n\s+permit-port-forwarding\n\s+permit-pty\n/)
      expect(stdout).toMatch(/Key ID: "alice@example\.com\/passkey\//)
    })
    it('plain ssh logs in as the granted user and as no other', async () => {
      const inside = await laptop.ssh(['demo', 'id', '-un'])
      expect(inside.stderr).toBe('')
      expect(inside.stdout.trim()).toBe(me)
      const other = await laptop.ssh(['-l', 'nobody', 'demo', 'true'])
      expect(other.code).toBe(255)
    })
    if (world.agent)
      it('another terminal, which has another ssh-agent, or none, gets in as well', async () => {
        for (const terminal of [['SSH_AUTH_SOCK=/nowhere'], ['-u', 'SSH_AUTH_SOCK']]) {
          const config = join(server.folder, '.ssh', 'config')
          const inside = await laptop.run('env', [
            ...terminal,
            'ssh',
            '-F',
            config,
            '-o',
            'BatchMode=yes',
            'demo',
            'id',
            '-un',
          ])
          expect(inside.stdout.trim(), inside.stderr).toBe(me)
        }
      })
    if (world.agent)
      it('a client that asks the ssh-agent and reads no file gets in as well', async () => {
        const { port } = JSON.parse(laptop.read('state/keyman-server/demo/demo.json'))
        const known = `UserKnownHostsFile=${join(server.folder, 'config', 'keyman', 'known_hosts', 'local')}`
        const client = ['-F', 'none', '-o', 'BatchMode=yes', '-o', known, '-o', 'HostKeyAlias=demo.keyman.localhost']
        const inside = await laptop.run('ssh', [...client, '-p', String(port), `${me}@127.0.0.1`, 'id', '-un'])
        expect(inside.stdout.trim(), inside.stderr).toBe(me)
        expect((await laptop.keyman(['status'])).stdout).toMatch(
          /with its certificate, for clients that ask the agent, in /,
        )
      })
    it('a key that is gone is noticed by each command and by ssh; a login, which whoever is there is asked for, mends it', async () => {
      if (world.agent) await laptop.run('ssh-add', ['-D'])
      else rmSync(join(server.folder, 'run', 'keyman', 'local', 'id_ed25519'))
      expect((await laptop.keyman(['status'])).stdout).toMatch(/key {10}the SSH key of this session is gone/)
      expect((await laptop.keyman(['status', '--check'])).code).toBe(9)
      expect((await laptop.keyman(['doctor'])).stdout).toMatch(/look {2}session: the SSH key of this session is gone/)
      expect((await laptop.keyman(['ssh', 'renew'])).code).toBe(3)
      const refused = await laptop.run('env', [
        '-u',
        'KEYMAN_BROWSER',
        'ssh',
        '-F',
        join(server.folder, '.ssh', 'config'),
        '-o',
        'BatchMode=yes',
        'demo',
        'true',
      ])
      expect(refused.stderr).toMatch(/keyman: the SSH key of this session is gone.*; run keyman login first/)
      expect((await login()).code).toBe(0)
      expect((await laptop.ssh(['demo', 'true'])).code).toBe(0)
      if (world.agent) expect((await laptop.run('ssh-add', ['-l'])).stdout.match(/keyman:local/g)).toHaveLength(2)
    })
    it('scp, sftp, git over ssh and a jump work too', async () => {
      const config = join(server.folder, '.ssh', 'config')
      const copied = await laptop.run('scp', ['-q', '-F', config, config, `demo:${server.folder}/copied`])
      expect(copied.code, copied.stderr).toBe(0)
      expect(readFileSync(join(server.folder, 'copied'), 'utf8')).toBe(readFileSync(config, 'utf8'))
      const listed = await laptop.run('sftp', ['-q', '-b', '-', '-F', config, 'demo'], 'pwd\n')
      expect(listed.code, listed.stderr).toBe(0)
      const repository = join(server.folder, 'repo.git')
      await laptop.run('git', ['init', '-q', '--bare', repository])
      const remote = await laptop.run('env', [
        `GIT_SSH_COMMAND=ssh -F ${config}`,
        'git',
        'ls-remote',
        `demo:${repository}`,
      ])
      expect(remote.code, remote.stderr).toBe(0)
      const jumped = await laptop.ssh(['-J', 'demo', 'demo.keyman.localhost', 'echo', 'jumped'])
      expect(jumped.stdout.trim(), jumped.stderr).toBe('jumped')
    })
    it('a host answers to an alias, in capitals and with a dot at the end, and no more once the alias is gone', async () => {
      const added = await laptop.keyman(['ssh', 'alias', 'd', 'demo'])
      expect(added.code, added.stderr).toBe(0)
      expect((await laptop.keyman(['ssh', 'alias', 'demo', 'demo'])).code).toBe(7)
      expect((await laptop.keyman(['ssh', 'alias'])).stdout).toBe('d  demo.keyman.localhost\n')
      for (const typed of ['d', 'D', 'demo.keyman.localhost.', 'DEMO.KEYMAN.LOCALHOST', 'Demo.keyman.localhost']) {
        const inside = await laptop.ssh([typed, 'id', '-un'])
        expect(inside.stdout.trim(), inside.stderr).toBe(me)
      }
      expect((await laptop.keyman(['why', 'D'])).stdout).toContain('gets in to demo.keyman.localhost')
      expect((await laptop.keyman(['ssh', 'alias', 'd', '--remove'])).code).toBe(0)
      expect((await laptop.ssh(['d', 'true'])).stderr).toMatch(/Could not resolve hostname d:/)
      expect((await laptop.keyman(['ssh', 'alias', 'd', '--remove'])).code).toBe(6)
    })
    it('a program that knows no Match finds the host in a file of its own, which goes with the line', async () => {
      const plain = (await laptop.keyman(['ssh', 'config', '--plain'])).stdout.trim()
      expect(readFileSync(plain, 'utf8')).not.toMatch(/^\s*(Match|Include)/m)
      const inside = await laptop.run('ssh', ['-F', plain, '-o', 'BatchMode=yes', 'demo', 'id', '-un'])
      expect(inside.stdout.trim(), inside.stderr).toBe(me)
      expect((await laptop.keyman(['status', '--files'])).stdout).toContain(`${plain}\n`)
      expect((await laptop.keyman(['ssh', 'config', '--show'])).stdout).not.toContain(plain)
      expect((await laptop.keyman(['ssh', 'config', '--remove'])).code).toBe(0)
      expect(existsSync(plain)).toBe(false)
      expect((await laptop.keyman(['ssh', 'config', '--install'])).code).toBe(0)
    })
    it('keyman status and keyman why say who, until when, and by which grant', async () => {
      const status = await laptop.keyman(['status'])
      expect(status.stdout).toContain('alice@example.com at local, owner')
      expect((await laptop.keyman(['status', '--check', '--for', '2h'])).code).toBe(0)
      expect((await laptop.keyman(['status', '--check', '--for', '30d'])).code).toBe(9)
      const why = await laptop.keyman(['why', 'demo'])
      expect(why.stdout).toContain(`alice@example.com gets in to demo.keyman.localhost as ${me}, by grant_`)
    })
    it('after keyman revoke has been acknowledged the next login fails, and signing in again helps', async () => {
      // What a thief would have: the certificate, and (where it is a file) the key.
      const stolen = join(server.folder, 'stolen')
      cpSync(join(server.folder, 'run', 'keyman', 'local'), stolen, { recursive: true })
      const { port } = JSON.parse(laptop.read('state/keyman-server/demo/demo.json'))
      const known = `UserKnownHostsFile=${join(server.folder, 'config', 'keyman', 'known_hosts', 'local')}`
      const thief = ['-F', 'none', '-o', 'BatchMode=yes', '-o', known, '-o', 'HostKeyAlias=demo.keyman.localhost']
      thief.push(
        '-o',
        `CertificateFile=${stolen}/id_ed25519-cert.pub`,
        '-i',
        `${stolen}/id_ed25519`,
        '-p',
        String(port),
        '127.0.0.1',
        'true',
      )
      expect((await laptop.run('ssh', thief)).code).toBe(0)
      const revoked = await laptop.keyman(['revoke', '--person', 'alice@example.com'])
      expect(revoked.stdout).toContain('in-force')
      expect(revoked.code, revoked.stderr).toBe(0)
      // With the key in an agent it is gone from there by now, so only a stolen file shows that it is the host who refuses.
      if (!world.agent) {
        const refused = await laptop.run('ssh', thief)
        expect(refused.stderr).toContain('Permission denied')
        expect(refused.code).toBe(255)
      }
      expect((await laptop.keyman(['status'])).code).toBe(3)
      const again = await login()
      expect(again.code, again.stderr).toBe(0)
      expect((await laptop.ssh(['demo', 'true'])).code).toBe(0)
    })
    it('the ledger verifies', async () => {
      const verified = await laptop.keyman(['audit', 'verify'])
      expect(verified.stdout + verified.stderr).toContain('is whole')
      expect(verified.code).toBe(0)
    })
    it('a live certificate needs no server', async () => {
      await server.stop()
      // The demo host went with its server; what ssh asks of keyman is the check alone.
      const { stdout } = await laptop.run('ssh', ['-G', '-F', join(server.folder, '.ssh', 'config'), 'demo'])
      expect(stdout).toContain('certificatefile')
      const status = await laptop.keyman(['status', '--check'])
      expect(status.code).toBe(0)
      const why = await laptop.keyman(['why', 'demo'])
      expect(why.code).toBe(8)
      await server.restart()
      expect((await laptop.ssh(['demo', 'true'])).code).toBe(0)
    })
  })
}
