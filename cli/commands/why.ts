import { api } from '#shared/api/index.ts'
import { formatDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { parseHostName, parsePersonIdentity } from '#shared/names.ts'
import { type Command, command, take } from '../command.ts'
import { contextOfHost } from '../context.ts'
import { folders } from '../folders.ts'
import { callAsPerson } from '../session-call.ts'
import { print, printJson, shown } from '../terminal.ts'
import { local } from '../times.ts'

const why = command({
  help: `keyman why: as whom I get in to a host, and by which grant; if not, what is missing
usage: keyman why HOST [--person PERSON] [--json]

  --person P   of somebody else; administrators only

example:
  keyman why web1.prod.example.com
Exit code 0: there is a way in; 4: there is none.`,
  options: { person: { type: 'string' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [name] = take(positionals, ['HOST'])
    const host = parseHostName(fullName(name), 'HOST')
    const query = {
      host,
      ...(values.person === undefined ? {} : { person: parsePersonIdentity(values.person, '--person') }),
    }
    const answer = await callAsPerson(api.access.why, { query }, contextOfHost(folders(), host))
    if (values.json) printJson(answer)
    else {
      for (const way of answer.allowed) {
        const ends = way.endsAt ? `, until ${local(way.endsAt)}` : ''
        print(
          `${answer.person} gets in to ${answer.host} as ${way.login}, by ${way.grant} (${shown(way.via)}), ${formatDuration(way.maxLifetime)} at most${ends}`,
        )
      }
      if (answer.allowed.length === 0) {
        print(`${answer.person} does not get in to ${answer.host}:`)
        for (const reason of answer.reasons) print(`  ${shown(reason)}`)
      }
    }
    return answer.allowed.length > 0 ? EXIT.done : EXIT.denied
  },
})

/** `demo` stands for the demo host of a server on this machine, as in \`ssh demo\`. */
const fullName = (name: string): string => (name === 'demo' ? 'demo.keyman.localhost' : name)

export const commands: Record<string, Command> = { '': why }
