import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseHostName } from '#shared/names.ts'
import { parsePublicKey } from '#shared/ssh/index.ts'
import { freePort } from '#test/support/free-port.ts'
import { bootMachine, type Machine, whyNoMachine } from '#test/support/programs/machine.ts'
import { AGENT } from '#test/support/programs/programs.ts'
import { requires } from '#test/support/requires.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'

const why = whyNoMachine()

/** Debian's own units of sshd on a machine with systemd of its own, and the agent by its defaults for paths and reload. */
describe.skipIf(why !== undefined || !requires('sshd'))(`under systemd${why ? ` (${why})` : ''}, the agent`, () => {
  let server: HostsServer
  let machine: Machine
  let shared: string
  let port: number

  beforeAll(async () => {
    server = await startHostsServer()
    shared = mkdtempSync(join(tmpdir(), 'keyman-systemd-'))
    machine = await bootMachine(shared)
    port = await freePort()
    const socket = '/etc/systemd/system/ssh.socket.d'
    machine.sh(
      `mkdir -p ${socket} && printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:${port}\n' > ${socket}/port.conf`,
    )
    machine.sh('ls /etc/ssh/ssh_host_ed25519_key >/dev/null 2>&1 || ssh-keygen -A')
    machine.sh('systemctl daemon-reload; systemctl stop ssh.service ssh.socket; rm -rf /run/sshd')
  })
  afterAll(async () => {
    await machine?.close()
    await server?.close()
    if (shared) rmSync(shared, { recursive: true, force: true })
  })

  /** Joins as `name`, and leaves nothing of a host that joined before. */
  const joinAs = async (name: string, flags: readonly string[] = []) => {
    const host = parseHostName(`${name}.keyman.localhost`, 'name')
    const { token } = await server.services.hosts.add(
      { name: host, labels: {}, port: 22, tokenLifetime: 600 },
      server.by(),
    )
    const started = machine.start([
      ...['sh', '-c', 'printf %s "$0" | "$@" 2>&1; echo "exit $?"', token, process.execPath, AGENT],
      ...['join', '--again', '--token-file', '-', ...flags],
    ])
    let out = ''
    for await (const chunk of started.stdout) out += String(chunk)
    return { out, state: (await server.services.hosts.show(host)).state, host }
  }
  const isActive = (unit: string) => machine.run(['systemctl', 'is-active', unit]).stdout.trim()

  it('joins where the unit of sshd is not active, and its folder below /run is missing', async () => {
    expect([isActive('ssh.service'), machine.run(['test', '-e', '/run/sshd']).status]).toEqual(['inactive', 1])
    const { out } = await joinAs('inactive')
    expect(out).toContain('the unit ssh is not active; sshd will read its configuration when it starts')
    expect(out).toContain('exit 0')
    expect(machine.sh('sshd -T').toLowerCase()).toContain('trustedusercakeys /etc/ssh/keyman/user_ca.pub')
  })

  it('joins where the socket starts sshd, which has read its files when somebody connects', async () => {
    machine.sh('systemctl start ssh.socket')
    expect([isActive('ssh.socket'), isActive('ssh.service')]).toEqual(['active', 'inactive'])
    const { out } = await joinAs('socket')
    expect(out).toContain('exit 0')
    machine.sh(`ssh-keyscan -p ${port} 127.0.0.1 2>/dev/null | grep -q ed25519`)
    expect(isActive('ssh.service')).toBe('active')
    const { out: again } = await joinAs('running')
    expect(again).toContain('sshd has read its configuration again')
    expect(again).toContain('exit 0')
    machine.sh('systemctl stop ssh.socket ssh.service')
  })

  it('stops before the token is used where an sshd runs outside of the unit: nobody would tell it of changes', async () => {
    machine.sh(
      `mkdir -p /run/sshd && /usr/sbin/sshd -o ListenAddress=127.0.0.1 -o Port=${port} -o PidFile=/run/other.pid`,
    )
    const { out, state } = await joinAs('outside')
    expect(out).toMatch(/the unit ssh is not active, but an sshd with \/etc\/ssh\/sshd_config runs as process \d+/)
    expect([out.includes('exit 0'), state]).toEqual([false, 'invited'])
    const { out: told } = await joinAs('told', ['--pid-file', '/run/other.pid'])
    expect(told).toContain('exit 0')
    machine.sh('kill $(cat /run/other.pid)')
  })

  it('stops before the token is used where systemd knows no such unit', async () => {
    const { out, state } = await joinAs('nounit', ['--reload', 'systemctl reload openssh-daemon'])
    expect(out).toContain('systemd knows no unit openssh-daemon')
    expect([out.includes('exit 0'), state]).toEqual([false, 'invited'])
  })

  it("sees in the machine's journal who logs in, and ends a session that PAM opened; one that somebody logs by sshd's name is none", async () => {
    machine.sh('systemctl start systemd-journald.socket; systemctl start ssh.socket')
    const { out, host } = await joinAs('journal')
    expect(out).toContain('exit 0')
    machine.sh(
      'mkdir -p /root/.ssh && ssh-keygen -q -t ed25519 -N "" -f /root/plain && cat /root/plain.pub > /root/.ssh/authorized_keys',
    )
    // By its own unit: with the few rights that this leaves to root.
    const unit = readFileSync(join(import.meta.dirname, '../../packaging/systemd/keyman-agent.service'), 'utf8')
    const own = unit.replace(/^ExecStart=.*$/m, `ExecStart=${process.execPath} ${AGENT} run`)
    machine.run(['sh', '-c', 'cat > /etc/systemd/system/keyman-agent.service'], { input: own })
    machine.sh('systemctl daemon-reload; systemctl start keyman-agent')
    const state = async () => (await server.services.hosts.show(host)).state
    await expect.poll(state, { timeout: 20_000 }).toBe('connected')
    const ssh = `ssh -F none -i /root/plain -p ${port} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@127.0.0.1`
    const forged = 'Accepted password for root from 192.0.2.1 port 1 ssh2'
    machine.sh(`setpriv --reuid=nobody --clear-groups logger -t sshd '${forged}'`)
    const session = machine.start(['sh', '-c', `exec ${ssh} 'echo in; exec sleep 600'`])
    const listed = () => server.services.logins.list({ hosts: [host], limit: 10 })
    await expect
      .poll(listed, { timeout: 20_000 })
      .toEqual([expect.objectContaining({ login: 'root', method: 'publickey', address: '127.0.0.1' })])
    const publicKey = parsePublicKey(machine.sh('cut -d" " -f1,2 /root/plain.pub').trim())
    const { krlVersion } = await server.services.authority.revoke({ publicKey }, 'test', server.by(), 'end')
    expect(await server.services.hosts.waitForKrl(krlVersion, 20)).toContainEqual(
      expect.objectContaining({ name: host, state: 'in-force' }),
    )
    expect(await listed()).toEqual([expect.objectContaining({ ended: true })])
    if (session.exitCode === null) await once(session, 'exit')
    machine.sh('systemctl stop keyman-agent ssh.socket; systemctl stop "ssh*.service"')
  })
})
