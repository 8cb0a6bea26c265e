import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PACKAGED_CONFIG } from '#server/config/index.ts'
import { freePort } from '#test/support/free-port.ts'
import { SERVER } from '#test/support/programs/programs.ts'
import { isRoot } from '#test/support/requires.ts'
import { loadConfig } from '../config/index.ts'
import { flagOf, INIT_SETTINGS } from './init.ts'

const main = SERVER
let folder: string
const at = (...names: string[]) => join(folder, ...names)
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-init-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

type Ran = { readonly code: number | null; readonly stdout: string; readonly stderr: string }
async function ended(child: ChildProcess): Promise<Ran> {
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', chunk => {
    stdout += String(chunk)
  })
  child.stderr?.on('data', chunk => {
    stderr += String(chunk)
  })
  const [code] = await once(child, 'close')
  return { code: typeof code === 'number' ? code : null, stdout, stderr }
}
const env = (): NodeJS.ProcessEnv => ({ PATH: process.env.PATH, HOME: folder })
/** Nobody sits at a terminal; and what it makes may not depend on the umask. */
const run = (...args: string[]): Promise<Ran> =>
  ended(
    spawn('sh', ['-c', 'umask 000; exec "$@"', 'sh', process.execPath, main, ...args], {
      env: env(),
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  )
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)
const file = () => at('etc', 'server.toml')
const basics = () => ['--config', file(), '--organisation', 'acme', '--data-folder', at('data')]
const real = () => [...basics(), '--public-url', 'https://keys.acme.example']
const read = () => loadConfig({ file: file(), env: {}, home: folder })

describe('keyman-server init by flags', () => {
  it('writes a configuration that starts', async () => {
    const [pages, machines] = [await freePort(), await freePort()]
    const local = [
      ...basics(),
      '--public-url',
      `http://localhost:${pages}`,
      '--machines-listen',
      `127.0.0.1:${machines}`,
    ]
    expect(await run('init', ...local)).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/made .*server\.toml\nNext: {2}keyman-server check-config --config /),
    })
    expect(await run('check-config', '--config', file())).toMatchObject({ code: 0, stderr: '' })
    const server = spawn(process.execPath, [main, 'start', '--config', file()], {
      env: env(),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const done = once(server, 'exit')
    let said = ''
    for await (const chunk of server.stdout) {
      said += String(chunk)
      if (said.includes('Next:')) break
    }
    server.kill('SIGTERM')
    expect(await done).toEqual([0, null])
    expect(said).toContain(`pages     http://localhost:${pages}`)
  })

  it('files are for nobody else from the first byte on, folders too, whatever the umask', async () => {
    await run('init', ...real())
    expect([at('etc'), file(), at('data')].map(modeOf)).toEqual(['700', '600', '700'])
  })

  it('takes each setting by its name, and leaves the others as comments', async () => {
    writeFileSync(at('pin'), '1234', { mode: 0o600 })
    writeFileSync(at('password'), 'secret', { mode: 0o600 })
    const { code, stderr } = await run(
      'init',
      ...real(),
      ...['--host-suffixes', 'prod.acme.example,stage.acme.example'],
      ...['--pages-tls-certificate', '/etc/pages.crt', '--pages-tls-key', '/etc/pages.key'],
      ...['--database-url', 'postgresql://app@db/keyman', '--database-password-file', at('password')],
      ...['--keystore-module', '/usr/lib/p11.so', '--keystore-token', 'acme', '--keystore-pin-file', at('pin')],
      ...['--authority-algorithm', 'ecdsa-p256'],
    )
    const missing = ['/etc/pages.crt', '/etc/pages.key', '/usr/lib/p11.so']
    const said = missing.map(path => `keyman-server: ${path} is named there, and is not there yet\n`).join('')
    expect({ code, stderr }).toEqual({ code: 0, stderr: said })
    expect(read()).toMatchObject({
      organisation: 'acme',
      hostSuffixes: ['prod.acme.example', 'stage.acme.example'],
      pages: { listen: { host: '0.0.0.0', port: 443 }, tls: { keyFile: '/etc/pages.key' } },
      machines: { listen: { host: '0.0.0.0', port: 4443 }, url: 'https://keys.acme.example:4443' },
      keystore: { kind: 'pkcs11', token: 'acme' },
      authority: { algorithm: 'ecdsa-p256' },
    })
    const text = readFileSync(file(), 'utf8')
    expect(text).not.toMatch(/secret|1234/)
    expect(text).toContain('# migration_url = "postgresql://keyman_migrate@')
    // Each commented example is one that the server would read: nobody copies a mistake.
    const examples = text.replace(/^# (?=\[|[a-z_]+ = )/gm, '').replace('SHA256:…', `SHA256:${'A'.repeat(43)}`)
    writeFileSync(
      file(),
      examples.replace(/^((password|migration_password)_file|names) = .*\n/gm, '').replace(/^trusted_proxies.*\n/m, ''),
    )
    expect(() => read()).not.toThrow()
  })

  it('the file that packages bring is known by its text', async () => {
    await expect(PACKAGED_CONFIG).toMatchFileSnapshot(join(import.meta.dirname, '..', '..', 'packaging', 'server.toml'))
  })

  it('replaces the file that a package brought, but none that somebody has changed since', async () => {
    mkdirSync(at('etc'))
    writeFileSync(file(), PACKAGED_CONFIG)
    writeFileSync(at('changed.toml'), `${PACKAGED_CONFIG}# mine\n`)
    const refused = await run('init', ...real().map(arg => (arg === file() ? at('changed.toml') : arg)))
    expect(refused).toMatchObject({ code: 7, stderr: expect.stringContaining('changed.toml is there already') })
    expect(readFileSync(at('changed.toml'), 'utf8')).toBe(`${PACKAGED_CONFIG}# mine\n`)
    expect(await run('init', ...real())).toMatchObject({ code: 0, stdout: expect.stringContaining(`made ${file()}\n`) })
    expect(readFileSync(file(), 'utf8')).toContain('organisation = "acme"')
    expect(modeOf(file())).toBe('600')
    expect(readdirSync(at('etc'))).toEqual(['server.toml'])
  })

  it('replaces nothing that is there, and makes nothing then', async () => {
    mkdirSync(at('etc'), { mode: 0o700 })
    writeFileSync(file(), 'mine')
    const { code, stderr } = await run('init', ...real())
    expect(stderr).toMatch(/error: .*server\.toml is there already, and is not replaced\n.*hint: move it away/)
    expect(code).toBe(7)
    expect(readFileSync(file(), 'utf8')).toBe('mine')
    expect(readdirSync(folder)).toEqual(['etc'])
  })

  it.each([
    [['--public-url', 'http://keys.acme.example'], /public_url: .*must begin with https/],
    [['--public-url', 'keys'], /--public-url: .*must be an address such as/],
    [['--database-url', 'postgresql://app:hunter2@db/keyman'], /--database-url: must hold no password/],
    [['--pages-listen', '443'], /--pages-listen: must be an address and a port/],
    [
      ['--keystore-module', '/usr/lib/p11.so'],
      /nobody can be asked here: label of the token\n.*hint: --keystore-token answers it/,
    ],
    [['--user', 'no-such-user'], isRoot ? /this machine has no user "no-such-user"/ : /--user is for root/],
  ])('says what is wrong with %j, and writes nothing', async (args, why) => {
    const { code, stderr } = await run('init', ...real(), ...args)
    expect(stderr).toMatch(why)
    expect(stderr).not.toContain('hunter2')
    expect(code).not.toBe(0)
    expect(existsSync(at('etc'))).toBe(false)
  })

  it('names its flags by --help, each with an example that it takes', async () => {
    const { code, stdout } = await run('init', '--help')
    expect(code).toBe(0)
    const flags = [...stdout.matchAll(/^ {2}--([a-z-]+) (\S+)$/gm)]
    expect(flags.map(([, name]) => name)).toEqual(INIT_SETTINGS.map(path => flagOf(path).slice(2)))
    const examples = flags.map(([, name, example = '']) => [`--${name}`, example.replace('…', 'a'.repeat(43))])
    const { stderr } = await run('init', '--config', file(), '--data-folder', at('data'), ...examples.flat())
    expect(stderr).not.toMatch(/--[a-z-]+: |unknown/i)
  })

  it('asks nobody where nobody sits at a terminal, but says which flag answers', async () => {
    const { code, stderr } = await run('init', '--config', file(), '--organisation', 'acme')
    expect(stderr).toMatch(/nobody can be asked here: address of the pages.*\n.*hint: --public-url answers it/)
    expect(code).toBe(2)
  })

  it.skipIf(!isRoot)('as root gives what it makes to the user that the server runs as', async () => {
    expect(await run('init', ...real(), '--user', 'nobody')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Next:  runuser -u nobody -- keyman-server check-config'),
    })
    const nobody = statSync(at('etc')).uid
    expect(nobody).not.toBe(0)
    expect([file(), at('data')].map(path => statSync(path).uid)).toEqual([nobody, nobody])
  })
})

