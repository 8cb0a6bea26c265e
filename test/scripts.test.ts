import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { withLock } from '../scripts/lock.mjs'

const root = dirname(import.meta.dirname)
const PROGRAMS = ['keyman', 'keyman-agent', 'keyman-server']
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-scripts-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('the lock of set-up', () => {
  const quiet = () => {}

  it('lets one work at a time, and leaves nothing behind', async () => {
    const path = join(folder, 'lock')
    let working = 0
    let most = 0
    const work = async () => {
      most = Math.max(most, ++working)
      await new Promise(resolve => setImmediate(resolve))
      working--
    }
    await Promise.all([withLock(path, quiet, work), withLock(path, quiet, work), withLock(path, quiet, work)])
    expect(most).toBe(1)
    expect(readdirSync(folder)).toEqual([])
  })

  it('is taken over from a process that is gone', async () => {
    const path = join(folder, 'lock')
    const { pid } = spawnSync(process.execPath, ['--version'])
    writeFileSync(path, String(pid))
    expect(await withLock(path, quiet, async () => existsSync(path))).toBe(true)
    expect(readdirSync(folder)).toEqual([])
  })

  it('is given back when the work fails', async () => {
    const path = join(folder, 'lock')
    const failing = withLock(path, quiet, () => Promise.reject(new Error('no space')))
    await expect(failing).rejects.toThrow('no space')
    expect(existsSync(path)).toBe(false)
  })
})

describe('under umask 000', () => {
  /** The mode of a file that is made once this has been imported. */
  const modeAfter = (what: string) => {
    const file = join(folder, 'made')
    const program = `import(${JSON.stringify(what)}).then(() => require('node:fs').writeFileSync(${JSON.stringify(file)}, ''))`
    execFileSync('sh', ['-c', 'umask 000; exec "$0" -e "$1"', process.execPath, program])
    return statSync(file).mode & 0o777
  }

  it.each(['build', 'setup', 'build-pkcs11', 'debian-packages'])('what %s makes nobody else may write', name =>
    expect(modeAfter(join(root, 'scripts', `${name}.mjs`))).toBe(0o644),
  )

  it('what a script makes that does not see to it, everybody may write', () => expect(modeAfter('node:fs')).toBe(0o666))
})

// `npm test` has bundled the programs before it comes here.
describe.skipIf(!existsSync(join(root, 'dist', 'keyman.mjs')))('the launchers', () => {
  const launch = (program: string, env: NodeJS.ProcessEnv = {}) =>
    execFileSync(program, ['--version'], { encoding: 'utf8', cwd: folder, env: { ...process.env, ...env } })

  it.each(PROGRAMS)('start %s through a chain of symbolic links, absolute and relative, under any name', program => {
    symlinkSync(join(root, 'bin', program), join(folder, 'first'))
    symlinkSync('first', join(folder, 'km'))
    expect(launch(join(folder, 'km'))).toMatch(new RegExp(`^${program} [0-9]`))
    expect(launch('km', { PATH: `${folder}:${process.env.PATH}` })).toMatch(new RegExp(`^${program} [0-9]`))
  })

  it.each(PROGRAMS)('are one file, and start %s where they were copied with the links followed', program => {
    mkdirSync(join(folder, 'copy'))
    cpSync(join(root, 'bin'), join(folder, 'copy', 'bin'), { recursive: true, dereference: true })
    symlinkSync(join(root, 'dist'), join(folder, 'copy', 'dist'))
    expect(launch(join(folder, 'copy', 'bin', program))).toMatch(new RegExp(`^${program} [0-9]`))
    expect(readFileSync(join(root, 'bin', program))).toEqual(readFileSync(join(root, 'bin', 'launcher')))
  })

  it('take the Node that KEYMAN_NODE names', () => {
    const node = join(folder, 'node')
    writeFileSync(node, '#!/bin/sh\necho "$1"\n', { mode: 0o755 })
    expect(launch(join(root, 'bin', 'keyman'), { KEYMAN_NODE: node })).toMatch(/dist\/keyman\.mjs$/m)
  })
})

