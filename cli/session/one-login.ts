import { type Context, live, readableSession, type Session } from '../context/context.ts'
import type { Folders } from '../context/folders.ts'
import { takeTurn } from '../context/turn.ts'
import { remark } from '../terminal/terminal.ts'
import { signInTurn } from './install-session.ts'

/** A person who is there touches the passkey well within it; a login that nobody answers must not hold up the next one. */
const PATIENCE_MS = 60_000

/**
 * Where another `keyman login` waits for a passkey already, that one is waited for and what it gets is taken: one page, one
 * touch. Where it comes to nothing, or to no end within `patience` milliseconds, this one goes on.
 */
export async function oneAtATime(
  folders: Folders,
  context: Context,
  login: () => Promise<Session>,
  patience = PATIENCE_MS,
): Promise<Session> {
  const before = liveSession(folders, context)
  const session = await takeTurn(
    signInTurn(folders, context),
    patience,
    async () => {
      const now = liveSession(folders, context)
      if (now === undefined || now.session === before?.session) return login()
      remark('The other keyman login has signed this machine in; nothing more is needed.')
      return now
    },
    () => remark('Another keyman login waits for a touch of the passkey; waiting for that one (Ctrl-C ends this one).'),
  )
  if (session) return session
  remark('Nobody has answered the other keyman login yet; this one goes on by itself.')
  return login()
}

/** Undefined also where the file is damaged: a login makes it anew. */
export const liveSession = (folders: Folders, { organisation }: Context): Session | undefined =>
  live(readableSession(folders, organisation), new Date())
