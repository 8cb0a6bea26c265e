import { api } from '#shared/api/index.ts'
import { formatDuration } from '#shared/durations.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { optionsText } from '#shared/grant-text.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { type Command, command, take } from '../command.ts'
import { contextOfHost } from '../context.ts'
import { folders } from '../folders.ts'
import { hostArgument } from '../host-argument.ts'
import { callAsPerson } from '../session-call.ts'
import { print, printJson, shown } from '../terminal.ts'
import { local } from '../times.ts'

const why = command({
  help: `keyman why: as whom I get in to a host, and by which grant; if not, what is missing
usage: keyman why HOST [--person PERSON] [--json]

  HOST         its whole name, or the first part of it
  --person P   of somebody else; administrators only

example:
  keyman why web1.prod.example.com
Exit code 0: there is a way in; 4: there is none.`,
  options: { person: { type: 'string' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [name] = take(positionals, ['HOST'])
    const host = await hostArgument(name, 'HOST')
    const query = {
      host,
      ...(values.person === undefined ? {} : { person: parsePersonIdentity(values.person, '--person') }),
    }
    const answer = await callAsPerson(api.access.why, { query }, contextOfHost(folders(), host)).catch(withHint)
    if (values.json) printJson(answer)
    else {
      for (const way of answer.allowed) {
        const limits = [
          `${formatDuration(way.maxLifetime)} at most`,
          way.endsAt ? `until ${local(way.endsAt)}` : '',
          optionsText(way.options),
        ].filter(Boolean)
        print(
          `${answer.person} gets in to ${answer.host} as ${way.login}, by ${way.grant} (${shown(way.via)}), ${limits.join(', ')}`,
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

/** Of oneself everybody may ask; the server's refusal says only that this is no such question. */
function withHint(error: unknown): never {
  if (!(error instanceof KeymanError) || error.code !== 'denied' || error.hint) throw error
  throw new KeymanError('denied', error.message, {
    hint: 'ask an administrator; keyman why HOST without --person says it of you',
  })
}

export const commands: Record<string, Command> = { '': why }
