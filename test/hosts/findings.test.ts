import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { api } from '#shared/api/index.ts'
import { type ApiPerson, confirm, enrol, page } from '#test/support/people/api-person.ts'
import { type Laptop, openLaptop } from '#test/support/people/laptop.ts'
import { AGENT } from '#test/support/programs/programs.ts'
import { type ServerProcess, startServerProcess } from '#test/support/programs/server-process.ts'
import { newSshd, newUnixUser, type TestSshd } from '#test/support/programs/sshd.ts'
import { isRoot, pathOf, requires } from '#test/support/requires.ts'

const NAME = 'web1.keyman.localhost'

/** As a policy without Ed25519 for certificates has it. */
const ALGORITHMS =
  'PubkeyAcceptedAlgorithms ssh-ed25519,ecdsa-sha2-nistp256-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com'

/** From the real sshd by the real agent to the real server and program: who asks is told what the host's own configuration does. */
describe.skipIf(!requires('ssh', 'sshd') || !isRoot)("what a host's own configuration says (root only)", () => {
  let server: ServerProcess
  let laptop: Laptop
  let sshd: TestSshd
  let user: ReturnType<typeof newUnixUser>
  let alice: ApiPerson
  let fingerprint: string

  const signIn = (...args: string[]) =>
    laptop.keyman(['login', '--yes', '--ssh-config', 'no', ...args], async url => {
      const params = { transaction: new URL(url).pathname.split('/').at(-1) ?? '' }
      const { options } = await page(server, api.login.consentOptions, { params })
      const body = { assertion: alice.authenticator.get(options) }
      await fetch((await page(server, api.login.consent, { params, body })).redirectTo ?? '')
    })

  beforeAll(async () => {
    server = await startServerProcess({ env: { KEYMAN_LIMITS_ASSERTIONS_PER_MINUTE: '1000' } })
    laptop = await openLaptop(server.folder, server.env)
    alice = await enrol(server, server.ownerLink(), 'alice@example.com')
    expect((await signIn()).code).toBe(0)
    laptop.sitting = url => confirm(server, alice, new URL(url).pathname.split('/').at(-1) ?? '')
    expect((await laptop.keyman(['admin', '--for', '1h'])).code).toBe(0)
    user = newUnixUser()
    sshd = await newSshd(folder => [`Include ${folder}/sshd/keyman.conf`])
    const keys = join(sshd.folder, 'keys')
    mkdirSync(keys)
    writeFileSync(join(keys, user.name), readFileSync(`${sshd.hostKey}.pub`))
    fingerprint = execFileSync('ssh-keygen', ['-lf', `${sshd.hostKey}.pub`], { encoding: 'utf8' }).split(' ')[1] ?? ''
    const theirs = `AuthorizedKeysFile ${keys}/%u\nDenyUsers nobody\nAllowUsers ${user.name}\n${ALGORITHMS}\n`
    writeFileSync(sshd.configFile, readFileSync(sshd.configFile, 'utf8') + theirs)
    const token = (await laptop.keyman(['host', 'add', NAME, '--address', '127.0.0.1', '--port', String(sshd.port)]))
      .stdout
    for (const login of [user.name, 'nobody'])
      expect((await laptop.keyman(['grant', 'add', 'alice@example.com', login, '--host', NAME])).code).toBe(0)
    const machine = [
      ...['--state-folder', join(sshd.folder, 'state'), '--sshd', pathOf('sshd'), '--sshd-config', sshd.configFile],
      ...['--sshd-folder', join(sshd.folder, 'sshd'), '--host-key', `${sshd.hostKey}.pub`, '--pid-file', sshd.pidFile],
    ]
    const joined = await new Promise<{ code: number | null; err: string }>(resolve => {
      const child = spawn(process.execPath, [AGENT, 'join', '--token-file', '-', ...machine], {
        stdio: ['pipe', 'ignore', 'pipe'],
      })
      let err = ''
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        err += text
      })
      child.once('close', code => resolve({ code, err }))
      child.stdin.end(token)
    })
    expect(joined).toMatchObject({ code: 0, err: expect.stringContaining('1 plain key of') })
  })
  afterAll(async () => {
    await laptop?.close()
    await server?.close()
    await sshd?.close()
    user?.remove()
  })

  it('stands in host show, keys by their fingerprints alone, and in host list', async () => {
    const { stdout } = await laptop.keyman(['host', 'show', NAME])
    expect(stdout).toContain('  keeps out  nobody is shut out by DenyUsers nobody\n')
    expect(stdout).toContain('  keeps out  nobody is not among AllowUsers\n')
    expect(stdout).toMatch(/ {2}lets in {4}1 plain key of .* still let in as /)
    expect(stdout).toContain(`             ${fingerprint}\n`)
    expect(stdout).not.toContain(readFileSync(`${sshd.hostKey}.pub`, 'utf8').split(' ')[1])
    expect((await laptop.keyman(['host', 'list'])).stdout).toMatch(
      /kept out: \d+, let in beside KeyMan: 1 \(host show\)/,
    )
  })

  it('is told by why, of the logins that are granted', async () => {
    const why = await laptop.keyman(['why', NAME])
    expect(why.stdout).toContain(`gets in to ${NAME} as nobody`)
    expect(why.stderr).toContain(`But on ${NAME}: nobody is shut out by DenyUsers nobody.\n`)
    expect(why.stderr).not.toContain('plain key')
  })

  it('is told by revoke, where it lets in what a revocation does not end', async () => {
    const other = join(laptop.home, 'other')
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', other])
    const { stderr } = await laptop.keyman(['revoke', '--key', `${other}.pub`])
    expect(stderr).toMatch(
      new RegExp(`On ${NAME} 1 plain key of .* still let in as ${user.name}: no grant or revocation`),
    )
  })

  describe('of key types, is told by why; a login by such a key', () => {
    const plainSsh = async () => {
      const config = join(laptop.home, 'config', 'keyman', 'ssh_config')
      const { code, stderr } = await laptop.run('ssh', [
        '-F',
        config,
        '-o',
        'BatchMode=yes',
        `${user.name}@${NAME}`,
        'true',
      ])
      return code === 0 ? 'gets in' : stderr
    }
    beforeAll(() => sshd.start())

    it('by Ed25519 does not get in, which the login says', async () => {
      const login = await signIn()
      expect([login.code, login.stderr]).toEqual([
        0,
        expect.stringContaining(
          `Keys of the type ed25519 are not taken by ${NAME}: the next keyman login makes one of ecdsa-p256, which all take.`,
        ),
      ])
      expect((await laptop.keyman(['why', NAME])).stderr).toContain(
        `But on ${NAME}: PubkeyAcceptedAlgorithms takes no Ed25519 keys: keyman login --key-type ecdsa-p256 or --key-type rsa-3072.\n`,
      )
      expect(await plainSsh()).toContain('Permission denied')
    })

    it('of a type that nobody asked for, once the host has said what it takes, gets in', async () => {
      const login = await signIn()
      expect([login.code, login.stderr]).toEqual([0, expect.not.stringContaining('Keys of the type')])
      expect(await plainSsh()).toBe('gets in')
    })

    it('by Ed25519 where somebody asks for that does not get in', async () => {
      expect((await signIn('--key-type', 'ed25519')).stderr).toContain('keyman login --key-type ecdsa-p256 makes one')
      expect(await plainSsh()).toContain('Permission denied')
    })

    it.each([
      ['ecdsa-p256', 'in the ssh-agent', []],
      ['ecdsa-p256', 'in a file', ['--key-file']],
      ['rsa-3072', 'in the ssh-agent', []],
      ['rsa-3072', 'in a file', ['--key-file']],
    ])('of %s, %s, gets in', async (type, _, flags) => {
      const login = await signIn('--key-type', type, ...flags)
      expect([login.code, login.code === 0 ? '' : login.stderr]).toEqual([0, ''])
      expect(await plainSsh()).toBe('gets in')
    })

    it('is of the type that was asked for last, until another one is', async () => {
      expect((await signIn('--key-type', 'ecdsa-p256')).code).toBe(0)
      expect((await signIn()).code).toBe(0)
      expect(await plainSsh()).toBe('gets in')
      expect(await laptop.keyman(['login', '--key-type', 'dsa'])).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('ecdsa-p256'),
      })
    })
  })
})
