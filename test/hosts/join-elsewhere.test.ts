import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { parseHostName } from '#shared/names.ts'
import { AGENT } from '#test/support/programs/programs.ts'
import { newSshd, type TestSshd } from '#test/support/programs/sshd.ts'
import { isRoot, pathOf, requires } from '#test/support/requires.ts'
import { type HostsServer, startHostsServer } from '#test/support/worlds/hosts-server.ts'

const NAME = parseHostName('web1.keyman.localhost', 'name')
/** /run as it is after a start of the machine, in a namespace of mounts: sshd's folder there is missing. */
const EMPTY_RUN = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /run && "$@" && ls -ld /run/sshd >&2', 'sh']

describe.skipIf(!requires('sshd'))('on a host that somebody else configured, join', () => {
  let server: HostsServer
  let sshd: TestSshd
  let token: string
  beforeAll(async () => {
    server = await startHostsServer()
  })
  afterAll(() => server?.close())
  beforeEach(async () => {
    sshd = await newSshd(folder => [`Include ${folder}/sshd/keyman.conf`])
    const added = await server.services.hosts.add({ name: NAME, labels: {}, port: 22, tokenLifetime: 600 }, server.by())
    token = added.token
  })
  afterEach(async () => {
    await server.services.hosts.remove(NAME, server.by())
    await sshd.close()
  })

  const joining = (flags: readonly string[] = [], around: readonly string[] = []) =>
    new Promise<{ code: number | null; err: string }>(resolve => {
      const reload = flags.includes('--reload') ? [] : ['--pid-file', sshd.pidFile]
      const machine = [
        ...['--state-folder', join(sshd.folder, 'state'), '--sshd', pathOf('sshd'), '--sshd-config', sshd.configFile],
        ...['--sshd-folder', join(sshd.folder, 'sshd'), '--host-key', `${sshd.hostKey}.pub`, ...reload, ...flags],
      ]
      const [program = '', ...args] = [...around, process.execPath, AGENT, 'join', '--token-file', '-', ...machine]
      const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'] })
      let err = ''
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        err += text
      })
      child.once('close', code => resolve({ code, err }))
      child.stdin.end(token)
    })
  const state = async () => (await server.services.hosts.show(NAME)).state
  /** Refused before the token was used: once it is mended, the same token joins. */
  const refused = async (message: string | RegExp, flags: readonly string[] = []) => {
    const { code, err } = await joining(flags)
    expect(err).toMatch(message)
    expect(code).not.toBe(0)
    expect(await state()).toBe('invited')
    expect(existsSync(join(sshd.folder, 'sshd', 'keyman.conf'))).toBe(false)
  }
  const joined = async (flags: readonly string[] = []) => {
    const { code, err } = await joining(flags)
    expect([code, code === 0 ? '' : err]).toEqual([0, ''])
    return err
  }
  const add = (line: string) => writeFileSync(sshd.configFile, `${readFileSync(sshd.configFile, 'utf8')}${line}\n`)

  it('says which Include is missing before the token is used, and joins once it is there', async () => {
    const whole = readFileSync(sshd.configFile, 'utf8')
    writeFileSync(sshd.configFile, whole.replace(/^Include.*\n/, ''))
    const dropIn = join(sshd.folder, 'sshd', 'keyman.conf')
    await refused(`sed -i '1i Include ${dropIn}' ${sshd.configFile}`)
    const lacking = readFileSync(sshd.configFile, 'utf8')
    // In a block it would be read for some connections only, or not at all.
    for (const block of ['Match User git', 'Match all']) {
      add(`${block}\nInclude ${dropIn}`)
      await refused(`an Include in "${block}" names it`)
      writeFileSync(sshd.configFile, lacking)
    }
    execFileSync('sed', ['-i', `1i Include ${dropIn}`, sshd.configFile])
    await joined()
  })

  it('makes the folder of drop-ins that sshd would look into, where there is none', async () => {
    const folder = join(sshd.folder, 'sshd_config.d')
    writeFileSync(
      sshd.configFile,
      readFileSync(sshd.configFile, 'utf8').replace(/^Include.*$/m, `Include ${folder}/*.conf`),
    )
    await joined(['--drop-in', join(folder, 'keyman.conf')])
    expect(statSync(folder).mode & 0o777).toBe(0o755)
  })

  it('leaves a host key alone that is too weak, beside good ones, and says so', async () => {
    const weak = join(sshd.folder, 'ssh_host_rsa_key')
    execFileSync('ssh-keygen', ['-q', '-t', 'rsa', '-b', '2048', '-N', '', '-f', weak])
    const before = readFileSync(`${weak}.pub`, 'utf8')
    const said = await joined(['--host-key', `${weak}.pub`])
    expect(said).toMatch(/ssh_host_rsa_key.pub gets no certificate, and is left as it is: .*2048/)
    expect(readFileSync(`${weak}.pub`, 'utf8')).toBe(before)
    const { hostKeys } = JSON.parse(readFileSync(join(sshd.folder, 'state', 'agent.json'), 'utf8'))
    expect(hostKeys).toEqual([`${sshd.hostKey}.pub`])
  })

  it.each([
    [
      'that takes no authority of its kind',
      'CASignatureAlgorithms rsa-sha2-512',
      /CASignatureAlgorithms .*ssh-ed25519/,
    ],
    [
      'that takes no key of a person',
      'PubkeyAcceptedAlgorithms sk-ssh-ed25519@openssh.com',
      /PubkeyAcceptedAlgorithms/,
    ],
  ])('stops at an sshd %s before the token is used', async (_, line, message) => {
    const before = readFileSync(sshd.configFile, 'utf8')
    add(line)
    await refused(message)
    writeFileSync(sshd.configFile, before)
    await joined()
  })

  it('tries how sshd is told to read its configuration before the token is used', async () => {
    await refused(/\/bin\/false fails/, ['--reload', '/bin/false'])
    await joined(['--reload', '/bin/true'])
  })

  it('says of another authority that it counts no more, and what goes on letting in', async () => {
    const key = readFileSync(`${sshd.hostKey}.pub`, 'utf8')
    mkdirSync(join(sshd.folder, 'keys'))
    writeFileSync(join(sshd.folder, 'other_ca.pub'), key)
    writeFileSync(join(sshd.folder, 'keys', 'root'), key)
    add(`TrustedUserCAKeys ${sshd.folder}/other_ca.pub\nAuthorizedKeysFile ${sshd.folder}/keys/%u\nPermitRootLogin yes`)
    const said = await joined()
    expect(said).toMatch(/"TrustedUserCAKeys .*other_ca.pub" .* counts no more/)
    expect(said).toMatch(/1 plain key of .* still let in as root/)
  })

  it.skipIf(!isRoot)("makes sshd's folder below /run where it is missing, as sshd's own package does", async () => {
    const { code, err } = await joining([], EMPTY_RUN)
    expect([code, err]).toEqual([0, expect.stringMatching(/^drwxr-xr-x .* root root .* \/run\/sshd$/m)])
  })
})
