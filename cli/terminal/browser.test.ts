import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openBrowser, screenOf } from './browser.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyman-browser-'))
})
beforeEach(() => rmSync(said(), { force: true }))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const said = () => join(folder, 'said')
const PAGE = "https://keys.example.com/login/x?a=1&b='$(id)'"

describe('where a page opens', () => {
  it.each([
    [{ DISPLAY: ':0' }, 'here'],
    [{ WAYLAND_DISPLAY: 'wayland-0' }, 'here'],
    [{ BROWSER: 'firefox' }, 'here'],
    [{ WSL_DISTRO_NAME: 'Debian' }, 'here'],
    [{}, undefined],
    // By ssh the screen is somebody else's, unless an editor has said how to reach the person's.
    [{ DISPLAY: ':0', SSH_CONNECTION: 'x' }, undefined],
    [{ WSL_DISTRO_NAME: 'Debian', SSH_CONNECTION: 'x' }, undefined],
    [{ BROWSER: '/v/helpers/browser.sh', SSH_CONNECTION: 'x' }, 'there'],
    [{ BROWSER: '/v/helpers/browser.sh', VSCODE_IPC_HOOK_CLI: '/run/x.sock' }, 'there'],
    [{ BROWSER: '/v/helpers/browser.sh', REMOTE_CONTAINERS: 'true', DISPLAY: ':0' }, 'there'],
    // No passkey is touched in these.
    [{ BROWSER: 'w3m' }, undefined],
    [{ BROWSER: '/usr/bin/lynx -nocolor:links', SSH_CONNECTION: 'x' }, undefined],
    [{ KEYMAN_BROWSER: 'x', SSH_CONNECTION: 'x' }, 'here'],
  ] as const)('%j: %s', (env, where) => expect(screenOf(env, 'linux')).toBe(where))
  it('on a Mac: here, and not by ssh', () => {
    expect(screenOf({}, 'darwin')).toBe('here')
    expect(screenOf({ SSH_CONNECTION: 'x' }, 'darwin')).toBeUndefined()
  })
})

describe('what opens a page', () => {
  /** A program that leaves its arguments, one a line, and ends with a code. */
  const program = (name: string, code = 0): string => {
    const path = join(folder, name)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, `#!/bin/sh\nprintf '%s\\n' "\${0##*/}" "$@" >> '${said()}'\nexit ${code}\n`, { mode: 0o755 })
    return path
  }
  const open = async (env: NodeJS.ProcessEnv) => {
    const opened = await openBrowser(PAGE, { PATH: '/usr/bin:/bin', ...env }, 'linux')
    return { opened, args: existsSync(said()) ? readFileSync(said(), 'utf8').trimEnd().split('\n') : [] }
  }
  it('is given the page as one argument, the last one', async () => {
    expect(await open({ BROWSER: program('plain') })).toEqual({ opened: true, args: ['plain', PAGE] })
    expect(await open({ KEYMAN_BROWSER: program('own'), BROWSER: '/nowhere' })).toMatchObject({ opened: true })
  })
  it('has arguments of its own, and the page where it says %s', async () => {
    const args = ['app', '--new-window', `--app=${PAGE}`, '-x']
    expect(await open({ BROWSER: `${program('app')} --new-window --app=%s -x` })).toEqual({ opened: true, args })
  })
  it('may lie in a folder with blanks', async () => {
    expect(await open({ BROWSER: program('with blanks/browser') })).toEqual({ opened: true, args: ['browser', PAGE] })
  })
  it('may be one of a list: the next is tried where one is not there or says that it failed', async () => {
    const list = `/nowhere/at-all:${program('fails', 1)}:${program('opens')} %s`
    expect(await open({ BROWSER: list })).toEqual({ opened: true, args: ['fails', PAGE, 'opens', PAGE] })
  })
  it('is not said to have opened it by ssh where it failed, whatever else this machine has', async () => {
    const env = { BROWSER: program('fails', 1), SSH_CONNECTION: 'x', DISPLAY: ':0', PATH: folder }
    program('xdg-open')
    expect(await open(env)).toEqual({ opened: false, args: ['fails', PAGE] })
    rmSync(said())
    expect(await open({ ...env, SSH_CONNECTION: '' })).toEqual({
      opened: true,
      args: ['fails', PAGE, 'xdg-open', PAGE],
    })
  })
  it('is in WSL a program of Windows', async () => {
    const bin = join(folder, 'wsl')
    program('wsl/rundll32.exe')
    const env = { WSL_DISTRO_NAME: 'Debian', DISPLAY: ':0', PATH: bin }
    const args = ['rundll32.exe', 'url.dll,FileProtocolHandler', PAGE]
    expect(await open({ ...env, PATH: `${bin}:/bin` })).toEqual({ opened: true, args })
    rmSync(said())
    program('wsl/wslview')
    expect(await open({ ...env, PATH: `${bin}:/bin` })).toEqual({ opened: true, args: ['wslview', PAGE] })
  })
})
