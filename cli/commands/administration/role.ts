import type { z } from 'zod'
import { api, isBuiltInRole, ORGANISATION_ROLES, PLACE_ROLES, ROLES, type schemas } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { roleScopeText } from '#shared/grant-text.ts'
import { printable } from '#shared/names.ts'
import { callByFlags } from '../../calls/call-by-flags.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { type Command, command, take, usage } from '../../terminal/command.ts'
import { print, printJson, remark, shown, table } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'

type Role = z.infer<typeof schemas.role>

const list = command({
  help: `keyman role list: the roles that there are, and what each may do
usage: keyman role list [--json]

A role of the organisation is given with: keyman grant add WHO --role ROLE
One of a project or environment with:     keyman grant add WHO --role ROLE --in PLACE
An owner is made with:                    keyman person change PERSON --owner yes
What is one's own (login, sessions, passkeys) takes no role. Own roles: keyman role add --help`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const roles = await allRoles()
    if (values.json) printJson({ roles })
    else
      print(
        table(
          ['ROLE', 'OF', 'MAY'],
          roles.map(role => [role.name, roleScopeText(role.of), mayText(role)]),
          { wraps: true },
        ),
      )
    return EXIT.done
  },
})

/** What is built in stands in this program, too: whoever may not ask, or is not signed in, reads that. */
async function allRoles(): Promise<Role[]> {
  try {
    return (await callAsPerson(api.roles.list)).roles
  } catch (error) {
    if (!(error instanceof KeymanError) || !['denied', 'not-signed-in'].includes(error.code)) throw error
    remark(`Roles that are built in; others are not shown: ${error.message}`)
    const view = (name: keyof typeof ROLES, of: Role['of']): Role => ({
      ...{ name, of, builtIn: true, actions: [...ROLES[name]], lapsed: [] },
    })
    return [
      ...(['owner', ...ORGANISATION_ROLES] as const).map(name => view(name, 'organisation')),
      ...PLACE_ROLES.map(name => view(name, 'place')),
    ]
  }
}

const mayText = ({ actions, lapsed }: Role): string =>
  `${actions.join(', ') || 'nothing'}${lapsed.length === 0 ? '' : `; no more: ${lapsed.map(shown).join(', ')}`}`

const show = command({
  help: `keyman role show: one role, and what it may do
usage: keyman role show ROLE [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [name] = take(positionals, ['ROLE'])
    const role = (await allRoles()).find(role => role.name === name)
    if (!role)
      throw new KeymanError('not-found', `there is no role ${printable(name)}`, { hint: 'see keyman role list' })
    if (values.json) printJson(role)
    else {
      print(role.name)
      print(`  of        ${roleScopeText(role.of)}`)
      print(`  may       ${role.actions.join(', ') || 'nothing'}`)
      if (role.lapsed.length > 0)
        print(`  no more   ${role.lapsed.map(shown).join(', ')}: this release has no such action`)
      if (role.createdAt !== undefined) print(`  made by   ${shown(role.createdBy ?? '')}, ${local(role.createdAt)}`)
    }
    return EXIT.done
  },
})

const add = command({
  help: `keyman role add: make a role of your own; it gives nobody anything before a grant gives it
usage: keyman role add ROLE --of organisation|place --action ACTION … [--json]

  --of organisation    given for the whole organisation, or
  --of place           given for a project or environment, with --in
  --action host.read   what it may do; repeatable: keyman role list names the actions

example:
  keyman role add deployer --of place --action host.read --action host.change
Then: keyman grant add WHO --role deployer --in payments/prod
Undo: keyman role remove deployer`,
  options: { of: { type: 'string' }, action: { type: 'string', multiple: true }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [name] = take(positionals, ['ROLE'])
    if (values.of === undefined) throw usage('--of is missing: organisation or place')
    if (values.action === undefined) throw usage('--action is missing: what the role may do', 'see keyman role list')
    const role = await callByFlags(api.roles.add, { body: { name, of: values.of, actions: values.action } }, FLAGS)
    if (values.json) printJson(role)
    else remark(`${role.name} may ${role.actions.join(', ')}.`)
    return EXIT.done
  },
})

const change = command({
  help: `keyman role change: what a role of your own may do from now on, and so everybody who has it
usage: keyman role change ROLE [--add ACTION …] [--remove ACTION …] [--json]

  --add host.remove      what it may do, too; repeatable
  --remove host.change   what it may do no more; repeatable

Adding an action takes having it yourself wherever the role was given, and for as long.
example:
  keyman role change deployer --add host.remove`,
  options: {
    add: { type: 'string', multiple: true },
    remove: { type: 'string', multiple: true },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const [name] = take(positionals, ['ROLE'])
    if (values.add === undefined && values.remove === undefined)
      throw usage('nothing is to be changed: --add or --remove ACTION')
    const body = { add: values.add ?? [], remove: values.remove ?? [] }
    const role = await callByFlags(api.roles.change, { params: { name: ownRole(name) }, body }, FLAGS)
    if (values.json) printJson(role)
    else remark(`${role.name} may ${role.actions.join(', ')}.`)
    return EXIT.done
  },
})

const remove = command({
  help: `keyman role remove: take away a role of your own that no grant gives
usage: keyman role remove ROLE [--json]

Grants that give it are named, and nothing is removed.`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [name] = take(positionals, ['ROLE'])
    await callAsPerson(api.roles.remove, { params: { name: ownRole(name) } })
    if (values.json) printJson({ removed: name })
    else remark(`Removed ${name}.`)
    return EXIT.done
  },
})

/** What is built in is the same everywhere. */
function ownRole(name: string): string {
  if (isBuiltInRole(name) || name === 'owner') throw usage(`ROLE: ${name} is built in, and stays as it is`)
  return name
}

const FLAGS = { name: 'ROLE', of: '--of', actions: '--action', add: '--add', remove: '--remove' }

export const commands: Record<string, Command> = { list, show, add, change, remove }
