import { ORGANISATION_ROLES, PLACE_ROLES, ROLES } from '#shared/api/index.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { type Command, command, take } from '../../terminal/command.ts'
import { print, printJson, table } from '../../terminal/terminal.ts'

const list = command({
  help: `keyman role list: the roles that there are, and what each may do
usage: keyman role list [--json]

A role of the organisation is given with: keyman grant add WHO --role ROLE
One of a project or environment with:     keyman grant add WHO --role ROLE --in PLACE
An owner is made with:                    keyman person change PERSON --owner yes
What is one's own (login, sessions, passkeys) takes no role.`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const roles = [
      { role: 'owner' as const, of: 'the organisation' },
      ...ORGANISATION_ROLES.map(role => ({ role, of: 'the organisation' })),
      ...PLACE_ROLES.map(role => ({ role, of: 'a project or environment' })),
    ].map(each => ({ ...each, actions: ROLES[each.role] }))
    if (values.json) printJson({ roles })
    else
      print(
        table(
          ['ROLE', 'OF', 'MAY'],
          roles.map(({ role, of, actions }) => [role, of, actions.join(', ')]),
          { wraps: true },
        ),
      )
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { list }
