import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { withLock } from '../scripts/lock.mjs'

const root = dirname(import.meta.dirname)
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

  it('start through a chain of symbolic links, absolute and relative, under any name', () => {
    symlinkSync(join(root, 'bin', 'keyman'), join(folder, 'first'))
    symlinkSync('first', join(folder, 'km'))
    expect(launch(join(folder, 'km'))).toMatch(/^keyman [0-9]/)
    expect(launch('km', { PATH: `${folder}:${process.env.PATH}` })).toMatch(/^keyman [0-9]/)
  })

  it('take the Node that KEYMAN_NODE names', () => {
    const node = join(folder, 'node')
    writeFileSync(node, '#!/bin/sh\necho "$1"\n', { mode: 0o755 })
    expect(launch(join(root, 'bin', 'keyman'), { KEYMAN_NODE: node })).toMatch(/dist\/keyman\.mjs$/m)
  })
})

describe('npm test', () => {
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const runTests = (content: string) => {
    writeFileSync(join(folder, 'one.test.mjs'), `import { it } from 'vitest'\n${content}`)
    writeFileSync(join(folder, 'two.test.mjs'), `import { it } from 'vitest'\nit('does nothing', () => {})`)
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
    const reporter = `--reporter=${join(root, 'scripts', 'progress-reporter.mjs')}`
    return spawnSync(process.execPath, [vitest, 'run', '--root', folder, '--pool=forks', reporter], {
      encoding: 'utf8',
      env: { ...process.env, KEYMAN_TEST_PATIENCE_MS: '2000' },
    })
  }

  it('ends and names a test that blocks its worker', () => {
    const { status, stdout } = runTests(
      `it('waits for nothing', async () => {
        await new Promise(resolve => setTimeout(resolve, 500))
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600_000)
      })`,
    )
    expect(stdout).toMatch(/blocked for 2 s, so the tests end here: .*one\.test\.mjs: waits for nothing/)
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
