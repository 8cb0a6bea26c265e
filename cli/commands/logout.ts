import { api } from '#shared/api/index.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { sessionConnection } from '../checkpoint.ts'
import { call } from '../client.ts'
import { type Command, command, take } from '../command.ts'
import { currentContext, readSession, removeSession } from '../context.ts'
import { remove } from '../files.ts'
import { folders } from '../folders.ts'
import { localAgent, removeFromAgent } from '../ssh-agent.ts'
import { refreshSshFiles } from '../ssh-files.ts'
import { changeInclude } from '../ssh-include.ts'
import { remark } from '../terminal.ts'

const logout = command({
  help: `keyman logout: end the session and remove its keys and certificates
usage: keyman logout [--all]

  --all    also remove the pinned root, the remembered checkpoint and the line in ~/.ssh/config;
           a local server's data stays

The pin and the ssh line stay otherwise: without the pin the next login would trust blindly.
More: docs/login.md`,
  options: { all: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const places = folders()
    const context = currentContext(places)
    const session = context && readSession(places, context.organisation)
    if (context && session) {
      const told = await call(sessionConnection(places, context), api.session.end).then(
        () => undefined,
        (error: unknown) => (error instanceof Error ? error.message : String(error)),
      )
      const socket = localAgent()
      if (socket) await removeFromAgent(socket, `keyman:${context.organisation}`)
      removeSession(places, context.organisation)
      refreshSshFiles(places, context, undefined)
      remark(
        told === undefined
          ? 'Signed out.'
          : `Signed out here; the server was not told (${told}), its certificate ends by itself.`,
      )
    } else remark('You were not signed in.')
    if (values.all) {
      changeInclude(places, 'remove')
      for (const folder of [places.config, places.runtime, places.state]) remove(folder)
      remark("Removed everything of keyman's from this home; a local server's data stays.")
    }
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { '': logout }
