import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startSshAgent } from '#test/support/programs/ssh-agent.ts'
import { newSshd, ownLogin } from '#test/support/programs/sshd.ts'
import { requires } from '#test/support/requires.ts'
import { folders } from '../context/folders.ts'
import { makeLoginKeys } from '../session/keys.ts'
import { addToAgent } from './agent.ts'
import {
  includeHolds,
  knownHostsText,
  type SshConfigInput,
  sshConfigText,
  sshHostsText,
  sshMatchText,
  withInclude,
  withoutInclude,
} from './config.ts'
import { namesHost, sshFiles } from './files.ts'
import { changeInclude } from './include.ts'
import { sshPlainText } from './plain.ts'
import { ensureRevokedHosts } from './revoked-hosts.ts'
import { checkScript } from './scripts.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-ssh-config-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const input = (change: Partial<SshConfigInput> = {}): SshConfigInput => ({
  organisation: 'acme',
  hostSuffixes: ['prod.example.com'],
  hosts: [
    { name: 'web1.prod.example.com' },
    { name: 'db1.prod.example.com', port: 2222, address: '192.0.2.7' },
    { name: 'v6.prod.example.com', address: '2001:db8::1' },
  ],
  check: '/home/alice/.config/keyman/ssh-check/acme',
  refresh: '/home/alice/.config/keyman/ssh-refresh/acme',
  hostsFile: '/home/alice/.config/keyman/ssh-hosts/acme',
  identityFile: '/run/user/1000/keyman/acme/id_ed25519',
  certificateFile: '/run/user/1000/keyman/acme/id_ed25519-cert.pub',
  knownHostsFile: '/home/alice/.config/keyman/known_hosts/acme',
  revokedHostsFile: '/home/alice/.config/keyman/revoked_hosts/acme',
  ...change,
})

/** All that ssh reads of ours. */
const texts = (given: SshConfigInput): string =>
  [sshConfigText('/c/ssh_match', [given.hostsFile]), sshMatchText(given), sshHostsText(given)].join('\n')

/** Puts it where ssh reads it: `include` and its hosts file. */
function writeTexts(include: string, ...given: SshConfigInput[]): void {
  writeFileSync(`${include}_match`, given.map(sshMatchText).join('\n'))
  for (const each of given) writeFileSync(each.hostsFile, sshHostsText(each))
  writeFileSync(
    include,
    sshConfigText(
      `${include}_match`,
      given.map(({ hostsFile }) => hostsFile),
    ),
  )
}

