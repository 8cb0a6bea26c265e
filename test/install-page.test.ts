import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newMachineAuthority } from '#test/support/machine-authority.ts'
import { bootMachine, type Machine, whyNoMachine } from '#test/support/programs/machine.ts'
import { makePackages } from '#test/support/programs/packages.ts'
import { requires } from '#test/support/requires.ts'

const root = join(import.meta.dirname, '..')
const why = requires('cc', 'sshd', 'ssh', 'softhsm', 'opensc', 'postgresql')
  ? whyNoMachine()
  : 'something is not installed'

/** The page's blocks of commands, in order, before what it says of the packages themselves. */
type Block = { readonly section: string; readonly asYou: boolean; readonly commands: string }
function blocks(): Block[] {
  const [mine = ''] = readFileSync(join(root, 'docs', 'install.md'), 'utf8').split(/^## Packages$/m)
  let section = ''
  return [...mine.matchAll(/^## (.+)$|^```(.*)\n([\s\S]*?)^```$/gm)].flatMap(([, heading, info, commands = '']) => {
    if (heading !== undefined) section = heading
    return heading === undefined ? [{ section, asYou: info === 'sh as=you', commands }] : []
  })
}

// One after the other, on one machine: as whoever follows the page meets them.
describe.skipIf(why !== undefined)(`the page 'Installing'${why === undefined ? '' : ` (${why})`}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-install-'))
  let machine: Machine
  let done: AsyncIterator<string>
  let fingerprint = ''

  beforeAll(async () => {
    await Promise.all(['1.0.0', '1.1.0'].map(version => makePackages(join(folder, version), ['--version', version])))
    const authority = newMachineAuthority('the authority of the pages')
    const { cert, key } = authority.server([{ dns: 'keys.example.com' }])
    for (const [name, text] of [
      ['pages.crt', cert],
      ['pages.key', key],
      ['root.crt', authority.root],
    ] as const)
      writeFileSync(join(folder, name), text)
    machine = await bootMachine(folder, { ownNetwork: true })
    // What the page takes for granted: names, users, a PostgreSQL without anything in it, sshd, and somebody with a passkey.
    machine.sh(`
      echo 127.0.0.1 localhost keys.example.com db.example.com web1.prod.example.com > /etc/hosts
      useradd -m alice && useradd -m -s /bin/sh deploy
      rm -rf /etc/postgresql/* /var/lib/postgresql/* /var/lib/softhsm/tokens/*
      cd / && pg_createcluster "$(ls /usr/lib/postgresql | sort -n | tail -1)" main --start
      printf 'Include /etc/ssh/sshd_config.d/*.conf\\nUsePAM yes\\n' > /etc/ssh/sshd_config
      dpkg --configure -a
      echo 'APT::Get::Assume-Yes "true";' > /etc/apt/apt.conf.d/yes
      rm -f /etc/ssh/sshd_config.d/* && ssh-keygen -q -A && mkdir -p /run/sshd && systemctl start systemd-user-sessions ssh
      mkfifo -m 666 /run/pages && printf '#!/bin/sh\\necho "$1" > /run/pages\\n' > /usr/local/bin/browser
      chmod 755 /usr/local/bin/browser && cp /run/shared/pages.* /home/alice`)
    packages('1.0.0')
    const person = machine.start([
      ...[
        'env',
        'NODE_EXTRA_CA_CERTS=/run/shared/root.crt',
        process.execPath,
        join(root, 'test/support/people/page-person.ts'),
      ],
      ...['https://keys.example.com', '/run/pages', 'alice@example.com'],
    ])
    done = createInterface({ input: person.stdout })[Symbol.asyncIterator]()
  }, 600_000)
  afterAll(async () => {
    await machine?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const packages = (version: string) =>
    machine.sh(`rm -f /home/alice/*.deb && cp /run/shared/${version}/*.deb /home/alice`)
  const run = (commands: string, asYou = false) => {
    const shell = ['sh', '-ec', `cd /home/alice\n${commands.replaceAll('SHA256:…', fingerprint)}`]
    const you = ['runuser', '-u', 'alice', '--', 'env', 'HOME=/home/alice', 'KEYMAN_BROWSER=/usr/local/bin/browser']
    return machine.run(asYou ? [...you, ...shell] : shell)
  }
  const served = () => {
    expect(run('keyman host list', true)).toMatchObject({ status: 0 })
  }
  const signIn = () => {
    expect(run('keyman login --yes --ssh-config yes', true)).toMatchObject({ status: 0 })
  }

  const before: Record<string, () => unknown> = {
    // A link of an earlier start is in the journal, which is not to be what the page shows.
    'systemctl enable --now keyman-server\nstart=': () => {
      machine.sh('systemctl start keyman-server && systemctl stop keyman-server')
    },
    'keyman login': () => {
      fingerprint = JSON.parse(machine.sh('cat /var/lib/keyman/local.json')).rootFingerprint
    },
    // So that the backup lacks something.
    'systemctl stop keyman-server': () => run('keyman ssh renew', true),
    'apt-get install --only-upgrade': () => packages('1.1.0'),
    'apt-get install -y --only-upgrade': () => packages('1.0.0'),
    'keyman audit checkpoint': served,
    'keyman-server init': () => {
      // Another machine, of which the ports are free.
      if (fingerprint !== '')
        machine.sh('systemctl disable --now keyman-server && mv /etc/keyman/server.toml /var/lib/keyman /root')
    },
    'keyman host remove': served,
  }
  const after: Record<string, (said: string) => unknown> = {
    'systemctl enable --now keyman-server\nstart=': async said => {
      const [link = '', ...more] = said.match(/https:\S+\/enrol#\S+/g) ?? []
      expect(more).toEqual([])
      machine.run(['tee', '/run/pages'], { input: `${link}\n` })
      expect((await done.next()).value).toBe('enrolled')
    },
    'runuser -u keyman-server -- keyman-server restore --config /etc/keyman/server.toml --yes': signIn,
    'keyman-server init': () => (fingerprint === '' ? undefined : served()),
    'rm -r /run/systemd': () => {
      machine.sh('systemctl restart keyman-server')
      return served()
    },
  }
  const of = <Hook>(hooks: Record<string, Hook>, commands: string): Hook | undefined =>
    Object.entries(hooks).find(([begin]) => commands.startsWith(begin))?.[1]

  let stuck = false
  it.for(blocks())('$section: $commands', { timeout: 300_000 }, async ({ commands, asYou }, { skip }) => {
    if (stuck) skip('an earlier one failed')
    stuck = true
    await of(before, commands)?.()
    const ran = run(commands, asYou)
    // 'A check found something', as the page says.
    const expected = commands.endsWith('restore --config /etc/keyman/server.toml\n') ? 9 : 0
    expect(ran.status, `${ran.stdout}\n${ran.stderr}`).toBe(expected)
    await of(after, commands)?.(ran.stdout)
    if (commands.includes('ssh deploy@')) expect(ran.stdout).toMatch(/^deploy$/m)
    stuck = false
  })

  it('leaves nothing behind', () => {
    expect(
      machine.run(['ls', '-d', '/etc/keyman', '/var/lib/keyman', '/usr/lib/keyman', '/var/lib/keyman-agent']).stdout,
    ).toBe('')
    expect(
      machine.run(['ls', '-A', '/home/alice/.config', '/etc/ssh/sshd_config.d', '/var/lib/softhsm/tokens']).stdout,
    ).not.toMatch(/keyman/)
    expect(
      machine.sh(
        'cd / && runuser -u postgres -- psql -Atc "select rolname from pg_roles where rolname like \'keyman%\'"',
      ),
    ).toBe('')
  })

  it('upgrades on a host what is there, and goes back with it, and installs nothing else', () => {
    const page = blocks().map(({ commands }) => commands)
    const after = (begin: string) => {
      const [line = 'false'] = page.find(commands => commands.startsWith(begin))?.split('\n') ?? []
      const ran = run(line)
      expect(ran.status, ran.stderr).toBe(0)
      return machine.sh("dpkg -l 'keyman*' | awk '/^ii/ { print $2, $3 }'")
    }
    packages('1.0.0')
    expect(after('apt-get install ./keyman-runtime_*.deb ./keyman-agent')).toMatch(/^keyman-agent 1\.0\.0$/m)
    packages('1.1.0')
    expect(after('apt-get install --only-upgrade')).toBe('keyman-agent 1.1.0\nkeyman-runtime 1.1.0\n')
    packages('1.0.0')
    expect(after('apt-get install -y --only-upgrade')).toBe('keyman-agent 1.0.0\nkeyman-runtime 1.0.0\n')
  })
})

it('each command of the page is one that the test runs', () => {
  const [mine = ''] = readFileSync(join(root, 'docs', 'install.md'), 'utf8').split(/^## Packages$/m)
  expect(mine.match(/^```/gm)).toHaveLength(2 * blocks().length)
  expect(blocks().length).toBeGreaterThan(20)
})
