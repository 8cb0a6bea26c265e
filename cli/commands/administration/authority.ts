import { EXIT } from '#shared/exit-codes.ts'
import { authorityStates, parseTrustDocument } from '#shared/trust/index.ts'
import { newestOrPinned } from '../../ssh/take-in-trust.ts'
import { type Command, command, take } from '../../terminal/command.ts'
import { print, printJson, table } from '../../terminal/terminal.ts'

const list = command({
  help: `keyman authority list: the keys that sign, by the newest trust bundle that was signed
usage: keyman authority list [--json]

active signs, standby is trusted and takes over when the active keys are lost, retired signs nothing any more:
what it has signed stays good. It only looks. On the server, keyman-server authority list says what the
keystores hold. More: docs/server.md`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const { bundle } = await newestOrPinned()
    const keys = [...authorityStates(parseTrustDocument(bundle.document))].map(([name, state]) => {
      const [purpose = '', fingerprint = ''] = name.split(' ')
      return { purpose, state, fingerprint }
    })
    if (values.json) printJson({ keys })
    else
      print(
        table(
          ['FOR', 'STATE', 'KEY'],
          keys.map(key => [key.purpose, key.state, key.fingerprint]),
        ),
      )
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { list }
