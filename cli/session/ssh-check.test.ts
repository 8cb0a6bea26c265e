import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { KEYMAN } from '#test/support/programs/programs.ts'
import { type PersonSession, sessionFiles, writeContext, writeSession } from '../context/context.ts'
import { type Folders, folders } from '../context/folders.ts'
import { makeLoginKeys } from './keys.ts'
import { checkBeforeSsh } from './ssh-check.ts'

const parent = mkdtempSync(join(tmpdir(), 'keyman-ssh-check-'))
afterAll(() => rmSync(parent, { recursive: true, force: true }))

const main = KEYMAN
const HOUR = 3_600_000
let env: NodeJS.ProcessEnv
let places: Folders
let logins: string

const at = (milliseconds: number) => new Date(milliseconds).toISOString()
const session = (endsAt: number, certified = true): PersonSession => ({
  person: 'alice@example.com',
  session: 'session_0123456789',
  owner: false,
  startedAt: at(Date.now() - HOUR),
  endsAt: at(endsAt),
  passkeys: 2,
  clientEndsAt: at(endsAt),
  keyIn: 'file',
  ...(certified
    ? {
        ssh: {
          keyId: 'alice@example.com/passkey/session_0123456789',
          serial: '7',
          principals: ['alice@example.com'],
          startsAt: at(Date.now() - HOUR),
          endsAt: at(endsAt),
        },
      }
    : {}),
})

/** A home with one organisation whose server is nowhere; `keyman login` says that it was called, and does `answer`. */
function home(answer: string): void {
  const folder = mkdtempSync(join(parent, 'home-'))
  mkdirSync(join(folder, 'run'), { mode: 0o700 })
  logins = join(folder, 'logins')
  const program = join(folder, 'keyman')
  writeFileSync(
    program,
    `#!/bin/sh\nif [ "$1" = login ]; then\n  echo "$*" >> '${logins}'\n  ${answer}\nfi\nexec '${process.execPath}' '${main}' "$@"\n`,
    { mode: 0o700 },
  )
  env = {
    PATH: process.env.PATH,
    HOME: folder,
    XDG_CONFIG_HOME: join(folder, 'config'),
    XDG_STATE_HOME: join(folder, 'state'),
    XDG_RUNTIME_DIR: join(folder, 'run'),
    KEYMAN_PROGRAM: program,
  }
  places = folders(env)
  writeContext(places, {
    organisation: 'acme',
    machinesUrl: 'https://127.0.0.1:1',
    publicUrl: 'https://keys.example.com',
    rootFingerprint: 'SHA256:x',
    bundle: { document: '{}', signatures: [] },
    bundleVersion: 1,
    machinesRoot: '',
    logKey: { name: 'acme/log', key: '' },
    hostAuthorities: [],
    hostSuffixes: ['prod.example.com'],
    hosts: [],
  })
}
beforeEach(() => {
  home('exit 4')
})
/** A session with its key, as a login leaves them. */
function signedIn(endsAt: number, certified = true): void {
  writeSession(places, 'acme', session(endsAt, certified))
  writeFileSync(sessionFiles(places, 'acme').key, '', { mode: 0o600 })
}
const asked = () => (existsSync(logins) ? readFileSync(logins, 'utf8').trim().split('\n').length : 0)

