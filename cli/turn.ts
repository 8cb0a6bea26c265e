import { randomBytes } from 'node:crypto'
import { linkSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'

/**
 * One at a time among processes: the first does the work, the others wait until it is done (an event, not a poll) and
 * then do theirs, which finds the first one's result. Gives false where the turn did not come within `patience`
 * milliseconds. A holder that died is seen by its process ID.
 */
export async function takeTurn(path: string, patience: number, work: () => Promise<boolean>): Promise<boolean> {
  const end = Date.now() + patience
  while (!acquire(path)) {
    if (!(await released(path, end - Date.now()))) return false
  }
  try {
    return await work()
  } finally {
    rmSync(path, { force: true })
  }
}

/** A hard link appears with its content or not at all, so nobody ever reads a half-written holder. */
function acquire(path: string): boolean {
  const own = `${path}.${randomBytes(6).toString('hex')}`
  writeFileSync(own, String(process.pid), { mode: 0o600, flag: 'wx' })
  try {
    linkSync(own, path)
    return true
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    return false
  } finally {
    rmSync(own, { force: true })
  }
}

/** Waits until the holder's file goes; takes it away itself where the holder is dead. */
function released(path: string, patience: number): Promise<boolean> {
  if (patience <= 0) return Promise.resolve(false)
  return new Promise(resolve => {
    const watcher = watch(dirname(path), (_, name) => name === basename(path) && look())
    // The death of a holder raises no event in the folder: look again now and then.
    const again = setInterval(look, 1000)
    const timer = setTimeout(() => done(false), patience)
    const done = (free: boolean) => {
      watcher.close()
      clearInterval(again)
      clearTimeout(timer)
      resolve(free)
    }
    function look(): void {
      const holder = holderOf(path)
      if (holder !== undefined && alive(holder)) return
      if (holder !== undefined) rmSync(path, { force: true })
      done(true)
    }
    look()
  })
}

function holderOf(path: string): number | undefined {
  try {
    return Number(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
