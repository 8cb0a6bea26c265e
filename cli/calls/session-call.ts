import { setTimeout as wait } from 'node:timers/promises'
import { api, type Route } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { type Context, isWorkload, requireSession, type Session } from '../context/context.ts'
import { type Folders, folders } from '../context/folders.ts'
import { type CallInput, type Connection, call, lasts } from '../server/client.ts'
import { pageOf } from '../server/page.ts'
import { readyToAsk } from '../session/renew.ts'
import { over } from '../session/renew-workload.ts'
import { hasScreen, openBrowser } from '../terminal/browser.ts'
import { shortClientKeyOf } from '../terminal/shown-keys.ts'
import { isWatched, remark, shown } from '../terminal/terminal.ts'
import { sessionConnection } from '../trust/checkpoint.ts'

/**
 * A call in the name of the signed-in person, or of the workload whose session is here. Where the server wants a touch of the passkey for it, the page is opened, its
 * confirmation awaited, and the same call made once more with it. Where nobody is there to touch it, the refusal is the answer. No
 * touch is asked of a workload.
 */
export async function callAsPerson<Query, Body, Answer>(
  route: Route<Query, Body, Answer>,
  input: CallInput<Query, Body> = {},
  held?: Context,
): Promise<Answer> {
  const places = folders()
  const { context, session } = await sessionToAsk(places, held)
  if (!isWorkload(session)) return call(connectionOf(places, context), route, input)
  return call(sessionConnection(places, context), route, input).catch((error: unknown) => {
    throw over(error, session)
  })
}

/** The session that is here, ready for `sessionConnection`. Throws `not-signed-in`. */
export async function sessionToAsk(places: Folders, held?: Context): Promise<{ context: Context; session: Session }> {
  const { context, session } = requireSession(places, new Date(), held)
  return { context: await readyToAsk(places, context), session }
}

let last: { readonly by: string; readonly connection: Connection } | undefined
/** The last one for as long as it would be the same: a command may call several times, and a handshake takes longer than most answers. */
function connectionOf(places: Folders, context: Context): Connection {
  const own = sessionConnection(places, context)
  const by = JSON.stringify([own.url, own.root, own.client, context.organisation, context.publicUrl])
  if (last?.by === by) return last.connection
  const connection: Connection = {
    ...own,
    confirm: ({ id, url }, why) => confirmed(connection, { id, url: pageOf(context, url) }, why),
  }
  last = { by, connection }
  return connection
}

async function confirmed(connection: Connection, transaction: { id: string; url: string }, why: string): Promise<void> {
  const opened = hasScreen() && (await openBrowser(transaction.url))
  if (!opened && !isWatched())
    throw new KeymanError('assertion-required', why, {
      hint: `touch a passkey at ${transaction.url} and run the command again`,
    })
  remark(`${shown(why)}.`)
  if (connection.client) remark(`The page shows this client key: ${shortClientKeyOf(connection.client.key)}`)
  remark(
    opened
      ? `Touch your passkey in the browser. If no page opened: ${transaction.url}`
      : `Open this page and touch your passkey: ${transaction.url}`,
  )
  for (;;) {
    const { state, endsAt } = await call(connection, api.actions.show, { params: { transaction: transaction.id } })
    if (state === 'confirmed' || state === 'used') return
    if (state === 'refused')
      throw new KeymanError('denied', 'the action was refused in the browser; nothing was changed')
    if (lasts(connection, endsAt) <= 0)
      throw new KeymanError('assertion-required', 'nobody touched the passkey in time; nothing was changed', {
        hint: 'run the command again',
      })
    // The server has no way to call back a terminal; once a second as RFC 8628 does for logins.
    await wait(1000)
  }
}
