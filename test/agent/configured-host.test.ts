import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { doctor } from '#agent/commands/doctor.ts'
import { Keeper } from '#agent/keeper/keeper.ts'
import { type Found, findAround } from '#agent/sshd/findings.ts'
import { type Homes, openHomes } from '#agent/sshd/homes.ts'
import { lookAround } from '#agent/sshd/look-around.ts'
import { MAX_FINDINGS, MAX_FINDINGS_BYTES } from '#shared/api/fields.ts'
import { type ConfiguredHost, configuredHost } from '#test/support/configured-host.ts'
import { newUnixUser, ownLogin, type TestSshd } from '#test/support/programs/sshd.ts'
import { isRoot, requires } from '#test/support/requires.ts'

/** Lines of somebody else that keep a person out whom a grant lets in, and what the host says of them. */
const KEEPS_OUT: readonly (readonly [string, (login: string, group: string) => string, string | RegExp])[] = [
  ['AllowUsers that name others', () => 'AllowUsers somebody else', 'is not among AllowUsers'],
  ['DenyUsers, by a pattern', login => `DenyUsers ${login.slice(0, -1)}?`, /is shut out by DenyUsers .*\?/],
  [
    'AllowUsers from elsewhere only',
    login => `AllowUsers ${login}@192.0.2.7`,
    /from some addresses only, by AllowUsers/,
  ],
  ['AllowGroups that it is in none of', () => 'AllowGroups nosuch*', 'is in none of the groups of AllowGroups'],
  ['DenyGroups', (_, group) => `DenyGroups ${group}`, /is in a group that DenyGroups .* shuts out/],
  ['a block for this login', login => `Match User ${login}\n  PubkeyAuthentication no`, /by PubkeyAuthentication no/],
  [
    'a second factor',
    login => `Match User ${login}\n  PasswordAuthentication yes\n  AuthenticationMethods publickey,password`,
    /asks for more than a certificate, by AuthenticationMethods publickey,password/,
  ],
  [
    'a block for some addresses',
    () => 'Match Address 127.0.0.0/8\n  AllowUsers somebody',
    /for some connections "AllowUsers somebody" .* cannot be vouched for/,
  ],
  [
    'a list of key algorithms without Ed25519',
    () => 'PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com',
    /takes no Ed25519 keys: keyman login --key-type ecdsa-p256 or --key-type rsa-3072/,
  ],
  [
    "a list of authorities' algorithms without ours",
    () => 'CASignatureAlgorithms rsa-sha2-512',
    /nobody gets in by KeyMan: CASignatureAlgorithms .*ssh-ed25519/,
  ],
]

