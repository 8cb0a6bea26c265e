import { api } from '#shared/api/index.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { type Command, command, take } from '../../terminal/command.ts'
import { confirmRemoval } from '../../terminal/confirm-removal.ts'
import { print, printJson, remark, table } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'

const list = command({
  help: `keyman invitation list: links that somebody could still use to become a person here
usage: keyman invitation list [--json]

Make one: keyman person invite PERSON`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const answer = await callAsPerson(api.persons.invitations)
    if (values.json) printJson(answer)
    else {
      const rows = answer.invitations.map(invitation => [
        invitation.id,
        invitation.identity || 'whoever has it',
        invitation.owner ? 'yes' : 'no',
        invitation.createdBy,
        local(invitation.endsAt),
      ])
      print(table(['INVITATION', 'FOR', 'OWNER', 'MADE BY', 'ENDS'], rows))
    }
    return EXIT.done
  },
})

const remove = command({
  help: `keyman invitation remove: end a link before anybody uses it
usage: keyman invitation remove ID [--yes] [--json]

Undo: keyman person invite PERSON makes a new one.`,
  options: { yes: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [id] = take(positionals, ['ID'])
    if (!(await confirmRemoval(id, values.yes))) return EXIT.failed
    await callAsPerson(api.persons.uninvite, { params: { id } })
    if (values.json) printJson({})
    else remark(`Removed ${id}: its link is of no use any more.`)
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { list, remove }
