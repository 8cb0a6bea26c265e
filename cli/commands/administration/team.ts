import { api } from '#shared/api/index.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { type PersonIdentity, parsePersonIdentity, parseTeamName } from '#shared/names.ts'
import { callByFlags } from '../../calls/call-by-flags.ts'
import { sayInForce, secondsToWait, WAIT_HELP, WAIT_OPTIONS, waiting } from '../../calls/in-force.ts'
import { remarkOnPersons } from '../../calls/remark-on-persons.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { type Command, command, take, usage } from '../../terminal/command.ts'
import { print, printJson, remark, table } from '../../terminal/terminal.ts'

const list = command({
  help: `keyman team list: all teams and who is in them
usage: keyman team list [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const answer = await callAsPerson(api.teams.list)
    if (values.json) printJson(answer)
    else
      print(
        table(
          ['TEAM', 'MEMBERS'],
          answer.teams.map(team => [team.name, team.members.join(', ')]),
        ),
      )
    return EXIT.done
  },
})

const show = command({
  help: `keyman team show: who is in one team
usage: keyman team show TEAM [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['TEAM'])
    const name = teamArgument(text)
    const team = (await callAsPerson(api.teams.list)).teams.find(team => team.name === name)
    if (!team) throw new KeymanError('not-found', `there is no team ${name}`, { hint: 'see keyman team list' })
    if (values.json) printJson(team)
    else {
      print(`team:${team.name}`)
      for (const member of team.members) print(`  ${member}`)
    }
    return EXIT.done
  },
})

const add = command({
  help: `keyman team add: put persons into a team, all with one touch; the team is made if it is new
usage: keyman team add TEAM PERSON… [--json]

example:
  keyman team add sre alice@example.com bob@example.com
Undo: keyman team remove TEAM PERSON…`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const { name, persons } = members(positionals)
    const team = await callByFlags(api.teams.addMembers, { params: { name }, body: { persons } }, { persons: 'PERSON' })
    if (values.json) printJson(team)
    else remark(`team:${team.name} is now ${team.members.join(', ')}.`)
    await remarkOnPersons(persons)
    return EXIT.done
  },
})

const remove = command({
  help: `keyman team remove: take persons out of a team, all with one touch; hosts hear of it at once
usage: keyman team remove TEAM PERSON… [--wait 5 | --no-wait] [--json]

${WAIT_HELP}

Exit code 9: not every connected host has confirmed in time.`,
  options: { ...WAIT_OPTIONS, json: { type: 'boolean' } },
  async run(values, positionals) {
    const { name, persons } = members(positionals)
    const wait = secondsToWait(values)
    const team = await callByFlags(
      api.teams.removeMembers,
      { params: { name }, body: { persons }, ...waiting(wait) },
      { persons: 'PERSON' },
    )
    if (values.json) printJson(team)
    else remark(`team:${team.name} is now ${team.members.join(', ') || 'empty'}.`)
    return sayInForce(team, wait, values.json)
  },
})

function members(positionals: readonly string[]): { name: string; persons: PersonIdentity[] } {
  const [name, ...persons] = positionals
  if (name === undefined) throw usage('TEAM is missing')
  if (persons.length === 0) throw usage('PERSON is missing')
  return { name: teamArgument(name), persons: persons.map(person => parsePersonIdentity(person, 'PERSON')) }
}

/** With its prefix too, as grants name it. */
const teamArgument = (text: string) => parseTeamName(text.replace(/^team:/, ''), 'TEAM')

export const commands: Record<string, Command> = { list, show, add, remove }