describe('keyman-server init on a terminal', () => {
  /** script(1) gives it one; each answer is typed once its question stands there. */
  async function answer(answers: readonly (readonly [string, string])[]): Promise<string> {
    const line = [process.execPath, main, 'init'].map(part => `'${part}'`).join(' ')
    const terminal = spawn('script', ['-qec', line, '/dev/null'], { env: env(), stdio: ['pipe', 'pipe', 'inherit'] })
    const closed = once(terminal, 'close')
    let said = ''
    let asked = 0
    for await (const chunk of terminal.stdout) {
      said += String(chunk)
      const [question, typed] = answers[asked] ?? []
      if (question === undefined || !said.includes(question)) continue
      asked++
      terminal.stdin.write(`${typed}\n`)
    }
    await closed
    expect(asked, said).toBe(answers.length)
    return said
  }

  it('asks what is needed, asks again where an answer is none, and shows no secret', async () => {
    const said = await answer([
      ['Where shall the configuration stand', file()],
      ['Organisation', 'Acme Inc'],
      ['must be a short name', 'acme'],
      ['Address of the pages', 'https://keys.acme.example'],
      ['DNS suffixes', ''],
      ['Folder for its data', at('data')],
      ['Certificate of the pages', '/etc/pages.crt'],
      ['Its private key', '/etc/pages.key'],
      ['Where shall the pages listen', ''],
      ['for laptops and hosts', ''],
      ['PostgreSQL of the server', 'postgresql://app@db/keyman'],
      ['Password of app', 'hunter2'],
      ['The same with the role', 'postgresql://owner@db/keyman'],
      ['Password of owner', 'hunter3'],
      ['PKCS#11 module', '/usr/lib/p11.so'],
      ['Label of the token', 'acme'],
      ['PIN of the token', '4711'],
    ])
    expect(said).toContain(`made ${file()}`)
    expect(said).not.toMatch(/hunter|4711/)
    expect(readFileSync(file(), 'utf8')).not.toMatch(/hunter|4711/)
    const config = read()
    expect(config).toMatchObject({ organisation: 'acme', hostSuffixes: ['acme.example'], keystore: { token: 'acme' } })
    expect(config.database.engine === 'postgresql' && config.database.migrationUrl?.reveal()).toBe(
      'postgresql://owner:hunter3@db/keyman',
    )
    expect(['database-password', 'migration-password', 'pin'].map(name => modeOf(at('etc', name)))).toEqual(
      Array(3).fill('600'),
    )
  })
})
