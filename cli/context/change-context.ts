import { join } from 'node:path'
import { KeymanError } from '#shared/errors.ts'
import { parseCheckpoint } from '#shared/merkle/index.ts'
import { type Context, makeCurrent, readContext, writeContext } from './context.ts'
import { type Folders, sessionHome } from './folders.ts'
import { takeTurn } from './turn.ts'

/** A change is a few milliseconds of one process. */
const PATIENCE_MS = 15_000

/**
 * Changes some of a context as it is on disk at that moment, one process at a time: logins, renewals and audits run beside
 * each other, and each began with a context that another may have moved on since. Gives the context as it is then. Trust
 * bundle and checkpoint only go forward, whatever is given. Throws `not-signed-in` where it was removed meanwhile.
 */
export function changeContext(
  folders: Folders,
  organisation: string,
  change: (held: Context) => Partial<Context>,
): Promise<Context> {
  return inTurn(folders, organisation, held => {
    if (!held)
      throw new KeymanError('not-signed-in', `${organisation} is not known here any more`, { hint: 'run keyman login' })
    return forward(held, change(held))
  })
}

/** Keeps what a login has believed, and makes it the current context: a new one, or one that goes forward from what is held. */
export async function pinContext(folders: Folders, context: Omit<Context, 'hosts' | 'checkpoint'>): Promise<Context> {
  const kept = await inTurn(folders, context.organisation, held =>
    held ? forward(held, context) : { ...context, hosts: [] },
  )
  makeCurrent(folders, context.organisation)
  return kept
}

/** The lock of `changeContext`. */
export const contextTurn = (folders: Folders, organisation: string): string =>
  join(sessionHome(folders, organisation), `${organisation}.context.lock`)

async function inTurn(folders: Folders, organisation: string, change: (held: Context | undefined) => Context) {
  const kept = await takeTurn(contextTurn(folders, organisation), PATIENCE_MS, async () => {
    const context = change(readContext(folders, organisation))
    writeContext(folders, context)
    return context
  })
  if (kept) return kept
  throw new KeymanError('conflict', `another keyman is changing what is known of ${organisation}, and does not end`, {
    hint: 'see with ps which one it is, end it, and run the command again',
  })
}

/** Pure: the context with the change, as far as that does not lead back: to an older bundle, or a checkpoint of a smaller log. */
function forward(held: Context, change: Partial<Context>): Context {
  // A second bundle of the version that is held is none that goes forward; the very same may have another address.
  const newer =
    change.bundle === undefined ||
    (change.bundleVersion ?? 0) > held.bundleVersion ||
    change.bundle.document === held.bundle.document
  // Names are agreed to for what a bundle claims, so they belong to it.
  const kept = newer ? { ...held, ...change } : { ...held, hosts: change.hosts ?? held.hosts }
  const checkpoint = newest(held.checkpoint, change.checkpoint, kept.logKey.name)
  return { ...kept, ...(checkpoint === undefined ? {} : { checkpoint }) }
}

/** The larger one; where the root of trust has signed another log since, that log's. */
function newest(held: string | undefined, offered: string | undefined, log: string): string | undefined {
  if (held === undefined || offered === undefined) return held ?? offered
  const [before, after] = [parseCheckpoint(held), parseCheckpoint(offered)]
  if (after.origin !== log) return held
  return before.origin !== log || after.size > before.size ? offered : held
}