describe('the launchers of a clone', () => {
  /** A machine with little on it. */
  const bare = () => {
    mkdirSync(join(folder, 'path'))
    for (const name of ['sh', 'sed', 'cat', 'readlink'])
      symlinkSync(execFileSync('which', [name], { encoding: 'utf8' }).trim(), join(folder, 'path', name))
    return join(folder, 'path')
  }
  const clone = (...paths: string[]) => {
    for (const path of paths)
      cpSync(join(root, path), join(folder, 'clone', path), { recursive: true, verbatimSymlinks: true })
    return (program: string, args: string[], env: NodeJS.ProcessEnv = {}) => {
      const { KEYMAN_NODE: _, ...rest } = process.env
      return spawnSync(join(folder, 'clone', 'bin', program), args, { encoding: 'utf8', env: { ...rest, ...env } })
    }
  }

  it.each(PROGRAMS)('say what %s is without setting anything up, in the words of the program itself', program => {
    const run = clone('bin', 'package.json')
    const PATH = bare()
    for (const flag of ['--help', '--version']) {
      const { stdout, status } = spawnSync(join(root, 'bin', program), [flag], { encoding: 'utf8' })
      expect(run(program, [flag], { PATH })).toMatchObject({ stdout, status, stderr: '' })
    }
    expect(readdirSync(join(folder, 'clone')).sort()).toEqual(['bin', 'package.json'])
  })

  it('say what to install where Node is not', () => {
    const run = clone('bin', 'package.json')
    const { status, stderr } = run('keyman', ['status'], { PATH: bare() })
    expect(stderr).toMatch(/Node, which does that, is not installed\n.*hint: install Node 20 or newer/)
    expect(status).toBe(1)
  })

  it('look whether the programs are old only where something happened in the clone since they were built', () => {
    const run = clone('bin')
    const node = join(folder, 'node')
    writeFileSync(node, '#!/bin/sh\necho "$1"\n', { mode: 0o755 })
    const at = (path: string, seconds: number) => {
      mkdirSync(dirname(join(folder, 'clone', path)), { recursive: true })
      writeFileSync(join(folder, 'clone', path), '')
      utimesSync(join(folder, 'clone', path), seconds, seconds)
    }
    at('dist/keyman.mjs', 1000)
    at('dist/.built', 1000)
    at('.git/index', 900)
    expect(run('keyman', [], { KEYMAN_NODE: node }).stdout).toMatch(/^.*dist\/keyman\.mjs\n$/)
    at('.git/index', 1100)
    expect(run('keyman', [], { KEYMAN_NODE: node }).stdout).toMatch(/refresh\.mjs\n.*dist\/keyman\.mjs\n$/)
  })

  it('build what was pulled; where that can not be built they say so, and the old program goes on', () => {
    const run = clone(
      'bin',
      'package.json',
      'package-lock.json',
      ...['scripts', 'shared', 'ca-server', 'agent', 'cli', 'web', 'migrations'],
    )
    symlinkSync(join(root, 'node_modules'), join(folder, 'clone', 'node_modules'))
    const help = join(folder, 'clone', 'cli', 'main.ts')
    const pull = (text: string) => {
      writeFileSync(help, text)
      mkdirSync(join(folder, 'clone', '.git'), { recursive: true })
      // As a pull leaves it, at a moment that is later by any clock's grain.
      writeFileSync(join(folder, 'clone', '.git', 'index'), '')
      const later = Date.now() / 1000 + 60
      utimesSync(join(folder, 'clone', '.git', 'index'), later, later)
    }
    const before = readFileSync(help, 'utf8')
    expect(run('keyman', ['status', '--help']).stderr).toMatch('built keyman')
    expect(before).toMatch('SSH certificates instead of keys')
    pull(before.replace('SSH certificates instead of keys', 'what was pulled'))
    expect(run('keyman', ['--help'])).toMatchObject({ stdout: expect.stringMatching('keyman: what was pulled') })
    pull('no program(')
    const { stdout, stderr } = run('keyman', ['--help'])
    expect(stderr).toMatch('the sources are newer than the programs in dist/')
    expect(stdout).toMatch('keyman: what was pulled')
  })
})

describe('npm test', () => {
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const runTests = (content: string) => {
    writeFileSync(join(folder, 'one.test.mjs'), `import { it } from 'vitest'\n${content}`)
    writeFileSync(join(folder, 'two.test.mjs'), `import { it } from 'vitest'\nit('does nothing', () => {})`)
    // Leaves a file once vitest has told its reporters which test runs: it tells them some time after that began.
    writeFileSync(
      join(folder, 'told.mjs'),
      `import { writeFileSync } from 'node:fs'
      export default class { onTestCaseReady() { writeFileSync(${JSON.stringify(join(folder, 'told'))}, '') } }`,
    )
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
    const reporters = [join(root, 'scripts', 'progress-reporter.mjs'), join(folder, 'told.mjs')]
    const args = ['run', '--root', folder, '--pool=forks', ...reporters.map(reporter => `--reporter=${reporter}`)]
    return spawnSync(process.execPath, [vitest, ...args], {
      encoding: 'utf8',
      env: { ...process.env, KEYMAN_TEST_PATIENCE_MS: '6000' },
    })
  }

  it('ends and names a test that blocks its worker', () => {
    const { status, stdout } = runTests(
      `import { existsSync } from 'node:fs'
      import { setTimeout } from 'node:timers/promises'
      it('waits for nothing', async () => {
        while (!existsSync(${JSON.stringify(join(folder, 'told'))})) await setTimeout(20)
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600_000)
      })`,
    )
    expect(stdout).toMatch(/blocked for 6 s, so the tests end here: .*one\.test\.mjs: waits for nothing/)
    expect(status).toBe(1)
  })

  it('says how far it is', () => {
    const { status, stdout } = runTests(`it('does nothing', () => {})`)
    expect(stdout).toMatch(/1 of 2 files, 0\.\d min\n(.*\n)*2 of 2 files/)
    expect(status).toBe(0)
  })

  it('has no terminal that anything could ask on, though it was started in one', () => {
    const open = `require('node:fs').openSync('/dev/tty')`
    const program = join(folder, 'program.mjs')
    writeFileSync(
      program,
      `import { withoutTerminal } from ${JSON.stringify(join(root, 'scripts', 'without-terminal.mjs'))}
      const code = await withoutTerminal(process.execPath, ['-e', ${JSON.stringify(open)}])
      console.log('without: ' + code)`,
    )
    const inTerminal = (line: string) => spawnSync('script', ['-qec', line, '/dev/null'], { encoding: 'utf8' }).stdout
    expect(inTerminal(`"${process.execPath}" "${program}"`)).toMatch(/ENXIO[\s\S]*without: 1/)
    expect(inTerminal(`"${process.execPath}" -e "${open}; console.log('a terminal')"`)).toMatch('a terminal')
  })
})
