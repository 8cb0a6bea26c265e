import { rmdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname } from 'node:path'
import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { told } from '#shared/told.ts'
import {
  type Context,
  currentContext,
  damagedContexts,
  isWorkload,
  principalOf,
  readableContexts,
  readSession,
  type Session,
} from '../context/context.ts'
import { remove } from '../context/files.ts'
import { type Folders, folders, isOfWorkload } from '../context/folders.ts'
import { call } from '../server/client.ts'
import { forgetSession } from '../session/forget-session.ts'
import { readyToAsk } from '../session/renew.ts'
import { sshFiles } from '../ssh/files.ts'
import { changeInclude } from '../ssh/include.ts'
import { type Command, command, take } from '../terminal/command.ts'
import { printJson, remark, shown } from '../terminal/terminal.ts'
import { sessionConnection } from '../trust/checkpoint.ts'

const logout = command({
  help: `keyman logout: end the session and remove its keys and certificates
usage: keyman logout [--all] [--json]

  --all    of every organisation, and remove the pinned roots, the remembered checkpoints and
           the line in ~/.ssh/config too; a local server's data stays

The pin and the ssh line stay otherwise: without the pin the next login would trust blindly. A workload's
session ends the same way; it comes back with a new token: keyman workload token NAME
Exit code 9: an ssh-agent still holds a key or does not say, or a server could not be told for a damaged file.
More: docs/login.md`,
  options: { all: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const places = folders()
    const current = values.all ? undefined : currentContext(places)
    const contexts = values.all ? readableContexts(places) : current ? [current] : []
    const damaged = values.all ? damagedContexts(places) : []
    const ended = await Promise.all(contexts.map(context => end(places, context)))
    if (damaged.length === 0 && ended.every(stuck => stuck === undefined)) remark('You were not signed in.')
    for (const name of damaged)
      remark(
        `The file of ${shown(name)} is damaged, so its server could not be told: a session there ends by itself, or by keyman session end on another machine.`,
      )
    const stuck = ended.flatMap(sockets => sockets ?? [])
    if (values.all) {
      changeInclude(places, 'remove')
      for (const folder of [places.config, places.runtime, places.state]) remove(folder)
      for (const folder of [places.config, places.state, sshFiles(places).userConfig]) removeEmpty(dirname(folder))
      remark("Removed everything of keyman's from this home; a local server's data stays.")
    }
    if (values.json) printJson({ signedIn: false, ...(stuck.length > 0 ? { agents: stuck } : {}) })
    return stuck.length + damaged.length > 0 ? EXIT.found : EXIT.done
  },
})

export const commands: Record<string, Command> = { '': logout }

/** A folder below the home that a login may have made, and those above it, as far as nothing lies in them. */
function removeEmpty(folder: string): void {
  const home = process.env.HOME || homedir()
  for (let path = folder; path.startsWith(`${home}/`); path = dirname(path)) {
    try {
      rmdirSync(path)
    } catch {
      return
    }
  }
}

/** The server is told where it can be; the keys go in any case. Gives what `forgetSession` gives; undefined where there was no session. */
async function end(places: Folders, context: Context): Promise<string[] | undefined> {
  const session = readSession(places, context.organisation)
  if (!session && !isOfWorkload(places, context.organisation)) return undefined
  if (!session) {
    const stuck = await forgetSession(places, context)
    remark(`Removed what a join at ${context.organisation} that did not come to its end had left.`)
    return stuck
  }
  const untold = await tell(places, context, session).then(
    () => undefined,
    (error: unknown) => {
      // It has ended there already: revoked, or its passkey was removed.
      if (error instanceof KeymanError && error.code === 'not-signed-in') return undefined
      return told(error).message
    },
  )
  const stuck = await forgetSession(places, context)
  const whose = isWorkload(session) ? `Ended the session of ${shown(principalOf(session))} at` : 'Signed out of'
  remark(
    untold === undefined
      ? `${whose} ${context.organisation}.`
      : `${whose} ${context.organisation} here, but its server does not know (${shown(untold)}).`,
  )
  return stuck
}

async function tell(places: Folders, context: Context, session: Session): Promise<void> {
  if (!isWorkload(session)) return call(sessionConnection(places, context), api.session.end)
  return call(sessionConnection(places, await readyToAsk(places, context)), api.workloadSelf.end)
}
