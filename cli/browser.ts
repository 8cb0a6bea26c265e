import { spawn } from 'node:child_process'

/** Whether a browser can be opened on this very machine: a desktop session, and not one reached by ssh. */
export function hasScreen(env: NodeJS.ProcessEnv = process.env, platform = process.platform): boolean {
  if (env.KEYMAN_BROWSER || env.BROWSER) return true
  if (env.SSH_CONNECTION) return false
  return platform === 'darwin' || Boolean(env.DISPLAY || env.WAYLAND_DISPLAY)
}

/**
 * Opens a page in the person's browser. The address is an argument of a program, never part of a shell's line.
 * KEYMAN_BROWSER or BROWSER names the program; else the desktop's own. False where none could be started.
 */
export function openBrowser(page: string, env: NodeJS.ProcessEnv = process.env): Promise<boolean> {
  const program = env.KEYMAN_BROWSER || env.BROWSER || (process.platform === 'darwin' ? 'open' : 'xdg-open')
  return new Promise(resolve => {
    const child = spawn(program, [page], { stdio: 'ignore', detached: true })
    child.once('error', () => resolve(false))
    child.once('spawn', () => {
      child.unref()
      resolve(true)
    })
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
