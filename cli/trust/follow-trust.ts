import type { SignedBundle } from '#shared/trust/index.ts'
import { changeContext } from '../context/change-context.ts'
import type { Context } from '../context/context.ts'
import type { Folders } from '../context/folders.ts'
import { publishedTrust, refreshTrust, stillClaimed, type Trusted } from './trust-store.ts'

/** Fetches the newest trust bundle, verifies that it goes forward from the one that is held, and pins it. Gives the context then. */
export const followTrust = async (folders: Folders, held: Context): Promise<Context> =>
  keep(folders, held, await refreshTrust(held))

/** Pins what was signed and published from here, whatever the server serves: no second document of that version is ever signed here. */
export const pinPublished = (folders: Folders, held: Context, signed: SignedBundle): Promise<Context> =>
  keep(folders, held, publishedTrust(held, signed))

const keep = (folders: Folders, held: Context, { pin, claims }: Trusted): Promise<Context> =>
  changeContext(folders, held.organisation, ({ hostSuffixes }) => ({
    ...pin,
    hostSuffixes: stillClaimed(hostSuffixes, claims),
  }))
