import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { formatJoinToken } from '#shared/join-token.ts'
import { parseHostName } from '#shared/names.ts'
import { AGENT } from '#test/support/programs/programs.ts'
import { HELP } from './commands/help.ts'
import { OPTIONS } from './options.ts'

/** Of util-linux: gives a program a terminal. */
const hasScript = spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0

const run = (...args: string[]) =>
  new Promise<{ code: number; out: string; err: string }>(resolve => {
    execFile(process.execPath, [AGENT, ...args], (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
    )
  })

describe('keyman-agent', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'keyman-agent-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('names every flag in a help that fits on a screen, and no flag that it has not', () => {
    const named = new Set([...HELP.matchAll(/--([a-z-]+)/g)].map(match => match[1]))
    const real = Object.keys(OPTIONS).filter(name => name !== 'help' && name !== 'version')
    expect([...named].sort()).toEqual(real.sort())
    expect(HELP.split('\n').length).toBeLessThanOrEqual(40)
    expect(HELP.split('\n').every(line => line.length <= 80)).toBe(true)
  })

  it('prints its help for --help, and for nothing with exit code 2', async () => {
    expect(await run('--help')).toEqual({ code: 0, out: HELP, err: '' })
    expect(await run()).toEqual({ code: 2, out: HELP, err: '' })
  })

  it('says error and hint, a line each, and answers by exit code', async () => {
    const state = ['--state-folder', join(folder, 'none')]
    expect(await run('frobnicate')).toMatchObject({ code: 2, out: '' })
    expect((await run('run', ...state)).code).toBe(6)
    const notJoined = await run('doctor', ...state)
    expect(notJoined.code).toBe(6)
    expect(notJoined.err).toMatch(/^keyman-agent: error: .*has not joined\nkeyman-agent: hint: .*\n$/)
  })

  it('writes nothing to a terminal that a terminal would obey', async () => {
    expect((await run('a\u001b[31m')).err).toContain("'a\\u001b[31m' is no command")
  })

  it('takes no token as an argument, and never shows the one it was given', async () => {
    const missing = await run('join')
    expect(missing).toMatchObject({ code: 2 })
    expect(missing.err).toContain('--token-file')
    const file = join(folder, 'token')
    writeFileSync(file, 'keyman-join-v1.c2VjcmV0LXRoYXQtaXMtYnJva2Vu')
    const key = join(folder, 'key.pub')
    const machine = ['--sshd', process.execPath, '--sshd-folder', folder, '--sshd-config', join(folder, 'sshd_config')]
    machine.push('--host-key', key, '--pid-file', join(folder, 'sshd.pid'))
    const broken = await run('join', '--token-file', file, ...machine)
    expect(broken.code).toBe(2)
    expect(broken.err).toContain('not a whole join token')
    expect(broken.err).not.toContain('c2VjcmV0')
  })

  it.skipIf(!hasScript)('asks for the token at a terminal, takes one line of it and the blanks off', async () => {
    const at = (name: string) => join(folder, name)
    const machine = ['--sshd', process.execPath, '--sshd-folder', folder, '--sshd-config', at('sshd_config')]
    machine.push('--host-key', at('no.pub'), '--pid-file', at('sshd.pid'), '--state-folder', at('state'))
    const name = parseHostName('web1.example.com', 'test')
    const token = { url: 'https://localhost:9', name, fingerprint: `SHA256:${'A'.repeat(43)}` }
    const answer = async (line: string) => {
      const command = [process.execPath, AGENT, 'join', '--token-file', '-', ...machine]
      const child = spawn('script', ['-qec', command.map(word => `'${word}'`).join(' '), '/dev/null'])
      let said = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        // Nothing more comes, and it is not ended either: one line has to do.
        if (!said.includes('Join token') && `${said}${text}`.includes('Join token')) child.stdin.write(line)
        said += text
      })
      await once(child, 'close')
      return said
    }
    expect(await answer(`  ${formatJoinToken({ ...token, secret: 'A'.repeat(43) })} \n`)).toContain('no.pub')
    expect(await answer('  keyman-join-v1.half \n')).toContain('not a whole join token')
  })
})
