import { api } from '#shared/api/index.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { parsePlace } from '#shared/names.ts'
import { callByFlags } from '../../calls/call-by-flags.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { type Command, command, take, usage } from '../../terminal/command.ts'
import { print, printJson, remark, table } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'

const list = command({
  help: `keyman project list: projects and their environments
usage: keyman project list [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const answer = await callAsPerson(api.projects.list)
    if (values.json) printJson(answer)
    else
      print(
        table(
          ['PROJECT', 'ENVIRONMENTS', 'MADE'],
          answer.projects.map(project => [
            project.name,
            project.environments.join(', ') || '-',
            local(project.createdAt),
          ]),
        ),
      )
    return EXIT.done
  },
})

const show = command({
  help: `keyman project show: one project, and what is in it
usage: keyman project show PROJECT [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [project] = take(positionals, ['PROJECT'])
    const found = await callAsPerson(api.projects.show, { params: { project: parsePlace(project, 'PROJECT') } })
    if (values.json) printJson(found)
    else {
      print(found.name)
      print(`  environments  ${found.environments.join(', ') || 'none'}`)
      print(`  made          ${local(found.createdAt)}`)
      for (const host of found.hosts) print(`  host          ${host.name} in ${host.in}`)
      for (const workload of found.workloads) print(`  workload      ${workload}`)
      for (const grant of found.grants) print(`  grant         ${grant}`)
    }
    return EXIT.done
  },
})

const add = command({
  help: `keyman project add: make a project, or environments of one that is there
usage: keyman project add PROJECT [ENVIRONMENT …] [--json]

example:
  keyman project add payments prod staging
Then: keyman host add NAME --in payments/prod; keyman workload add payments/prod/NAME;
keyman grant add WHO --role admin --in payments
Undo: keyman project remove payments/staging`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [name, ...environments] = positionals
    if (name === undefined) throw usage('PROJECT is missing')
    const project = await callByFlags(api.projects.add, { body: { name, environments } }, FLAGS)
    if (values.json) printJson(project)
    else
      remark(
        `${project.name} is there${project.environments.length === 0 ? '' : `, with ${project.environments.join(', ')}`}.`,
      )
    return EXIT.done
  },
})

const FLAGS = { name: 'PROJECT', environments: 'ENVIRONMENT' }

const remove = command({
  help: `keyman project remove: take away a project or an environment in which nothing is left
usage: keyman project remove PROJECT[/ENVIRONMENT] [--json]

Hosts, workloads, grants and environments that are still in it are named, and nothing is removed.`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['PROJECT'])
    const [project = '', environment] = parsePlace(text, 'PROJECT').split('/')
    if (environment === undefined) await callAsPerson(api.projects.remove, { params: { project } })
    else await callAsPerson(api.projects.removeEnvironment, { params: { project, environment } })
    if (values.json) printJson({ removed: text })
    else remark(`Removed ${text}.`)
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { list, show, add, remove }
