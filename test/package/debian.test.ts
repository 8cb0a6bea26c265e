import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call } from '#cli/server/client.ts'
import { api, schemas } from '#shared/api/index.ts'
import { parseHostName } from '#shared/names.ts'
import { freePort } from '#test/support/free-port.ts'
import { type ApiSession, enrol, logIn, page } from '#test/support/people/api-person.ts'
import { bootMachine, type Machine, whyNoMachine } from '#test/support/programs/machine.ts'
import { DEBIAN_ARCHITECTURE, makePackages } from '#test/support/programs/packages.ts'
import { pathOf, requires } from '#test/support/requires.ts'

const HOST = parseHostName('web1.keyman.localhost', 'name')
const PACKAGES = ['keyman-runtime', 'keyman-cli', 'keyman-agent', 'keyman-server']
const hasDpkg = spawnSync('dpkg', ['--version']).status === 0
const why = requires('cc', 'sshd') && hasDpkg ? whyNoMachine() : 'there is no dpkg, compiler or sshd'

// One after the other, on one machine: as its administrator meets them.
describe.skipIf(why !== undefined)(
  `the Debian packages${why === undefined ? '' : ` (${why})`}`,
  { timeout: 120_000 },
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'keyman-packages-'))
    let machine: Machine
    let target: { pagesUrl: string; machinesUrl: string }
    let alice: ApiSession

    const files = (version: string, names = PACKAGES) =>
      names.map(name => `/run/shared/${version}/${name}_${version}_${DEBIAN_ARCHITECTURE}.deb`)
    const dpkg = (...args: string[]) => machine.run(['dpkg', ...args])
    const listeners = () =>
      Object.entries({ pages: target.pagesUrl, machines: target.machinesUrl })
        .map(([name, url]) => `[${name}]\nlisten = "127.0.0.1:${new URL(url).port}"\n`)
        .join('')
    const pidOf = (unit: string) => machine.sh(`systemctl show -P MainPID ${unit}`).trim()
    /** At once: systemd says that the unit was started when the server runs. */
    const ready = async () => {
      const ask = () => fetch(`${target.pagesUrl}/readyz`)
      // A connection to the server before may be kept still, since nobody has had the time to see its end.
      expect((await ask().catch(ask)).status).toBe(200)
    }
    const host = () => call(alice.connection, api.hosts.show, { params: { name: HOST } })
    /** What the host should have it has, and it is at least so much. */
    const inForce = (atLeast: number) =>
      expect
        .poll(
          async () => {
            const { state, inForce, revision } = await host()
            return state === 'connected' && inForce === revision && revision >= atLeast
          },
          { timeout: 50_000 },
        )
        .toBe(true)

    /** Alice's account on this machine, whose browser hands its page on to the test. */
    const onLaptop = (line: string) => [
      ...['runuser', '-u', 'laptop', '--', 'env', 'HOME=/home/laptop', 'SSH_AUTH_SOCK=/home/laptop/agent'],
      ...['BROWSER=/usr/local/bin/browse', 'DISPLAY=:0', 'sh', '-c', line],
    ]
    const signIn = async () => {
      machine.sh(`useradd --create-home laptop && mkfifo -m 666 /run/page && ${onLaptop('').slice(0, 4).join(' ')} ssh-agent -a /home/laptop/agent
        printf '#!/bin/sh\\necho "$1" > /run/page\\n' | install -m 755 /dev/stdin /usr/local/bin/browse`)
      const [fingerprint] = /SHA256:[^"]+/.exec(machine.sh('cat /var/lib/keyman/local.json')) ?? []
      const login = `keyman login ${target.machinesUrl} --fingerprint ${fingerprint} --yes --ssh-config yes 2>~/login.log`
      const ended = once(machine.start(onLaptop(login)), 'exit')
      const params = { transaction: machine.sh('timeout 50 cat /run/page').trim().split('/').at(-1) ?? '' }
      const { options } = await page(target, api.login.consentOptions, { params })
      const body = { assertion: alice.person.authenticator.get(options) }
      const { redirectTo } = await page(target, api.login.consent, { params, body })
      await fetch(redirectTo ?? '')
      expect(await ended).toEqual([0, null])
    }
    const expectLogin = () =>
      expect(machine.run(onLaptop(`cd && ssh root@${HOST} id -un`))).toMatchObject({ status: 0, stdout: 'root\n' })

    beforeAll(async () => {
      await Promise.all(['1.0.0', '1.1.0'].map(version => makePackages(join(folder, version), ['--version', version])))
      machine = await bootMachine(folder)
      const [pages, machines] = [await freePort(), await freePort()]
      target = { pagesUrl: `http://localhost:${pages}`, machinesUrl: `https://localhost:${machines}` }
    }, 300_000)
    afterAll(async () => {
      await machine?.close()
      rmSync(folder, { recursive: true, force: true })
    })

    it('install by dpkg, and each program starts and says its version', () => {
      expect(dpkg('--install', ...files('1.0.0'))).toMatchObject({ status: 0, stderr: '' })
      for (const program of ['keyman', 'keyman-agent', 'keyman-server'])
        expect(machine.sh(`cd / && ${program} --version`)).toBe(`${program} 1.0.0\n`)
      expect(machine.run(['keyman', 'status'])).toMatchObject({
        status: 3,
        stderr: expect.stringContaining('not signed in'),
      })
      expect(machine.sh('find /usr/lib/keyman ! -user root -o ! -type l -perm /022')).toBe('')
    })

    it('start nothing by themselves, and bring units that systemd takes', () => {
      expect(machine.run(['systemctl', 'is-enabled', 'keyman-server', 'keyman-agent']).stdout).toBe(
        'disabled\ndisabled\n',
      )
      expect(machine.run(['systemctl', 'is-active', 'keyman-server', 'keyman-agent']).stdout).toBe(
        'inactive\ninactive\n',
      )
      const units = ['keyman-server.service', 'keyman-agent.service']
      expect(machine.run(['systemd-analyze', 'verify', ...units])).toMatchObject({ status: 0, stdout: '', stderr: '' })
    })

    it('the server starts by its unit, as it is first configured, as a user of its own that may nothing else', async () => {
      const check = ['runuser', '-u', 'keyman-server', '--', 'keyman-server', 'check-config', '--config']
      expect(machine.run([...check, '/etc/keyman/server.toml'])).toMatchObject({ status: 0 })
      const listen = `127.0.0.1:${new URL(target.machinesUrl).port}`
      machine.sh(
        `keyman-server init --user keyman-server --organisation acme --public-url ${target.pagesUrl} --machines-listen ${listen}`,
      )
      machine.sh('systemctl start keyman-server')
      await ready()
      const status = machine.sh(`cat /proc/${pidOf('keyman-server')}/status`)
      expect(status).toMatch(/^NoNewPrivs:\t1$/m)
      expect(status).toMatch(/^Seccomp:\t2$/m)
      // CAP_NET_BIND_SERVICE alone.
      expect(status).toMatch(/^CapEff:\t0000000000000400$/m)
      expect(machine.sh(`stat -c '%U %a' /proc/${pidOf('keyman-server')} /var/lib/keyman`)).toBe(
        'keyman-server 555\nkeyman-server 700\n',
      )
    })

    it("an operator's command that was given no configuration names the packaged one", () => {
      const link = (...more: string[]) =>
        machine.run(['runuser', '-u', 'keyman-server', '--', 'keyman-server', 'admin-link', '--new', ...more])
      expect(link().stderr).toContain('hint: name the configuration of the server: --config /etc/keyman/server.toml')
      expect(link('--config', '/etc/keyman/server.toml')).toMatchObject({ status: 0 })
    })

    it('a host joins, and its agent keeps sshd by its unit', async () => {
      const port = await freePort()
      machine.sh(`printf 'UsePAM yes\\nInclude /etc/ssh/sshd_config.d/*.conf\\nPort ${port}\\nListenAddress 127.0.0.1\\n' > /etc/ssh/sshd_config
      rm -f /etc/ssh/sshd_config.d/* && ssh-keygen -q -A && mkdir -p /run/sshd && systemctl start ssh`)
      const [link = ''] = /http:\S+\/enrol#\S+/.exec(machine.sh('journalctl -u keyman-server')) ?? []
      alice = await logIn(target, await enrol(target, link, 'alice@example.com'))
      const { token } = await call(alice.connection, api.hosts.add, {
        body: { name: HOST, labels: {}, address: '127.0.0.1', port, tokenLifetime: 600 },
      })
      const join = machine.run(['keyman-agent', 'join', '--token-file', '-'], { input: token })
      const [next = ''] = /(?<=^Next: ).+/m.exec(join.stdout) ?? []
      expect({ next, status: join.status }).toEqual({ next: 'systemctl enable --now keyman-agent', status: 0 })
      machine.sh(next)
      await inForce(1)
      const grant = schemas.newGrant.parse({ who: 'alice@example.com', login: 'root', hosts: { host: HOST } })
      await call(alice.connection, api.grants.add, { body: grant })
      await inForce(2)
      expect(machine.sh('sshd -T')).toContain('trustedusercakeys /etc/ssh/keyman/')
      expect(machine.run(['keyman-agent', 'doctor'])).toMatchObject({ status: 0 })
      const status = machine.sh(`cat /proc/${pidOf('keyman-agent')}/status`)
      expect(status).toMatch(/^Seccomp:\t2$/m)
      // CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_KILL.
      expect(status).toMatch(/^CapEff:\t000000000000002b$/m)
    })

    it('a person signs in by the packaged keyman, and plain ssh gets in', async () => {
      await signIn()
      expectLogin()
      expect(machine.run(onLaptop('keyman doctor'))).toMatchObject({ status: 0 })
    })

    it('what somebody takes away of the files that say who gets in comes back, with its folder', async () => {
      const files = () =>
        machine.run(['sh', '-c', 'find /etc/ssh/keyman /etc/ssh/sshd_config.d ! -name "ssh_host_*" | sort']).stdout
      const before = files()
      machine.sh('rm -rf /etc/ssh/keyman /etc/ssh/sshd_config.d/*')
      await expect.poll(files, { timeout: 50_000 }).toBe(before)
    })

    it('an upgrade runs at once, and keeps the configuration that somebody changed', async () => {
      const [server, agent, settings] = [
        pidOf('keyman-server'),
        pidOf('keyman-agent'),
        machine.sh('cat /etc/keyman/server.toml'),
      ]
      expect(dpkg('--install', ...files('1.1.0'))).toMatchObject({ status: 0, stderr: '' })
      expect(machine.sh('keyman-server --version; keyman-agent --version')).toBe(
        'keyman-server 1.1.0\nkeyman-agent 1.1.0\n',
      )
      expect(machine.sh('cat /etc/keyman/server.toml')).toBe(settings)
      await ready()
      await inForce(2)
      expect([pidOf('keyman-server'), pidOf('keyman-agent')]).not.toContain(server)
      expect(pidOf('keyman-agent')).not.toBe(agent)
      expect(await host()).toMatchObject({ agent: 'keyman-agent 1.1.0' })
      expectLogin()
    })

    it('each wants the others in its own version', () => {
      const { status, stderr } = dpkg('--install', ...files('1.0.0', ['keyman-cli']))
      expect(stderr).toMatch(/keyman-cli depends on keyman-runtime \(= 1\.0\.0\)/)
      expect(status).toBe(1)
      expect(dpkg('--install', ...files('1.1.0', ['keyman-cli']))).toMatchObject({ status: 0 })
    })

    it('the agent is not removed from a host whose sshd reads its files, but once the host has left', () => {
      const refused = dpkg('--purge', 'keyman-agent')
      expect(refused.stderr).toContain('this host has joined')
      expect(refused.status).toBe(1)
      expect(machine.sh('systemctl is-active keyman-agent')).toBe('active\n')
      machine.sh('keyman-agent leave')
      expect(dpkg('--purge', 'keyman-agent')).toMatchObject({ status: 0 })
      expect(machine.run(['ls', '/usr/bin/keyman-agent', '/var/lib/keyman-agent', '/etc/ssh/keyman']).stdout).toBe('')
    })

    it('removing the server ends it, and keeps its configuration; purging keeps the keys and the log, and says so', () => {
      expect(dpkg('--remove', 'keyman-server', 'keyman-cli')).toMatchObject({ status: 0, stderr: '' })
      expect(machine.run(['systemctl', 'is-active', 'keyman-server']).stdout).toBe('inactive\n')
      expect(machine.sh('ls /etc/keyman')).toBe('server.toml\n')
      const purged = dpkg('--purge', 'keyman-server', 'keyman-runtime')
      expect(purged.stderr).toContain('/var/lib/keyman stays, with authority keys and the audit log')
      expect(purged.status).toBe(0)
      expect(machine.sh('ls /var/lib/keyman')).toMatch(/^database\n(.*\n)*keystore\n/)
      expect(machine.sh('id -un keyman-server')).toBe('keyman-server\n')
      expect(machine.run(['ls', '-d', '/etc/keyman', '/usr/lib/keyman']).stdout).toBe('')
    })

    it.skipIf(!requires('softhsm'))('the server signs by SoftHSM under its unit', async () => {
      machine.sh('rm -rf /var/lib/keyman')
      expect(dpkg('--install', ...files('1.1.0', ['keyman-runtime', 'keyman-server']))).toMatchObject({ status: 0 })
      const asServer = 'runuser -u keyman-server --'
      machine.sh(`usermod -aG softhsm keyman-server && ${asServer} softhsm2-util --init-token --free --label keyman --pin 1234 --so-pin 5678
      echo 1234 | install -m 600 -o keyman-server /dev/stdin /etc/keyman/pin`)
      const keystore = `[keystore]\nkind = "pkcs11"\nmodule = "${pathOf('softhsm')}"\ntoken = "keyman"\npin_file = "/etc/keyman/pin"\n`
      machine.run(['tee', '-a', '/etc/keyman/server.toml'], { input: listeners() + keystore })
      machine.sh('systemctl start keyman-server')
      await ready()
      const keys = machine.sh(`${asServer} keyman-server authority list --config /etc/keyman/server.toml`)
      expect(keys).toMatch(/^ssh-user-1 .* keystore \(pkcs11\)$/m)
    })

    it('purging leaves what others put beside the configuration, and says so', () => {
      const { status, stderr } = dpkg('--purge', 'keyman-server', 'keyman-runtime')
      expect(stderr).toContain('/etc/keyman stays')
      expect(status).toBe(0)
      expect(machine.sh('ls /etc/keyman')).toBe('pin\n')
    })

    it('purging a server that kept nothing leaves nothing', () => {
      machine.sh('rm -rf /var/lib/keyman /etc/keyman')
      expect(dpkg('--install', ...files('1.0.0', ['keyman-runtime', 'keyman-server']))).toMatchObject({ status: 0 })
      expect(dpkg('--purge', 'keyman-server', 'keyman-runtime')).toMatchObject({ status: 0, stderr: '' })
      expect(machine.run(['id', 'keyman-server']).status).toBe(1)
    })

    /** A package of the name `keyman`, with one file; gives its path. */
    const namesake = (version: string, file: string) =>
      machine
        .sh(`cd "$(mktemp -d)" && mkdir -p package/DEBIAN "package/$(dirname ${file})" && echo ${version} > package/${file}
        printf 'Package: keyman\nVersion: ${version}\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n' > package/DEBIAN/control
        dpkg-deb --build package "$PWD/keyman.deb" > /dev/null && echo "$PWD/keyman.deb"`)
        .trim()
    const installed = () => machine.sh("dpkg -l 'keyman*' | awk '/^ii/ { print $2, $3 }'")

    it('the command line takes the place of the package that was called keyman', () => {
      expect(dpkg('--install', namesake('0.1.0', 'usr/bin/keyman'))).toMatchObject({ status: 0 })
      expect(dpkg('--install', ...files('1.0.0', ['keyman-runtime', 'keyman-cli']))).toMatchObject({ status: 0 })
      expect(installed()).toBe('keyman-cli 1.0.0\nkeyman-runtime 1.0.0\n')
      expect(machine.sh('cd / && keyman --version')).toBe('keyman 1.0.0\n')
    })

    it("the command line lies beside Debian's keyman, an input method, and goes without it", () => {
      expect(dpkg('--install', namesake('16.0.138-4', 'usr/bin/km-config'))).toMatchObject({ status: 0, stderr: '' })
      expect(dpkg('--install', ...files('1.1.0', ['keyman-runtime', 'keyman-cli']))).toMatchObject({ status: 0 })
      expect(machine.sh('cd / && keyman --version; cat /usr/bin/km-config')).toBe('keyman 1.1.0\n16.0.138-4\n')
      expect(dpkg('--purge', 'keyman-cli', 'keyman-runtime')).toMatchObject({ status: 0, stderr: '' })
      expect(installed()).toBe('keyman 16.0.138-4\n')
    })
  },
)
