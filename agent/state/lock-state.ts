import { join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { lockFolder } from '#shared/folder-lock.ts'
import type { Log } from '../log.ts'

/**
 * One agent a state folder: the server gives a host one stream, so two would take it from each other, each second, for ever,
 * and both write the same files. Gives a function that gives the lock back. Throws `conflict` that names the one that runs.
 */
export function lockState(stateFolder: string, log: Log): () => void {
  try {
    return lockFolder(
      `the state folder ${stateFolder}`,
      join(stateFolder, 'agent.lock'),
      'one keyman-agent a host: look for it with systemctl status keyman-agent, and stop one of the two',
    )
  } catch (error) {
    if (!(error instanceof KeymanError) || error.code !== 'unavailable') throw error
    // A host that hears of no revocation any more would be worse than two agents that somebody has yet to start.
    log.warn(error.message)
    return () => undefined
  }
}
