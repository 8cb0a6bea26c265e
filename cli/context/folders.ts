import { existsSync, mkdirSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { onFile } from './file-errors.ts'

/**
 * Where the CLI keeps what. Configuration (pins, contexts, remembered checkpoints): XDG_CONFIG_HOME. What lives only as
 * long as a person's session (keys, certificates): the runtime folder, gone at reboot. What lives as long as a workload's, and
 * its turns: the state folder, since that session outlives reboots and cron knows of no runtime folder. All folders are 0700, made so at once.
 */
export type Folders = { config: string; state: string; runtime: string; serverState: string }

export function folders(env: NodeJS.ProcessEnv = process.env): Folders {
  const home = env.HOME || homedir()
  for (const folder of [env.XDG_CONFIG_HOME, env.XDG_STATE_HOME]) refuseAnothersHome(absolute(folder) ?? home)
  const state = join(absolute(env.XDG_STATE_HOME) ?? join(home, '.local', 'state'), 'keyman')
  return {
    config: join(absolute(env.XDG_CONFIG_HOME) ?? join(home, '.config'), 'keyman'),
    state,
    runtime: runtimeFolder(env, state),
    serverState: join(absolute(env.XDG_STATE_HOME) ?? join(home, '.local', 'state'), 'keyman-server'),
  }
}

/**
 * Root with the home of somebody else, as `sudo -E` gives it, would leave files there that their owner cannot use or remove any
 * more. Throws `denied` before anything is read or written.
 */
function refuseAnothersHome(folder: string): void {
  if (process.geteuid?.() !== 0) return
  const owner = statSync(folder, { throwIfNoEntry: false })?.uid
  if (owner === undefined || owner === 0) return
  throw new KeymanError('denied', `keyman runs as root, and ${folder} belongs to the user ${owner}`, {
    hint: 'run it without sudo, or with sudo -H for root itself',
  })
}

/** A shell of `su` or cron has no XDG_RUNTIME_DIR though the folder is there; root and containers have none at all. */
function runtimeFolder(env: NodeJS.ProcessEnv, state: string): string {
  const uid = process.getuid?.() ?? 0
  for (const candidate of [absolute(env.XDG_RUNTIME_DIR), `/run/user/${uid}`]) {
    if (candidate && existsSync(candidate)) {
      const stat = statSync(candidate)
      if (stat.isDirectory() && stat.uid === uid && (stat.mode & 0o077) === 0) return join(candidate, 'keyman')
    }
  }
  return join(state, 'run')
}

/** Where workloads' sessions lie, a folder an organisation. */
export const workloadsFolder = (folders: Folders): string => join(folders.state, 'workloads')

/**
 * Below which an organisation's session lies here, and beside it whatever processes have to agree on. It is a workload's from the
 * moment on that its folder is there until it is removed.
 */
export const sessionHome = (folders: Folders, organisation: string): string =>
  isOfWorkload(folders, organisation) ? workloadsFolder(folders) : folders.runtime
export const isOfWorkload = (folders: Folders, organisation: string): boolean =>
  existsSync(join(workloadsFolder(folders), organisation))

/** XDG: a relative path is to be ignored. */
const absolute = (path: string | undefined): string | undefined => (path?.startsWith('/') ? path : undefined)

export function makeFolder(path: string): string {
  onFile(path, 'written', () => mkdirSync(path, { recursive: true, mode: 0o700 }))
  return path
}