describe('the include file', () => {
  it('passes no % token to a shell, and none at all to anything (CVE-2023-51385)', () => {
    expect(texts(input({ aliases: [{ alias: 'w1', host: 'web1.prod.example.com' }] }))).not.toContain('%')
    expect(
      checkScript({ validUntil: '/a/b', key: { file: '/d/e' }, keyman: '/c/keyman', organisation: 'acme' }).replace(
        'date +%s',
        '',
      ),
    ).not.toContain('%')
  })
  it('runs its scripts for our own names alone, and the one for new hosts for none that is listed', () => {
    const lines = sshMatchText(input({ hosts: [{ name: 'web1.prod.example.com' }] })).split('\n')
    expect(lines.filter(line => line.includes(' exec '))).toEqual([
      'Match host *.prod.example.com,*.prod.example.com.,*.PROD.EXAMPLE.COM,*.PROD.EXAMPLE.COM. exec "/home/alice/.config/keyman/ssh-check/acme"',
      'Match host *.prod.example.com,!web1.prod.example.com,!Web1.prod.example.com,!WEB1.prod.example.com exec "/home/alice/.config/keyman/ssh-refresh/acme"',
    ])
  })
  it('can be read by programs that know no Match: what they follow has none, and they do not follow quotes', () => {
    const lines = sshConfigText('/c/ssh_match', ['/c/ssh-hosts/acme', '/c/ssh-hosts/b c']).split('\n')
    expect(lines.slice(1)).toEqual([
      'Include "/c/ssh_match"',
      'Include /c/ssh-hosts/acme',
      'Include "/c/ssh-hosts/b c"',
      '',
    ])
    expect(sshHostsText(input())).not.toMatch(/^\s*Match/m)
    // Those that follow it know `host` and `exec`, and stop at any other word.
    for (const line of sshMatchText(input()).match(/^Match.*/gm) ?? [])
      expect(line).toMatch(/^Match host [^ ]+ exec "[^"]+"$/)
  })
  it("names no file of known hosts that is not there, and the person's own first, where ssh writes what is new", () => {
    const named = (otherKnownHosts: string[]) => /UserKnownHostsFile (.*)/.exec(texts(input({ otherKnownHosts })))?.[1]
    expect(named([])).toBe('/home/alice/.config/keyman/known_hosts/acme')
    expect(named(['~/.ssh/known_hosts'])).toBe('~/.ssh/known_hosts /home/alice/.config/keyman/known_hosts/acme')
  })
  it('has an alias that the person declared, and none for a host of somebody else', () => {
    const of = (alias: string, host: string) => texts(input({ aliases: [{ alias, host }] }))
    expect(of('d1', 'db1.prod.example.com')).toContain(
      'Host d1 d1. D1 D1.\n  HostName 192.0.2.7\n  Port 2222\n  HostKeyAlias db1.prod.example.com\n',
    )
    expect(of('w1', 'web1.prod.example.com')).toContain('  HostName web1.prod.example.com\n')
    // Who types an address means it.
    expect(of('192.0.2.8', 'db1.prod.example.com')).toContain('Host 192.0.2.8\n  Port 2222\n')
    for (const [alias, host] of [
      ['d1', 'github.com'],
      ['*', 'db1.prod.example.com'],
      ['d1 *', 'db1.prod.example.com'],
      ['fe80::1%h', 'db1.prod.example.com'],
    ] as const)
      expect(of(alias, host)).toBe(texts(input()))
  })
  it('has the aliases that the server lists, as far as they are names that it answers for and no other host has', () => {
    const aliases = ['www.prod.example.com', 'github.com', 'web1.prod.example.com', 'fe80::1%h']
    const hosts = [{ name: 'web1.prod.example.com' }, { name: 'db1.prod.example.com', port: 2222, aliases }]
    const text = texts(input({ hosts }))
    expect(text).toContain('Host www.prod.example.com www.prod.example.com. ')
    expect(text).toContain('  HostName db1.prod.example.com\n  Port 2222\n  HostKeyAlias db1.prod.example.com\n')
    expect(text).not.toMatch(/github|fe80/)
    expect(text.match(/^Host web1\./gm)).toHaveLength(1)
    expect(knownHostsText(['ssh-ed25519 AAAA'], input({ hosts }))).toBe(
      '@cert-authority web1.prod.example.com,db1.prod.example.com,[db1.prod.example.com]:2222,www.prod.example.com,[www.prod.example.com]:2222 ssh-ed25519 AAAA keyman\n',
    )
    // What the person declared comes before what a server says.
    const own = [{ alias: 'www.prod.example.com', host: 'web1.prod.example.com' }]
    expect(texts(input({ hosts, aliases: own })).match(/^Host www\./gm)).toHaveLength(1)
    expect(texts(input({ hosts, aliases: own }))).toMatch(/^Host www\..*\n {2}HostName web1/m)
  })
  it.each([
    '*',
    '*.com',
    'com',
    'a b.example.com',
    'x\nHost *',
    'prod.example.com exec "id"',
    '*.example.com',
    'EXAMPLE.com',
  ])('leaves out a hostile suffix: %j', suffix => {
    const given = input({ hostSuffixes: [suffix] })
    expect(sshMatchText(given)).toBe('# acme\nHost *\n')
    expect(sshHostsText(given)).toBe('# Hosts of acme. Made by keyman and made anew at each renewal\nHost *\n')
    expect(sshPlainText(given, 'alice')).toMatch(/^#.*\n$/)
  })
  it.each([
    { name: 'github.com', address: '192.0.2.66' },
    { name: 'web1.prod.example.com\nHost *', address: '192.0.2.66' },
    { name: 'x.prod.example.com', address: '192.0.2.66\n  ProxyCommand id' },
    { name: 'x.prod.example.com', address: '-oProxyCommand=id' },
    { name: 'x.prod.example.com', address: '$(id)' },
  ])('leaves out what a hostile server says: %j', host => {
    const text = texts(input({ hosts: [host] })) + sshPlainText(input({ hosts: [host] }), 'alice')
    expect(text).not.toContain('192.0.2.66')
    expect(text).not.toMatch(/ProxyCommand|\$|github/)
  })
  it('has the demo host where the local server has one, and not with a name or login that does not fit', () => {
    const demo = { name: 'demo.keyman.localhost', address: '127.0.0.1', port: 2200, login: 'alice' }
    expect(texts(input({ demo }))).toContain('Host demo\n  HostName 127.0.0.1\n  Port 2200\n')
    for (const bad of [{ login: 'alice\n  ProxyCommand id' }, { name: '*' }, { address: 'x;id' }]) {
      expect(texts(input({ demo: { ...demo, ...bad } }))).not.toMatch(/demo|Proxy/)
    }
  })
  it('is refused where a folder cannot be named in it', () => {
    for (const folder of ['%h', 'a"b', "it's", '$x', 'a*', 'a\\b', 'a\nb', 'a\tb', 'a[b'])
      for (const [name, variable] of [
        ['check', 'XDG_CONFIG_HOME'],
        ['refresh', 'XDG_CONFIG_HOME'],
        ['hostsFile', 'XDG_CONFIG_HOME'],
        ['knownHostsFile', 'XDG_CONFIG_HOME'],
        ['revokedHostsFile', 'XDG_CONFIG_HOME'],
        ['identityFile', 'XDG_RUNTIME_DIR'],
        ['certificateFile', 'XDG_RUNTIME_DIR'],
      ] as const)
        expect(() => texts(input({ [name]: `/home/${folder}/x` })), `${name} ${folder}`).toThrow(
          expect.objectContaining({
            message: expect.stringContaining(JSON.stringify(`/home/${folder}/x`)),
            hint: expect.stringContaining(`set ${variable} `),
          }),
        )
    expect(() => sshConfigText('/home/%h/ssh_match', [])).toThrow('cannot be named')
    expect(texts(input({ identityFile: '/home/josé/id' }))).toContain('IdentityFile /home/josé/id')
  })
})

describe('the check script', () => {
  it.each(['a b', "it's", '$(touch x)', '`touch x`', 'josé', '"', '%h', '*'])(
    'calls a program that lies in %s',
    name => {
      const place = join(folder, `program ${name}`)
      mkdirSync(place)
      const keyman = join(place, 'keyman')
      writeFileSync(keyman, '#!/bin/sh\necho "called: $*"\n', { mode: 0o700 })
      const script = join(place, 'check')
      writeFileSync(
        script,
        checkScript({ validUntil: join(place, 'valid-until'), key: { file: keyman }, keyman, organisation: 'acme' }),
      )
      const run = () => spawnSync('sh', [script], { encoding: 'utf8', cwd: place })
      expect(run().stdout).toBe('called: ssh check --context acme\n')
      writeFileSync(join(place, 'valid-until'), '9999999999\n9999999999\n')
      expect([run().stdout, run().status]).toEqual(['', 0])
      expect(existsSync(join(place, 'x'))).toBe(false)
    },
  )
})

describe('known_hosts', () => {
  it('has exact names, with and without port, below our suffixes alone', () => {
    const key = 'ssh-ed25519 AAAA'
    const hosts = [...input().hosts, { name: 'github.com' }]
    expect(knownHostsText([key], { ...input(), hosts })).toBe(
      `@cert-authority web1.prod.example.com,db1.prod.example.com,[db1.prod.example.com]:2222,v6.prod.example.com ${key} keyman\n`,
    )
  })
  it('says so where there are no hosts yet', () => {
    expect(knownHostsText(['k'], { hostSuffixes: [], hosts: [] })).toBe('# no hosts yet\n')
  })
})

describe('the line in ~/.ssh/config', () => {
  const path = '/home/alice/.config/keyman/ssh_config'
  const include = { path, home: '/home/alice' }
  it('goes on top, once, and out again without a trace', () => {
    const before = 'Host *\n  ServerAliveInterval 30\n'
    const after = withInclude(before, include)
    expect(after).toBe(`Include ${path}\n${before}`)
    expect(withInclude(after, include)).toBe(after)
    expect(withoutInclude(after, include)).toBe(before)
    for (const text of ['', 'Host a', '\n\n# x\n'])
      expect(withoutInclude(withInclude(text, include), include)).toBe(text)
  })
  it.each([
    'Include ~/.config/keyman/ssh_config',
    'include "/home/alice/.config/keyman/ssh_config"',
    '  INCLUDE\t/home/alice/.config/keyman/ssh_config  ',
    'Include=/home/alice/.config/keyman/ssh_config',
    "Include = '/home/alice/.config/keyman/ssh_config'",
    'Include ../.config/keyman/ssh_config',
    'Include /home/alice/.config/*/ssh_config # mine',
    'Include /home/alice//.config/keyman/ssh_config',
  ])('is known by whatever spelling ssh knows, and goes out: %s', line => {
    const text = `Host *\n${line}\n`
    expect(withInclude(text, include)).toBe(text)
    expect(withoutInclude(text, include)).toBe('Host *\n')
  })
  it.each([
    ['Include ~/a "~/.config/keyman/ssh_config" ~/b', 'Include ~/a ~/b'],
    ['Include ~/.config/keyman/ssh_config "~/b c" # x', 'Include "~/b c" # x'],
    ['  include=~/a ~/.config/keyman/ssh_config', '  include=~/a'],
  ])('among several files of one line is known, and the others stay: %s', (line, left) => {
    expect(withInclude(line, include)).toBe(line)
    expect(withoutInclude(line, include)).toBe(left)
  })
  it.each([
    '# Include ~/.config/keyman/ssh_config',
    'Include ~/a # ~/.config/keyman/ssh_config',
    'Include ~/.config/keyman/ssh_config2',
    'Include ~bob/.config/keyman/ssh_config',
    'Includes ~/.config/keyman/ssh_config',
    'Include "~/.config/keyman/ssh_config ~/b"',
    'IdentityFile ~/.config/keyman/ssh_config',
    'Include $' + '{HOME}/.config/keyman/ssh_config',
  ])('is not taken for what ssh does not read as ours: %s', line => {
    expect(withInclude(line, include)).toBe(`Include ${path}\n${line}`)
    expect(withoutInclude(line, include)).toBe(line)
  })
  it('is known by a variable where this version of ssh expands it', () => {
    const line = 'Include $' + '{HOME}/.config/keyman/ssh_config'
    const variable = (name: string) => (name === 'HOME' ? '/home/alice' : undefined)
    expect(withInclude(line, { ...include, variable })).toBe(line)
  })
  it('is moved to the top where it holds for one block alone', () => {
    for (const block of ['Host a', 'Host * !b', 'match host a', 'Match all exec true', 'Host *\n  x y\nHost=a'])
      expect(withInclude(`${block}\n  Include ${path}\n  User b\n`, include)).toBe(
        `Include ${path}\n${block}\n  User b\n`,
      )
    for (const block of ['Host *', 'host "*"', 'Match all', 'Host a\nMatch all', '# Host a', 'HostName a'])
      expect(includeHolds(`${block}\nInclude ${path}\n`, include), block).toBe(true)
  })
  it('stands in quotes where the home has blanks', () => {
    const spaced = { path: '/home/alice b/.config/keyman/ssh_config', home: '/home/alice b' }
    expect(withInclude('', spaced)).toBe('Include "/home/alice b/.config/keyman/ssh_config"\n')
    expect(withInclude(withInclude('', spaced), spaced)).toBe(withInclude('', spaced))
    expect(withoutInclude(withInclude('Host a\n', spaced), spaced)).toBe('Host a\n')
  })
  it('goes out again whatever line ends an editor has given the file since', () => {
    const after = withInclude('Host a\n', include).replaceAll('\n', '\r\n')
    expect(withInclude(after, include)).toBe(after)
    expect(withoutInclude(after, include)).toBe('Host a\r\n')
  })
  it('names a host of the person: then the demo block is left out', () => {
    for (const own of ['Host demo', 'host a demo b', '  Host=demo', 'HOST "demo"', 'Host\tdemo\n User x'])
      expect(namesHost(own, 'demo'), own).toBe(true)
    for (const other of ['Host demo2', '# Host demo', 'HostName demo', 'Host *', ''])
      expect(namesHost(other, 'demo'), other).toBe(false)
  })

  const places = (name: string) => {
    const home = join(folder, name)
    mkdirSync(home)
    const env = { HOME: home, XDG_CONFIG_HOME: join(home, '.config') }
    return {
      home,
      run: <T>(work: (given: ReturnType<typeof folders>) => T): T => {
        const held = process.env.HOME
        process.env.HOME = home
        try {
          return work(folders(env))
        } finally {
          process.env.HOME = held
        }
      },
    }
  }
  it('is written with mode 0600 in a 0700 folder, and a file made for it goes with it', () => {
    const { home, run } = places('fresh')
    const config = join(home, '.ssh', 'config')
    run(given => {
      expect(changeInclude(given, 'install')).toBe(true)
      expect(changeInclude(given, 'install')).toBe(false)
      expect(readFileSync(config, 'utf8')).toBe(`Include ${sshFiles(given).include}\n`)
      expect([statSync(config).mode & 0o777, statSync(join(home, '.ssh')).mode & 0o777]).toEqual([0o600, 0o700])
      expect(changeInclude(given, 'remove')).toBe(true)
      expect(existsSync(config)).toBe(false)
      expect(changeInclude(given, 'remove')).toBe(false)
    })
  })
  it('leaves a file of any encoding as it was, byte for byte', () => {
    const { home, run } = places('latin1')
    const config = join(home, '.ssh', 'config')
    mkdirSync(join(home, '.ssh'))
    const before = Uint8Array.from([...'# caf', '\u00e9', '\u0000', '\u00ff', ...'\r\nHost a\n  User b'], c =>
      c.charCodeAt(0),
    )
    writeFileSync(config, before)
    run(given => {
      changeInclude(given, 'install')
      expect(readFileSync(config).subarray(-before.length)).toEqual(Buffer.from(before))
      changeInclude(given, 'remove')
      expect(readFileSync(config)).toEqual(Buffer.from(before))
    })
  })
  it('follows a link and leaves it a link; the mode stays, without write for others', () => {
    const { home, run } = places('linked')
    mkdirSync(join(home, '.ssh'))
    mkdirSync(join(home, 'dotfiles'))
    const target = join(home, 'dotfiles', 'ssh')
    writeFileSync(target, 'Host a\n')
    chmodSync(target, 0o664)
    symlinkSync(target, join(home, '.ssh', 'config'))
    run(given => {
      changeInclude(given, 'install')
      expect(readFileSync(target, 'utf8')).toContain('Include ')
      expect(statSync(target).mode & 0o777).toBe(0o644)
      changeInclude(given, 'remove')
      expect(readFileSync(target, 'utf8')).toBe('Host a\n')
      expect(readFileSync(join(home, '.ssh', 'config'), 'utf8')).toBe('Host a\n')
      rmSync(target)
      expect(() => changeInclude(given, 'install')).toThrow('is a link that leads nowhere')
    })
  })
})

describe.skipIf(!requires('ssh'))('ssh itself', () => {
  const own = 'Host *.example.net\n  User deploy\n  IdentityFile /k/deploy\nHost *\n  ServerAliveInterval 30\n'
  const evaluate = (config: string, host: string): string =>
    execFileSync('ssh', ['-G', '-F', config, host], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })

  it("sees everybody else's hosts as before, and never runs the check for them", () => {
    const ran = join(folder, 'ran')
    const check = join(folder, 'check')
    writeFileSync(check, `#!/bin/sh\necho x >> ${ran}\nexit 0\n`, { mode: 0o700 })
    const include = join(folder, 'include')
    const demo = { name: 'demo.keyman.localhost', address: '127.0.0.1', port: 2200, login: 'alice' }
    const hostsFile = join(folder, 'hosts')
    const given = input({
      check,
      refresh: check,
      hostsFile,
      demo,
      hostSuffixes: ['prod.example.com', 'keyman.localhost'],
    })
    writeTexts(include, given)
    const [before, after] = [join(folder, 'before'), join(folder, 'after')]
    writeFileSync(before, own)
    writeFileSync(after, withInclude(own, { path: include, home: folder }))
    const foreign = [
      'github.com',
      'example.com',
      'prod.example.com',
      'a.example.net',
      'demo2',
      'web1',
      'x.prod.example.com.evil.org',
    ]
    for (const host of foreign) expect(evaluate(after, host), host).toBe(evaluate(before, host))
    expect(existsSync(ran)).toBe(false)

    const ours = evaluate(after, 'db1.prod.example.com')
    expect(ours).toContain('certificatefile /run/user/1000/keyman/acme/id_ed25519-cert.pub\n')
    expect(ours).toMatch(/^hostname 192\.0\.2\.7$/m)
    expect(ours).toMatch(/^port 2222$/m)
    expect(ours).toMatch(/^hostkeyalias db1\.prod\.example\.com$/m)
    expect(ours).toMatch(/^userknownhostsfile \/home\/alice\/\.config\/keyman\/known_hosts\/acme$/m)
    // What stands after the Include still holds for our hosts too.
    expect(ours).toMatch(/^serveraliveinterval 30$/m)
    expect(evaluate(after, 'demo')).toMatch(/^user alice$/m)
    expect(existsSync(ran)).toBe(true)
  })
  it('knows a host that its script has found by this very call, and runs it for no host that it knows', () => {
    const at = (file: string) => join(folder, `new ${file}`)
    const given = input({ check: '/bin/true', refresh: at('refresh'), hostsFile: at('hosts') })
    const fresh = { name: 'new1.prod.example.com', port: 2201, address: '192.0.2.9' }
    writeFileSync(at('found'), sshHostsText({ ...given, hosts: [...given.hosts, fresh] }))
    writeFileSync(at('refresh'), `#!/bin/sh\necho ran >> '${at('ran')}'\ncp '${at('found')}' '${at('hosts')}'\n`, {
      mode: 0o700,
    })
    writeTexts(at('include'), given)
    writeFileSync(at('config'), withInclude(own, { path: at('include'), home: folder }))
    for (const known of ['web1.prod.example.com', 'db1.prod.example.com', 'github.com']) evaluate(at('config'), known)
    expect(existsSync(at('ran'))).toBe(false)
    expect(evaluate(at('config'), fresh.name)).toMatch(/^port 2201$/m)
    expect(readFileSync(at('ran'), 'utf8')).toBe('ran\n')
    expect(evaluate(at('config'), fresh.name)).toMatch(/^hostname 192\.0\.2\.9$/m)
  })
  const ours = (name: string, change: Partial<SshConfigInput>) => {
    const at = (file: string) => join(folder, `${name} ${file}`)
    return { at, given: input({ check: '/bin/true', refresh: '/bin/false', hostsFile: at('hosts'), ...change }) }
  }
  const CERTIFICATE = /^certificatefile \/run\/user\/1000\/keyman\/acme\/id_ed25519-cert\.pub$/m
  it('finds our hosts by a second pass as well: canonical names, Match final, a name behind a jump', () => {
    const { at, given } = ours('passes', {})
    writeTexts(at('include'), given)
    for (const [config, typed] of [
      ['Match final\n  Compression yes\n', 'db1.prod.example.com'],
      ['CanonicalizeHostname always\nCanonicalizeMaxDots 9\n', 'db1.prod.example.com'],
      [
        'CanonicalizeHostname yes\nCanonicalDomains prod.example.com\nCanonicalizeFallbackLocal yes\n',
        'db1.prod.example.com',
      ],
      ['Host db1*\n  ProxyJump jump.example.net\n', 'db1.prod.example.com'],
    ] as const) {
      writeFileSync(at('config'), withInclude(config, { path: at('include'), home: folder }))
      const seen = evaluate(at('config'), typed)
      expect(seen, config).toMatch(CERTIFICATE)
      expect(seen.match(/^certificatefile/gm), config).toHaveLength(1)
      expect(seen, config).toMatch(/^hostname 192\.0\.2\.7$/m)
      expect(seen, config).toMatch(/^port 2222$/m)
    }
    // A host of the person's own that leads to one of ours is one of ours from the second pass on.
    writeFileSync(
      at('config'),
      withInclude('Host mine\n  HostName web1.prod.example.com\nMatch final\n  Compression yes\n', {
        path: at('include'),
        home: folder,
      }),
    )
    expect(evaluate(at('config'), 'mine')).toMatch(CERTIFICATE)
  })
  it('finds them by an alias, in capitals, and with a dot at the end', () => {
    const aliases = [
      { alias: 'd1', host: 'db1.prod.example.com' },
      { alias: '192.0.2.8', host: 'db1.prod.example.com' },
    ]
    const { at, given } = ours('typed', { aliases })
    const [web1, db1, v6] = given.hosts
    if (!web1 || !db1 || !v6) throw new Error('three hosts')
    const listed = { ...db1, aliases: ['www.prod.example.com'] }
    writeTexts(at('include'), { ...given, hosts: [web1, listed, v6] })
    writeFileSync(at('config'), withInclude(own, { path: at('include'), home: folder }))
    for (const typed of [
      'www.prod.example.com',
      'WWW.prod.example.com.',
      'd1',
      'D1',
      '192.0.2.8',
      'db1.prod.example.com.',
      'DB1.PROD.EXAMPLE.COM',
      'Db1.prod.example.com',
      'DB1.prod.example.com',
    ]) {
      const seen = evaluate(at('config'), typed)
      expect(seen, typed).toMatch(CERTIFICATE)
      expect(seen, typed).toMatch(/^hostkeyalias db1\.prod\.example\.com$/m)
      expect(seen, typed).toMatch(typed === '192.0.2.8' ? /^hostname 192\.0\.2\.8$/m : /^hostname 192\.0\.2\.7$/m)
      expect(seen, typed).toMatch(/^port 2222$/m)
    }
    for (const other of ['d2', 'w1', '192.0.2.9', 'github.com'])
      expect(evaluate(at('config'), other), other).not.toMatch(CERTIFICATE)
  })
  it("offers nothing of one organisation to another's host, though its address be a name of the first", () => {
    const address = 'web1.prod.example.com'
    const acme = ours('acme', {}).given
    const { at, given: evil } = ours('evil', {
      organisation: 'evil',
      hostSuffixes: ['hosts.evil.org'],
      hosts: [{ name: 'a.hosts.evil.org', address }],
      identityFile: '/run/evil',
      certificateFile: '/run/evil-cert.pub',
      foreignSuffixes: acme.hostSuffixes,
    })
    const see = (...given: SshConfigInput[]) => {
      writeTexts(at('include'), ...given)
      const config = 'Match final\n  Compression yes\n'
      writeFileSync(at('config'), withInclude(config, { path: at('include'), home: folder }))
      return evaluate(at('config'), 'a.hosts.evil.org')
    }
    for (const order of [
      [acme, evil],
      [evil, acme],
    ])
      expect(see(...order)).not.toMatch(CERTIFICATE)
    expect(see(evil)).toMatch(/^certificatefile \/run\/evil-cert\.pub$/m)
    expect(see(acme, { ...evil, foreignSuffixes: [] })).toMatch(CERTIFICATE)
  })
  it('reads the plain file too, which says everything of each host without a Match', () => {
    const { at, given } = ours('plain', {
      hosts: [{ name: 'db1.prod.example.com', port: 2222, address: '192.0.2.7', logins: ['deploy'] }],
      aliases: [{ alias: 'd1', host: 'db1.prod.example.com' }],
    })
    const text = sshPlainText(given, 'alice')
    expect(text).not.toMatch(/^\s*(Match|Include)|known_hosts2/m)
    writeFileSync(at('config'), text)
    const seen = evaluate(at('config'), 'd1')
    for (const line of [
      'hostname 192.0.2.7',
      'port 2222',
      'user deploy',
      'identityfile /run/user/1000/keyman/acme/id_ed25519',
      'certificatefile /run/user/1000/keyman/acme/id_ed25519-cert.pub',
      'userknownhostsfile /home/alice/.config/keyman/known_hosts/acme',
      'hostkeyalias db1.prod.example.com',
    ])
      expect(seen).toContain(`${line}\n`)
    // The key is no file where an agent has it.
    expect(sshPlainText({ ...given, identityAgent: '/run/agent' }, 'alice')).not.toContain('IdentityFile')
    const several = { ...given, hosts: [{ name: 'db1.prod.example.com', logins: ['alice', 'root'] }] }
    expect(sshPlainText(several, 'alice')).toContain('  User alice\n')
    expect(sshPlainText(several, 'bob')).not.toContain('User ')
  })
  it("keeps the person's own keys where the check says no, and still knows the host's authority", () => {
    const include = join(folder, 'include-no')
    writeTexts(include, input({ check: '/bin/false', hostsFile: join(folder, 'hosts-no') }))
    const config = join(folder, 'config-no')
    writeFileSync(config, withInclude(own, { path: include, home: folder }))
    const seen = evaluate(config, 'web1.prod.example.com')
    expect(seen).not.toContain('certificatefile')
    expect(seen).not.toContain('/keyman/acme/id_ed25519')
    expect(seen).toMatch(/^userknownhostsfile \/home\/alice\/\.config\/keyman\/known_hosts\/acme$/m)
  })
})