/** The real program as ssh runs it: no terminal unless `script` gives it one; stdin and stdout are nobody's. */
function check(options: { terminal?: boolean; env?: NodeJS.ProcessEnv } = {}) {
  const command = [process.execPath, main, 'ssh', 'check', '--context', 'acme']
  const [program, args] = options.terminal
    ? ['script', ['-qec', command.map(word => `'${word}'`).join(' '), '/dev/null']]
    : ['setsid', ['-w', ...command]]
  return new Promise<{ code: number | null; said: string }>((resolve, reject) => {
    const child = spawn(program, args, { env: { ...env, ...options.env }, stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
    child.once('error', reject)
    child.once('close', code => resolve({ code, said: said.replaceAll('\r', '') }))
  })
}

describe('before ssh, with nothing left of the certificate', () => {
  it('where nobody is, says one line and asks nobody', async () => {
    expect(await check()).toEqual({
      code: 3,
      said: 'keyman: not signed in, and nobody is here to ask; run keyman login first\n',
    })
    expect(asked()).toBe(0)
  })
  it.each(['KEYMAN_BROWSER', 'BROWSER'])('that %s names a program says nothing of anybody being there', async name => {
    expect(await check({ env: { [name]: '/bin/true' } })).toMatchObject({
      code: 3,
      said: 'keyman: not signed in, and nobody is here to ask; run keyman login first\n',
    })
    expect(asked()).toBe(0)
  })
  it('ends the login that it began when ssh was ended', async () => {
    const pid = join(parent, 'login.pid')
    home(`echo $$ > '${pid}.tmp'; mv '${pid}.tmp' '${pid}'; exec sleep 600`)
    const command = [process.execPath, main, 'ssh', 'check', '--context', 'acme']
    // The shell stands for ssh.
    const ssh = spawn('setsid', ['-w', 'sh', '-c', '"$@"; true', 'sh', ...command], {
      env: { ...env, DISPLAY: ':0' },
      stdio: 'ignore',
    })
    await expect.poll(() => existsSync(pid), { timeout: 30_000 }).toBe(true)
    const login = Number(readFileSync(pid, 'utf8'))
    const isAlive = () => spawnSync('kill', ['-0', String(login)]).status === 0
    expect(isAlive()).toBe(true)
    ssh.kill('SIGKILL')
    await expect.poll(isAlive, { timeout: 30_000 }).toBe(false)
  })
  it('asks the person at the terminal, and not again for a minute after a refusal', async () => {
    const first = await check({ terminal: true })
    expect(first).toEqual({ code: 3, said: 'keyman: the login did not come about\n' })
    expect(readFileSync(logins, 'utf8')).toBe('login --ssh-config no --context acme\n')
    const second = await check({ terminal: true })
    expect(second.said).toContain('less than a minute ago; keyman login asks again')
    expect(asked()).toBe(1)
  })
  it('asks again when the minute is over', async () => {
    mkdirSync(places.runtime, { recursive: true, mode: 0o700 })
    writeFileSync(join(places.runtime, 'acme.refused'), `${Date.now() - 61_000} the login did not come about\n`)
    await check({ terminal: true })
    expect(asked()).toBe(1)
  })
  it('on a desktop without a terminal opens a page, at most once in ten minutes', async () => {
    const desktop = { env: { KEYMAN_BROWSER: '/bin/true', DISPLAY: ':0' } }
    await check(desktop)
    expect(asked()).toBe(1)
    rmSync(join(places.runtime, 'acme.refused'))
    const again = await check(desktop)
    expect(again.said).toContain('a page was opened less than ten minutes ago')
    expect(asked()).toBe(1)
  })
  it("renews within the session first; where the server is away, that is said and a login isn't tried", async () => {
    signedIn(Date.now() + HOUR, false)
    const { code, said } = await check({ terminal: true })
    expect(code).toBe(3)
    expect(said).toBe('keyman: https://127.0.0.1:1 is not reached: nothing listens there\n')
    expect(asked()).toBe(0)
  })
  it('says yes where another has signed in meanwhile', async () => {
    signedIn(Date.now() + HOUR)
    expect(await check()).toEqual({ code: 0, said: '' })
  })
  it('for a key that is gone asks the person again, though the certificate is good', async () => {
    signedIn(Date.now() + HOUR)
    rmSync(sessionFiles(places, 'acme').key)
    expect(await check()).toEqual({
      code: 3,
      said: 'keyman: the SSH key of this session is gone: its file was removed, and nobody is here to ask; run keyman login first\n',
    })
    await check({ terminal: true })
    expect(asked()).toBe(1)
  })
  describe('of a workload', () => {
    const NEXT = 'ask for a new token (keyman workload token payments/prod/backup), then run keyman workload join'
    function joined(endsAt: number, certified = true): void {
      mkdirSync(join(places.state, 'workloads', 'acme'), { recursive: true, mode: 0o700 })
      const { person: _, owner: __, passkeys: ___, ...held } = session(endsAt, certified)
      const workload = { workload: 'payments/prod/backup', clientStartsAt: held.startedAt, keyIn: 'file' } as const
      writeSession(places, 'acme', { ...held, ...workload })
      writeFileSync(sessionFiles(places, 'acme').key, '', { mode: 0o600 })
    }
    it('says yes while its certificate is good, by cron too', async () => {
      joined(Date.now() + HOUR)
      expect(await check({ env: { XDG_RUNTIME_DIR: '' } })).toEqual({ code: 0, said: '' })
    })
    it('whose session is over says so and what to do, in one line; nobody is asked, though somebody is there', async () => {
      joined(Date.now() - 1000)
      const { code, said } = await check({ terminal: true, env: { KEYMAN_BROWSER: '/bin/true' } })
      expect([code, said]).toEqual([
        3,
        expect.stringMatching(
          /^keyman: the session of workload:payments\/prod\/backup is over \(it ended at [^\n]*\n$/,
        ),
      ])
      expect(said).toContain(`; ${NEXT}\n`)
      expect(asked()).toBe(0)
    })
    it('whose SSH key is gone says the same', async () => {
      joined(Date.now() + HOUR)
      rmSync(sessionFiles(places, 'acme').key)
      expect(await check({ terminal: true })).toEqual({
        code: 3,
        said: `keyman: the SSH key of this session is gone: its file was removed; ${NEXT}\n`,
      })
      expect(asked()).toBe(0)
    })
    it('renews; where the server is away, that is said, and for a minute it is not tried again', async () => {
      joined(Date.now() + HOUR, false)
      const away = 'keyman: https://127.0.0.1:1 is not reached: nothing listens there'
      expect(await check({ terminal: true })).toEqual({ code: 3, said: `${away}\n` })
      const again = await check()
      expect(again.said).toBe(`${away}, less than a minute ago; keyman ssh renew asks again\n`)
      expect(asked()).toBe(0)
    })
  })
  describe('with the key in an ssh-agent that hangs up', () => {
    let agent: Server
    /** A session whose key may be there, for all that can be found out. */
    const inAgent = (certified: boolean) => {
      const socket = join(env.HOME ?? '', 'agent')
      const { keyIn: _, ...held } = session(Date.now() + HOUR, certified)
      writeSession(places, 'acme', { ...held, keyIn: 'agent', agent: { socket } })
      writeFileSync(sessionFiles(places, 'acme').publicKey, `${makeLoginKeys('keyman:acme').ssh.line}\n`)
      agent = createServer(
        connection =>
          void connection
            .on('error', () => undefined)
            .resume()
            .end(),
      )
      return new Promise<string>(resolve => agent.listen(socket, () => resolve(socket)))
    }
    afterEach(() => new Promise(resolve => agent.close(resolve)))

    it('says yes and why ssh may fail, and asks nobody for a login', async () => {
      const socket = await inAgent(true)
      expect(await check({ terminal: true })).toEqual({
        code: 0,
        said:
          `keyman: warning: the ssh-agent at ${socket} could not be asked for the SSH key of this session: ` +
          'the ssh-agent hung up; see whether ssh-add -l answers; keyman login makes a new key\n',
      })
      expect(asked()).toBe(0)
    })
    it('renews within the session, as with a key that is there', async () => {
      await inAgent(false)
      const { code, said } = await check({ terminal: true })
      expect([code, said]).toEqual([3, expect.stringContaining('keyman: https://127.0.0.1:1 is not reached')])
      expect(asked()).toBe(0)
    })
    it('that has ended, asks the person again', async () => {
      await inAgent(true)
      await new Promise(resolve => agent.close(resolve))
      expect((await check()).said).toContain(', which has ended, and nobody is here to ask; run keyman login first\n')
      await check({ terminal: true })
      expect(asked()).toBe(1)
    })
  })
  it('knows no organisation, and says what to do', async () => {
    rmSync(places.config, { recursive: true })
    const { code, said } = await check()
    expect(code).not.toBe(0)
    expect(said).toContain('there is no context "acme"')
  })
})

describe('fifty ssh at once', () => {
  const said: string[] = []
  const fifty = () => Promise.all(Array.from({ length: 50 }, () => checkBeforeSsh(places, line => said.push(line))))
  const withEnv = async <T>(work: () => Promise<T>): Promise<T> => {
    const held = { ...process.env }
    Object.assign(process.env, env, { DISPLAY: ':0' })
    try {
      return await work()
    } finally {
      for (const name of Object.keys(process.env)) if (!(name in held)) delete process.env[name]
      Object.assign(process.env, held)
    }
  }
  it('ask once; the others wait and get what the one got', async () => {
    // What a login leaves behind: the session's file, with a certificate that is good.
    home(
      `mkdir -p "$XDG_RUNTIME_DIR/keyman/acme"; cp "$HOME/session.json" "$XDG_RUNTIME_DIR/keyman/acme/session.json"; touch "$XDG_RUNTIME_DIR/keyman/acme/id_ed25519"; exit 0`,
    )
    writeFileSync(join(env.HOME ?? '', 'session.json'), JSON.stringify(session(Date.now() + HOUR)))
    expect(await withEnv(fifty)).toEqual(Array.from({ length: 50 }, () => true))
    expect(asked()).toBe(1)
  })
  it('ask once where the person refuses', async () => {
    expect(await withEnv(fifty)).toEqual(Array.from({ length: 50 }, () => false))
    expect(asked()).toBe(1)
    expect(said).toHaveLength(50)
  })
})