describe.skipIf(!requires('sshd'))('a host that somebody else configured', () => {
  let user: ReturnType<typeof newUnixUser> | undefined
  let login: string
  let group: string
  let host: ConfiguredHost | undefined
  beforeAll(() => {
    user = isRoot ? newUnixUser() : undefined
    login = user?.name ?? ownLogin()
    group = execFileSync('id', ['-gn', login], { encoding: 'utf8' }).trim()
  })
  afterAll(() => user?.remove())
  afterEach(() => host?.sshd.close())

  /** What it says of this login or of everybody: other accounts of this machine are none of this test's. */
  const said = async ({ found }: ConfiguredHost) => (await found()).filter(text => text.startsWith('narrows'))
  const start = async (theirs: (of: Pick<TestSshd, 'folder' | 'hostKey'>) => readonly string[]) => {
    host = await configuredHost(login, theirs)
    return host
  }

  it('and nothing in its way says nothing of it', async () => {
    const plain = await start(() => [`AllowUsers ${login}`, `AllowGroups ${group} nosuch`, 'DenyUsers somebody'])
    expect(await said(plain)).toEqual([])
    expect(await plain.login()).toBe(0)
    expect((await doctor(plain.agent)).filter(({ name }) => name === 'everybody with a grant gets in')).toEqual([])
  })

  it.each(KEEPS_OUT)('says with "in force", and by doctor, that %s keeps people out', async (_, lines, message) => {
    const kept = await start(() => [lines(login, group)])
    expect(kept.word).toMatchObject({ type: 'in-force', revision: 1 })
    expect(await kept.login()).toBe(255)
    expect(await said(kept)).toEqual([expect.stringMatching(message)])
    expect(await doctor(kept.agent)).toContainEqual({
      name: 'everybody with a grant gets in',
      ok: false,
      message: expect.stringMatching(message),
    })
  })

  it.skipIf(!isRoot).each([
    ['locked', ['usermod', '-L'], ['usermod', '-U'], /is locked, and without PAM/],
    ['past its last day', ['chage', '-E', '2020-01-01'], ['chage', '-E', '-1'], 'has ended on 2020-01-01'],
    [
      'without a shell',
      ['usermod', '-s', '/nowhere'],
      ['usermod', '-s', '/bin/sh'],
      /"\/nowhere", which is no program/,
    ],
  ])('says of an account that is %s that nobody gets in, and no more once it is mended', async (...row) => {
    const [, spoil, mend, message] = row
    // A locked entry has to hold a password: '*' alone cannot be unlocked.
    if (user) execFileSync('usermod', ['-p', '$6$x$y', user.name])
    const kept = await start(() => [])
    expect(await kept.login()).toBe(0)
    execFileSync(spoil[0] ?? '', [...spoil.slice(1), login])
    expect(await said(kept)).toEqual([expect.stringMatching(message)])
    expect(await kept.login()).toBe(255)
    execFileSync(mend[0] ?? '', [...mend.slice(1), login])
    expect(await said(kept)).toEqual([])
    expect(await kept.login()).toBe(0)
  })

  it('says of a login that it has no account for that nobody gets in as it', async () => {
    host = await configuredHost('nobody.there', () => [])
    expect(await said(host)).toEqual(['narrows: there is no Unix account nobody.there here: nobody gets in as it'])
  })

  it('tells plain keys that still let in, by count and fingerprint and never what stands there', async () => {
    const keys = await start(({ folder }) => [`AuthorizedKeysFile ${folder}/keys/%u`])
    const { folder } = keys.sshd
    mkdirSync(join(folder, 'keys'))
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'of a colleague', '-f', join(folder, 'plain')])
    const line = execFileSync('cat', [join(folder, 'plain.pub')], { encoding: 'utf8' })
    const [, fingerprint] = execFileSync('ssh-keygen', ['-lf', join(folder, 'plain.pub')], { encoding: 'utf8' }).split(
      ' ',
    )
    expect(await keys.found()).not.toContainEqual(expect.stringContaining(`still let in as ${login}`))
    const file = join(folder, 'keys', login)
    writeFileSync(file, `# ours\n${line}command="echo \\"a b\\"",no-pty ${line}`)
    appendFileSync(file, `cert-authority,principals="a,b" ${line}not a key\n`)
    await keys.found()
    const word = await keys.keeper.take({ type: 'current', revision: 1 })
    if (word?.type !== 'in-force') throw new Error('not in force')
    expect(word.findings?.filter(finding => finding.login === login)).toEqual([
      {
        about: 'lets-in',
        login,
        message: expect.stringMatching(/^3 plain keys of .*, of which authorities 1, still let in as/),
        fingerprints: [fingerprint, fingerprint, fingerprint],
      },
    ])
    expect(JSON.stringify(word)).not.toContain('colleague')
    expect(await doctor(keys.agent)).toContainEqual({
      name: 'who gets in beside KeyMan',
      ok: true,
      note: true,
      message: expect.stringContaining(`${fingerprint}`),
    })
  })

  it('looks again where something changes while it is looked at', async () => {
    const keys = await start(({ folder }) => [`AuthorizedKeysFile ${folder}/%u.keys`])
    const file = join(keys.sshd.folder, `${login}.keys`)
    const line = readFileSync(`${keys.sshd.hostKey}.pub`, 'utf8')
    const homes = openHomes()
    const whileReading: Homes = {
      silent: false,
      ask: (path, look) =>
        homes.ask(path, async () => {
          const seen = await look()
          // A text is what the keys are read as; a second key comes as soon as the first has been read.
          if (path === file && typeof seen === 'string') appendFileSync(file, line)
          return seen
        }),
    }
    const count = ({ findings }: Found) => findings.find(finding => finding.login === login)?.message.split(' of ')[0]
    writeFileSync(file, line)
    const first = await findAround(keys.agent.config, new Date(), whileReading)
    expect(count(first)).toBe('1 plain key')
    const second = await findAround(keys.agent.config, new Date(), homes, first)
    expect(count(second)).toBe('2 plain keys')
    expect(await findAround(keys.agent.config, new Date(), homes, second)).toBe(second)
  })

  it('looks again where a file of keys comes to be as soon as it was seen that there is none, and asks of each but once', async () => {
    const keys = await start(({ folder }) => [`AuthorizedKeysFile ${folder}/%u.keys`])
    // Of a login that no grant names: it is asked about where it has keys.
    const file = join(keys.sshd.folder, 'root.keys')
    const homes = openHomes()
    let asked = 0
    const whileLooking: Homes = {
      silent: false,
      ask: async (path, look) => {
        const seen = await homes.ask(path, look)
        if (path === file && asked++ === 0) writeFileSync(file, readFileSync(`${keys.sshd.hostKey}.pub`))
        return seen
      },
    }
    const ofRoot = ({ findings }: Found) => findings.filter(finding => finding.login === 'root').length
    const first = await findAround(keys.agent.config, new Date(), whileLooking)
    expect([ofRoot(first), asked]).toEqual([0, 1])
    expect(ofRoot(await findAround(keys.agent.config, new Date(), homes, first))).toBe(1)
  })

  it('still says what it found where the look by the hour does not come to an end', async () => {
    const kept = await start(() => ['AllowUsers somebody'])
    const broken = join(kept.sshd.folder, 'broken')
    const sshd = join(kept.sshd.folder, 'mortal-sshd')
    const { config } = kept.agent
    // What it kills is the process that looks, which alone asks while it is broken.
    writeFileSync(sshd, `#!/bin/sh\n[ -e ${broken} ] && kill -9 $PPID\nexec ${config.sshd} "$@"\n`, { mode: 0o755 })
    const keeper = new Keeper({ ...kept.agent, config: { ...config, sshd } })
    const found = async () => {
      const word = await keeper.take({ type: 'current', revision: 1 }, { whole: true })
      return word?.type === 'in-force' ? (word.findings ?? []) : []
    }
    const known = await found()
    expect(known).toContainEqual(expect.objectContaining({ about: 'narrows', login }))
    writeFileSync(broken, '')
    await keeper.lookAround({ always: true })
    rmSync(broken)
    const remark = 'what else decides who gets in could not be looked at: it ended without an answer'
    expect(await found()).toEqual([...known, { about: 'remark', message: remark }])
    await keeper.lookAround({ always: true })
    expect(await found()).toEqual(known)
  })

  it.each([
    ['for some addresses', 'Match Address 127.0.0.0/8'],
    ['for a port', 'Match LocalPort 2222'],
    ['for an account from an address', 'Match User * Address 127.0.0.0/8'],
  ])('tells what lets plain keys in %s alone: the block, and the keys that are there', async (_, block) => {
    const some = await start(({ folder }) => [
      'AuthorizedKeysFile none',
      `${block}\n  AuthorizedKeysFile ${folder}/%u.keys\n  AuthorizedKeysCommand /bin/nothing %u\n  AuthorizedKeysCommandUser nobody`,
    ])
    const lets = async () => (await some.found()).filter(text => text.startsWith('lets-in'))
    const blocks = [
      expect.stringMatching(/^lets-in: plain keys are let in beside KeyMan by "AuthorizedKeysCommand .*, in "Match /),
      expect.stringMatching(/^lets-in: for some connections plain keys .* by "AuthorizedKeysFile .*, in "Match /),
    ]
    expect(await lets()).toEqual(blocks)
    writeFileSync(join(some.sshd.folder, `${login}.keys`), execFileSync('cat', [`${some.sshd.hostKey}.pub`]))
    expect(await lets()).toEqual([
      ...blocks,
      expect.stringMatching(`^lets-in: 1 plain key of .* still let in as ${login}, for some connections: `),
    ])
  })

  it('says what is in force whatever an account puts in the place of its keys: a link to itself, a pipe, a file too long', async () => {
    const keys = await start(({ folder }) => [
      `AuthorizedKeysFile ${folder}/%u.link ${folder}/%u.pipe ${folder}/%u.long`,
    ])
    const file = (name: string) => join(keys.sshd.folder, `${login}.${name}`)
    symlinkSync(file('link'), file('link'))
    execFileSync('mkfifo', [file('pipe')])
    writeFileSync(file('long'), execFileSync('cat', [`${keys.sshd.hostKey}.pub`]))
    const about = async () => (await keys.found()).filter(text => text.includes(login))
    expect(await about()).toContainEqual(expect.stringMatching(/^lets-in: 1 plain key of /))
    writeFileSync(file('long'), 'x'.repeat(1024 * 1024 + 1))
    expect(await about()).toEqual([
      expect.stringMatching(/^remark: .* could not be read: ELOOP/),
      expect.stringMatching(/^remark: .* could not be read: it has more than 1048576 bytes/),
    ])
  })

  it('tells no plain keys of an account that sshd lets nobody in as', async () => {
    const keys = await start(({ folder }) => [`AuthorizedKeysFile ${folder}/keys`, 'AllowUsers somebody'])
    writeFileSync(join(keys.sshd.folder, 'keys'), execFileSync('cat', [`${keys.sshd.hostKey}.pub`]))
    expect((await keys.found()).filter(text => text.startsWith('lets-in'))).toEqual([])
  })

  it.each([
    ['one, where no block tells accounts apart', () => '', 1],
    [
      'one more for each that has a grant or a file of keys, where one does',
      () => 'Match User nobody\n  X11Forwarding no',
      2,
    ],
  ])('asks sshd about all accounts by few questions: %s', async (_, lines, questions) => {
    const many = await start(({ folder }) => [`AuthorizedKeysFile ${folder}/none/%u`, lines()])
    const asked = join(many.sshd.folder, 'asked')
    const counting = join(many.sshd.folder, 'counting-sshd')
    writeFileSync(counting, `#!/bin/sh\necho >> ${asked}\nexec ${many.agent.config.sshd} "$@"\n`, { mode: 0o755 })
    await lookAround({ ...many.agent.config, sshd: counting }, new Date()).found
    expect(readFileSync(asked, 'utf8').length).toBe(questions)
  })

  it('says as much as one message to the server holds, what keeps people out first, and how much more there is', async () => {
    const long = 'x'.repeat(150)
    const blocks = Array.from({ length: 100 }, (_, i) => `Match LocalPort ${60_000 + i}\n  AllowUsers ${long}`)
    const many = await start(() => [blocks.join('\n')])
    await many.found()
    const word = await many.keeper.take({ type: 'current', revision: 1 })
    const findings = word?.type === 'in-force' ? (word.findings ?? []) : []
    expect(findings.at(-1)).toMatchObject({
      about: 'remark',
      message: expect.stringMatching(/^and \d+ more: keyman-agent doctor$/),
    })
    expect(findings.length).toBeLessThanOrEqual(MAX_FINDINGS)
    expect(JSON.stringify(findings).length).toBeLessThanOrEqual(MAX_FINDINGS_BYTES)
    expect(findings.slice(0, -1).every(({ about }) => about === 'narrows')).toBe(true)
  })

  it('leaves a host key alone that is too weak for a certificate, beside those that have one, and says so', async () => {
    const weak = await start(({ folder, hostKey }) => {
      execFileSync('ssh-keygen', ['-q', '-t', 'rsa', '-b', '2048', '-N', '', '-f', join(folder, 'weak')])
      return [`HostKey ${folder}/weak`, `# beside ${hostKey}`]
    })
    expect(await weak.found()).toContainEqual(
      expect.stringMatching(/^remark: the host key .*weak has no certificate, .*3072/),
    )
    expect(await weak.login()).toBe(0)
  })
})
