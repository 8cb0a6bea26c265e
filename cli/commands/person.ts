import { api } from '#shared/api/index.ts'
import { parseDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { callByFlags } from '../call-by-flags.ts'
import { type Command, command, take } from '../command.ts'
import { confirmRemoval } from '../confirm-removal.ts'
import { CONNECTIONS_GO_ON } from '../connections-go-on.ts'
import { callAsPerson } from '../session-call.ts'
import { print, printJson, remark, shown, table } from '../terminal.ts'
import { local } from '../times.ts'

const list = command({
  help: `keyman person list: everybody of this organisation
usage: keyman person list [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const answer = await callAsPerson(api.persons.list)
    if (values.json) printJson(answer)
    else {
      const rows = answer.persons.map(person => [
        person.identity,
        person.administrator ? 'administrator' : '',
        person.state,
        String(person.passkeys),
        person.teams.join(', '),
        person.lastLoginAt ? local(person.lastLoginAt) : 'never',
      ])
      print(table(['PERSON', 'ROLE', 'STATE', 'PASSKEYS', 'TEAMS', 'LAST LOGIN'], rows))
    }
    return EXIT.done
  },
})

const show = command({
  help: `keyman person show: one person
usage: keyman person show PERSON [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [identity] = take(positionals, ['PERSON'])
    const person = await callAsPerson(api.persons.show, {
      params: { identity: parsePersonIdentity(identity, 'PERSON') },
    })
    if (values.json) printJson(person)
    else {
      print(`${person.identity}${person.administrator ? ', administrator' : ''}, ${person.state}`)
      print(`  passkeys    ${person.passkeys}`)
      print(`  teams       ${person.teams.join(', ') || 'none'}`)
      print(`  since       ${local(person.createdAt)}`)
      print(`  last login  ${person.lastLoginAt ? local(person.lastLoginAt) : 'never'}`)
    }
    return EXIT.done
  },
})

const invite = command({
  help: `keyman person invite: a link with which somebody makes a passkey and becomes a person here, once
usage: keyman person invite PERSON [--administrator] [--for 24h] [--json]

  --administrator   as a further administrator
  --for 24h         how long the link is good

example:
  keyman person invite alice@example.com
Give the link to that person alone; inviting the same person again ends it. Undo: keyman invitation remove ID`,
  options: { administrator: { type: 'boolean' }, for: { type: 'string' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [identity] = take(positionals, ['PERSON'])
    const body = {
      identity: parsePersonIdentity(identity, 'PERSON'),
      administrator: values.administrator === true,
      lifetime: parseDuration(values.for ?? '24h', '--for'),
    }
    const answer = await callByFlags(api.persons.invite, { body }, { identity: 'PERSON', lifetime: '--for' })
    if (values.json) printJson(answer)
    else {
      print(answer.link)
      remark(`For ${answer.identity}, once, until ${local(answer.endsAt)}. Then, on that person's machine:`)
      remark(`  ${shown(answer.login)}`)
    }
    return EXIT.done
  },
})

const disable = command({
  help: `keyman person disable: end everything of a person at once, and forbid signing in
usage: keyman person disable PERSON [--yes] [--json]

The last administrator can't be disabled. Undo: keyman person enable PERSON`,
  options: { yes: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['PERSON'])
    const identity = parsePersonIdentity(text, 'PERSON')
    if (!(await confirmRemoval(identity, values.yes))) return EXIT.failed
    const person = await callAsPerson(api.persons.disable, { params: { identity }, deadline: 15_000 })
    if (values.json) printJson(person)
    else {
      remark(`${person.identity} is ${person.state}.`)
      remark(CONNECTIONS_GO_ON)
    }
    return EXIT.done
  },
})

const enable = command({
  help: `keyman person enable: let a disabled person sign in again
usage: keyman person enable PERSON [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['PERSON'])
    const person = await callAsPerson(api.persons.enable, { params: { identity: parsePersonIdentity(text, 'PERSON') } })
    if (values.json) printJson(person)
    else remark(`${person.identity} is ${person.state}.`)
    return EXIT.done
  },
})

export const commands: Record<string, Command> = { list, show, invite, disable, enable }
