import { KeymanError } from '#shared/errors.ts'
import { type Context, currentContext } from '../context/context.ts'
import { folders } from '../context/folders.ts'
import { remark, shown } from '../terminal/terminal.ts'
import { followTrust } from '../trust/follow-trust.ts'
import { refreshSshFiles } from './files.ts'

/** The newest trust bundle, taken in: what ssh reads follows from it, so it is written anew with it. Throws `not-signed-in` where none is pinned. */
export const takeIn = (): Promise<Context> => follow(pinned())

/** The same; but a server that is not reached is passed over. One that says what the root has not signed is not. */
export async function newestOrPinned(): Promise<Context> {
  const held = pinned()
  try {
    return await follow(held)
  } catch (error) {
    if (!(error instanceof KeymanError) || error.code !== 'unavailable') throw error
    remark(`${shown(error.message)}. This is what is pinned here; there may be a newer one.`)
    return held
  }
}

async function follow(held: Context): Promise<Context> {
  const places = folders()
  const context = await followTrust(places, held)
  if (context.bundleVersion > held.bundleVersion) refreshSshFiles(places)
  return context
}

function pinned(): Context {
  const context = currentContext(folders())
  if (context) return context
  throw new KeymanError('not-signed-in', 'no root of trust is pinned here yet', { hint: 'run keyman login' })
}
