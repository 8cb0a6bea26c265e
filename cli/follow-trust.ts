import { changeContext } from './change-context.ts'
import type { Context } from './context.ts'
import type { Folders } from './folders.ts'
import { refreshTrust, stillClaimed } from './trust-store.ts'

/** Fetches the newest trust bundle, verifies that it goes forward from the one that is held, and pins it. Gives the context then. */
export async function followTrust(folders: Folders, held: Context): Promise<Context> {
  const { pin, claims } = await refreshTrust(held)
  return changeContext(folders, held.organisation, ({ hostSuffixes }) => ({
    ...pin,
    hostSuffixes: stillClaimed(hostSuffixes, claims),
  }))
}
