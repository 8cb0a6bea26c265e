import { type Context, isWorkload, live, type PersonSession, readableSession } from '../context/context.ts'
import type { Folders } from '../context/folders.ts'
import { signInTurn } from '../context/marks.ts'
import { takeTurn } from '../context/turn.ts'
import { remark } from '../terminal/terminal.ts'

/** A person who is there touches the passkey well within it; a login that nobody answers must not hold up the next one. */
const PATIENCE_MS = 60_000

/**
 * Where another `keyman login` waits for a passkey already, that one is waited for and what it gets is taken: one page, one
 * touch. Where it comes to nothing, or to no end within `patience` milliseconds, this one goes on.
 */
export async function oneAtATime(
  folders: Folders,
  context: Context,
  login: () => Promise<PersonSession>,
  patience = PATIENCE_MS,
): Promise<PersonSession> {
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

/** A person's. Undefined also where the file is damaged: a login makes it anew. */
export function liveSession(folders: Folders, { organisation }: Context): PersonSession | undefined {
  const session = readableSession(folders, organisation)
  return session && !isWorkload(session) ? live(session, new Date()) : undefined
}
