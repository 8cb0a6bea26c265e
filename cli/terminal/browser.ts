import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { basename } from 'node:path'

type Env = NodeJS.ProcessEnv
type Program = readonly [program: string, ...args: string[]]

/**
 * Where a page opens that this machine opens. `here`: on this very machine, so that the page can send the browser to a port of
 * ours. `there`: where the person is, by what an editor's remote extension has put into BROWSER; whether a port of this
 * machine is reached from there only the editor knows. Undefined: nowhere.
 */
export function screenOf(env: Env = process.env, platform = process.platform): 'here' | 'there' | undefined {
  if (env.KEYMAN_BROWSER) return 'here'
  const named = programs(env.BROWSER).length > 0
  if (isRemote(env)) return named ? 'there' : undefined
  return named || desktop(env, platform).length > 0 ? 'here' : undefined
}

export const hasScreen = (env?: Env, platform?: NodeJS.Platform): boolean => screenOf(env, platform) !== undefined

/**
 * Whether somebody sits at this machine's own desktop, as with an editor that has no terminal. Which program would open a page
 * says nothing of that: cron and CI may have it in their environment too.
 */
export const hasDesktop = (env: Env = process.env, platform = process.platform): boolean =>
  !isRemote(env) && desktop(env, platform).length > 0

/** By ssh, or in a terminal of an editor whose window is on another machine than this, a container or WSL. */
const isRemote = (env: Env): boolean =>
  Boolean(env.SSH_CONNECTION || env.SSH_CLIENT || env.CODESPACES || env.REMOTE_CONTAINERS || env.VSCODE_IPC_HOOK_CLI)

/**
 * Opens a page in the person's browser: by KEYMAN_BROWSER, or BROWSER, or what the desktop has. The address is an argument of a
 * program, never part of a shell's line. False where none could be started, or all failed at once.
 */
export async function openBrowser(page: string, env: Env = process.env, platform = process.platform): Promise<boolean> {
  const own = programs(env.KEYMAN_BROWSER || env.BROWSER)
  const rest = env.KEYMAN_BROWSER || isRemote(env) ? [] : desktop(env, platform)
  for (const program of [...own, ...rest]) if (await start(withPage(program, page), env)) return true
  return false
}

/** What opens a page on the screen of this machine. */
function desktop(env: Env, platform: NodeJS.Platform): Program[] {
  if (platform === 'darwin') return [['open']]
  // The person's desktop is Windows then. Its programs are started as they are, without a shell of either system.
  if (env.WSL_DISTRO_NAME || env.WSL_INTEROP)
    return [
      ['wslview'],
      ['rundll32.exe', 'url.dll,FileProtocolHandler'],
      ['/mnt/c/Windows/System32/rundll32.exe', 'url.dll,FileProtocolHandler'],
    ]
  return env.DISPLAY || env.WAYLAND_DISPLAY ? [['xdg-open']] : []
}

/** Pure but for a look whether it names one file: a list with `:`, each with arguments, as xdg-open and others read BROWSER. */
function programs(text: string | undefined): Program[] {
  if (!text) return []
  const commands = existsSync(text) ? [[text]] : text.split(':').map(each => each.split(/\s+/).filter(Boolean))
  return commands.flatMap(([program, ...args]): Program[] =>
    program === undefined || TEXT_BROWSERS.has(basename(program)) ? [] : [[program, ...args]],
  )
}

/** They can neither touch a passkey nor do without the terminal. */
const TEXT_BROWSERS = new Set(['w3m', 'lynx', 'links', 'links2', 'elinks', 'www-browser'])

/** `%s` stands for the page, wherever in an argument; where there is none, the page is the last argument. */
function withPage([program, ...args]: Program, page: string): Program {
  return args.some(arg => arg.includes('%s'))
    ? [program, ...args.map(arg => arg.replaceAll('%s', () => page))]
    : [program, ...args, page]
}

/** What opens a page either stays, as browsers do, or ends soon and says by its code whether it could. */
const FAILS_WITHIN_MS = 1000

function start([program, ...args]: Program, env: Env): Promise<boolean> {
  return new Promise(resolve => {
    const child = spawn(program, args, { stdio: 'ignore', detached: true, env })
    child.unref()
    const stays = setTimeout(() => resolve(true), FAILS_WITHIN_MS)
    const ends = (well: boolean) => {
      clearTimeout(stays)
      resolve(well)
    }
    child.once('error', () => ends(false))
    child.once('exit', code => ends(code === 0))
  })
}

/** The line with which a page of this machine's loopback opens on the person's own; undefined where it opens anywhere. */
export function tunnelTo(page: string): string | undefined {
  const { hostname, port, protocol } = new URL(page)
  if (!['localhost', '127.0.0.1', '[::1]'].includes(hostname)) return undefined
  const number = port || (protocol === 'https:' ? '443' : '80')
  const to = hostname === 'localhost' ? '127.0.0.1' : hostname
  return `ssh -L ${number}:${to}:${number} THIS-MACHINE`
}