/** What `Match exec` runs goes through the person's own shell. */
const shells = ['/bin/sh', '/bin/bash', '/usr/bin/zsh', '/usr/bin/fish', '/bin/tcsh'].filter(existsSync)
describe.skipIf(!requires('ssh', 'sshd'))('a home with blanks', () => {
  const name = 'web1.prod.example.com'
  const lay = () => {
    const home = mkdtempSync(join(folder, 'Alice & Bob, (home) '))
    const at = (file: string) => join(home, file)
    const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: 'ignore' })
    for (const key of ['authority', 'id_ed25519']) run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', at(key))
    run('ssh-keygen', '-q', '-s', at('authority'), '-I', 'x', '-n', ownLogin(), at('id_ed25519.pub'))
    writeFileSync(at('check script'), `#!/bin/sh\necho ran >> '${at('ran')}'\n`, { mode: 0o700 })
    return { home, at, run }
  }
  const write = ({ home, at }: ReturnType<typeof lay>, port: number) => {
    const given = input({
      hosts: [{ name, address: '127.0.0.1', port }],
      check: at('check script'),
      refresh: at('check script'),
      hostsFile: at('hosts, ours'),
      identityFile: at('id_ed25519'),
      certificateFile: at('id_ed25519-cert.pub'),
      knownHostsFile: at('known hosts'),
      revokedHostsFile: at('revoked hosts'),
    })
    ensureRevokedHosts(at('revoked hosts'))
    writeTexts(at('ssh config'), given)
    writeFileSync(at('known hosts'), knownHostsText([readFileSync(at('authority.pub'), 'utf8').trim()], given))
    writeFileSync(at('config'), withInclude('', { path: at('ssh config'), home }))
  }

  it.each(shells)('is read by ssh as it stands, and the check runs by %s', shell => {
    const laid = lay()
    write(laid, 2200)
    const seen = execFileSync('ssh', ['-G', '-F', laid.at('config'), name], {
      encoding: 'utf8',
      env: { ...process.env, SHELL: shell },
    })
    expect(seen).toContain(`identityfile ${laid.at('id_ed25519')}\n`)
    expect(seen).toContain(`certificatefile ${laid.at('id_ed25519-cert.pub')}\n`)
    expect(seen).toContain(`userknownhostsfile ${laid.at('known hosts')}\n`)
    expect(readFileSync(laid.at('ran'), 'utf8')).toBe('ran\n')
  })
  it('logs in, and knows the host by its authority', async () => {
    const laid = lay()
    const sshd = await newSshd(own => [`TrustedUserCAKeys ${own}/ca.pub`, `HostCertificate ${own}/host-cert.pub`])
    try {
      copyFileSync(laid.at('authority.pub'), join(sshd.folder, 'ca.pub'))
      copyFileSync(`${sshd.hostKey}.pub`, join(sshd.folder, 'host.pub'))
      laid.run(
        'ssh-keygen',
        '-q',
        '-s',
        laid.at('authority'),
        '-h',
        '-I',
        'h',
        '-n',
        name,
        join(sshd.folder, 'host.pub'),
      )
      await sshd.start()
      write(laid, sshd.port)
      const options = ['BatchMode=yes', 'StrictHostKeyChecking=yes', 'IdentityAgent=none'].flatMap(each => ['-o', each])
      const said = execFileSync('ssh', ['-F', laid.at('config'), ...options, name, 'echo in'], { encoding: 'utf8' })
      expect(said).toBe('in\n')
    } finally {
      await sshd.close()
    }
  })
})

