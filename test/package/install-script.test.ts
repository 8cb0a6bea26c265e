import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { bootMachine, whyNoMachine } from '../support/programs/machine.ts'
import { makePackages } from '../support/programs/packages.ts'
import { isRoot, requires } from '../support/requires.ts'

const PLATFORM = `${process.platform}-${process.arch}`
const whyNot = whyNoMachine()

describe.skipIf(!requires('cc'))('the tarball', { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'keyman-tarball-'))
  const unpacked = join(folder, `keyman-1.0.0-${PLATFORM}`)
  let home: string

  beforeAll(async () => {
    await makePackages(join(folder, 'out'), ['--version', '1.0.0'])
    execFileSync('tar', ['-xzf', join(folder, 'out', `keyman-1.0.0-${PLATFORM}.tar.gz`), '-C', folder])
  }, 300_000)
  beforeEach(() => {
    home = mkdtempSync(join(folder, 'home-'))
  })
  afterEach(() => rmSync(home, { recursive: true, force: true }))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const run = (from: string, ...args: string[]) => {
    const env = { HOME: home, PATH: `${home}/.local/bin:/usr/bin:/bin:/usr/sbin:/sbin` }
    const { status, stdout, stderr } = spawnSync(join(from, 'install.sh'), args, { encoding: 'utf8', env })
    return { status, stdout, stderr }
  }
  const installed = () => join(home, '.local', 'lib', 'keyman')
  const program = () => join(home, '.local', 'bin', 'keyman')
  const versionOf = (path: string) => execFileSync(path, ['--version'], { encoding: 'utf8', cwd: '/' })
  /** What a later release unpacks to. */
  const newer = () => {
    const copy = join(home, 'newer')
    cpSync(unpacked, copy, { recursive: true })
    writeFileSync(join(copy, 'RELEASE'), `1.1.0 ${PLATFORM}\n`)
    writeFileSync(join(copy, 'dist', 'keyman.mjs'), "console.log('keyman 1.1.0')")
    return copy
  }

  it('runs where it was unpacked', () => {
    for (const name of ['keyman', 'keyman-agent', 'keyman-server'])
      expect(versionOf(join(unpacked, 'bin', name))).toBe(`${name} 1.0.0\n`)
  })

  it('installs keyman for one person, upgrades it, and takes it away again', () => {
    expect(run(unpacked)).toMatchObject({ status: 0, stderr: '', stdout: expect.stringContaining('keyman 1.0.0') })
    expect(versionOf(program())).toBe('keyman 1.0.0\n')
    expect(readdirSync(join(home, '.local', 'bin'))).toEqual(['keyman'])
    expect(run(newer())).toMatchObject({ status: 0, stderr: '' })
    expect(versionOf(program())).toBe('keyman 1.1.0\n')
    expect(readdirSync(join(home, '.local', 'lib'))).toEqual(['keyman'])
    expect(run(installed(), '--uninstall')).toMatchObject({ status: 0, stderr: '' })
    expect([...readdirSync(join(home, '.local', 'lib')), ...readdirSync(join(home, '.local', 'bin'))]).toEqual([])
  })

  it.each(['000', '077'])('under umask %s is nothing that others may write, and all that they may run', umask => {
    const env = { HOME: home, PATH: '/usr/bin:/bin' }
    execFileSync(
      'sh',
      ['-c', `umask ${umask} && cp -R "$1" "$2" && "$2/install.sh"`, 'sh', unpacked, join(home, 'copy')],
      { env },
    )
    const wrong = ['(', '-perm', '-020', '-o', '-perm', '-002', '-o', '!', '-perm', '-044', ')']
    expect(execFileSync('find', [join(home, '.local'), '!', '-type', 'l', ...wrong], { encoding: 'utf8' })).toBe('')
  })

  it('goes where --prefix says, and says how to find it there', () => {
    const { status, stdout } = run(unpacked, '--prefix', join(home, 'opt'))
    expect(stdout).toContain(`${home}/opt/bin is not in your PATH`)
    expect(status).toBe(0)
    expect(versionOf(join(home, 'opt', 'bin', 'keyman'))).toBe('keyman 1.0.0\n')
    expect(existsSync(join(home, '.local'))).toBe(false)
    expect(run(join(home, 'opt', 'lib', 'keyman'), '--uninstall', '--prefix', join(home, 'opt')).status).toBe(0)
    expect(existsSync(join(home, 'opt', 'lib', 'keyman'))).toBe(false)
  })

  it.each([
    ['a program of that name', () => writeFileSync(program(), '#!/bin/sh\n')],
    ['a link of that name', () => symlinkSync('/somewhere/keyman', program())],
    ['a folder of that name', () => mkdirSync(installed(), { recursive: true })],
  ])('replaces nothing that it has not made: %s', (_, make) => {
    mkdirSync(join(home, '.local', 'bin'), { recursive: true })
    make()
    const before = readdirSync(home, { recursive: true })
    expect(run(unpacked)).toMatchObject({ status: 1, stderr: expect.stringMatching(/error: .*\n.*hint: move it away/) })
    expect(readdirSync(home, { recursive: true })).toEqual(before)
  })

  it('is refused on a machine of another kind', () => {
    const other = newer()
    writeFileSync(join(other, 'RELEASE'), '1.1.0 plan9-mips\n')
    expect(run(other)).toMatchObject({ status: 1, stderr: expect.stringContaining('this is for plan9-mips') })
    expect(existsSync(join(home, '.local'))).toBe(false)
  })

  it('says what is missing where its Node does not start, and touches nothing', () => {
    const other = newer()
    writeFileSync(
      join(other, 'dist', 'node'),
      '#!/bin/sh\necho "libatomic.so.1: cannot open shared object file" >&2\nexit 127\n',
    )
    const { status, stderr } = run(other)
    expect(stderr).toMatch(/does not start: libatomic\.so\.1.*\n.*apt-get install libatomic1/)
    expect(status).toBe(1)
    expect(existsSync(join(home, '.local'))).toBe(false)
  })

  it.skipIf(!isRoot)("leaves nothing of root's in somebody else's home, as sudo -E would", () => {
    chownSync(home, 12345, 12345)
    expect(run(unpacked)).toMatchObject({ status: 1, stderr: expect.stringContaining('belongs to somebody else') })
    chownSync(home, 0, 0)
    expect(run(unpacked).status).toBe(0)
  })

  it('is not taken away while plain ssh still asks it', () => {
    run(unpacked)
    mkdirSync(join(home, '.ssh'))
    writeFileSync(join(home, '.ssh', 'config'), `Include ${home}/.config/keyman/ssh_config\n`)
    expect(run(installed(), '--uninstall')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('keyman ssh config --remove'),
    })
    expect(versionOf(program())).toBe('keyman 1.0.0\n')
    writeFileSync(join(home, '.ssh', 'config'), '')
    expect(run(installed(), '--uninstall').status).toBe(0)
    expect(() => readlinkSync(program())).toThrow('ENOENT')
  })

  it('wants root for the whole machine', () => {
    chmodSync(folder, 0o755)
    const somebody = isRoot ? { uid: 65_534, gid: 65_534 } : {}
    const script = join(unpacked, 'install.sh')
    const { status, stderr } = spawnSync(script, ['--system'], { encoding: 'utf8', ...somebody })
    expect(stderr).toContain('--system wants root')
    expect(status).toBe(1)
  })

  it.skipIf(whyNot !== undefined)(
    `for the whole machine brings units that start, and takes them away again${whyNot === undefined ? '' : ` (${whyNot})`}`,
    async () => {
      const machine = await bootMachine(folder)
      try {
        const [pages, machines] = [await freePort(), await freePort()]
        machine.sh(`/run/shared/keyman-1.0.0-${PLATFORM}/install.sh --system`)
        expect(machine.sh('cd / && keyman-server --version && keyman-agent --version')).toMatch(/1\.0\.0\n.* 1\.0\.0\n/)
        const units = ['keyman-server.service', 'keyman-agent.service']
        expect(machine.run(['systemd-analyze', 'verify', ...units])).toMatchObject({
          status: 0,
          stdout: '',
          stderr: '',
        })
        const settings = `[pages]\nlisten = "127.0.0.1:${pages}"\n[machines]\nlisten = "127.0.0.1:${machines}"\n`
        machine.run(['tee', '-a', '/etc/keyman/server.toml'], { input: settings })
        machine.sh('systemctl enable --now keyman-server')
        await expect
          .poll(async () => (await fetch(`http://localhost:${pages}/readyz`).catch(() => undefined))?.status, {
            timeout: 50_000,
          })
          .toBe(200)
        const undone = machine.sh('/usr/local/lib/keyman/install.sh --uninstall --system')
        expect(undone).toContain('/var/lib/keyman stays')
        expect(machine.run(['systemctl', 'is-active', 'keyman-server']).stdout).toBe('inactive\n')
        expect(
          machine.run([
            'ls',
            '/usr/local/lib/keyman',
            '/usr/local/bin/keyman',
            '/etc/systemd/system/keyman-server.service',
          ]).stdout,
        ).toBe('')
        expect(machine.sh('ls /var/lib/keyman')).toContain('keystore')
      } finally {
        await machine.close()
      }
    },
  )
})