describe.each(['/bin/sh', '/bin/bash'].filter(existsSync))('the check script under %s', shell => {
  const now = Math.floor(Date.now() / 1000)
  let script: string
  let log: string
  let key: string
  let where: (key: Parameters<typeof checkScript>[0]['key']) => void
  beforeAll(() => {
    const home = mkdtempSync(join(folder, 'check-'))
    log = join(home, 'log')
    const keyman = join(home, 'keyman')
    // Stands for the launcher: says with what it was called, and that the certificate is no good.
    writeFileSync(keyman, `#!/bin/sh\necho "$*" >> '${log}'\nexit 3\n`, { mode: 0o700 })
    script = join(home, 'check')
    key = join(home, 'key')
    writeFileSync(key, '')
    const given = { validUntil: join(home, 'valid-until'), keyman, organisation: 'acme' }
    where = key => writeFileSync(script, checkScript({ ...given, key }))
    where({ file: key })
  })
  const run = (validUntil: string | undefined) => {
    const path = join(script, '..', 'valid-until')
    rmSync(log, { force: true })
    if (validUntil === undefined) rmSync(path, { force: true })
    else writeFileSync(path, validUntil)
    const { status, stderr } = spawnSync(shell, [script], { encoding: 'utf8' })
    return { status, stderr, called: existsSync(log) ? readFileSync(log, 'utf8') : '' }
  }
  it('says yes without starting Node while enough time is left', () => {
    expect(run(`${now + 600}\n${now + 1200}\n`)).toEqual({ status: 0, stderr: '', called: '' })
  })
  it('asks keyman where nothing is left, and where there is no session', () => {
    const asked = { status: 3, stderr: '', called: 'ssh check --context acme\n' }
    expect(run(`${now - 600}\n${now - 1}\n`)).toEqual(asked)
    expect(run('0\n0\n')).toEqual(asked)
    expect(run(undefined)).toEqual(asked)
    expect(run('')).toEqual(asked)
  })
  it('asks keyman where the key is gone, though enough time is left', () => {
    rmSync(key)
    expect(run(`${now + 600}\n${now + 1200}\n`)).toEqual({
      status: 3,
      stderr: '',
      called: 'ssh check --context acme\n',
    })
    writeFileSync(key, '')
  })
  it('asks an agent that is to have the key whether it has, and keyman where it has not or is gone', async () => {
    const valid = `${now + 600}\n${now + 1200}\n`
    const asked = { status: 3, stderr: '', called: 'ssh check --context acme\n' }
    const socket = join(script, '..', 'agent')
    const agent = await startSshAgent(socket)
    const { ssh } = makeLoginKeys('keyman:acme')
    where({ agent: socket, publicKey: ssh.line.split(' ')[1] ?? '' })
    expect(run(valid)).toEqual(asked)
    await addToAgent(socket, { ...ssh, lifetime: 60 })
    expect(run(valid)).toEqual({ status: 0, stderr: '', called: '' })
    agent.kill()
    await once(agent, 'exit')
    expect(run(valid)).toEqual(asked)
    where({ file: key })
  })
  it('says yes while little is left, and renews behind ssh', async () => {
    expect(run(`${now - 600}\n${now + 600}\n`)).toMatchObject({ status: 0, stderr: '' })
    await expect.poll(() => existsSync(log) && readFileSync(log, 'utf8')).toBe('ssh renew --if-due --context acme\n')
  })
})
