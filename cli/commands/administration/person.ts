import { api } from '#shared/api/index.ts'
import { parseDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { parsePersonIdentity } from '#shared/names.ts'
import { callByFlags } from '../../calls/call-by-flags.ts'
import { hostSessionsOf, sayInForce, secondsToWait, WAIT_HELP, WAIT_OPTIONS, waiting } from '../../calls/in-force.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { type Command, command, take, usage } from '../../terminal/command.ts'
import { confirmRemoval } from '../../terminal/confirm-removal.ts'
import { print, printJson, remark, shown, table } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'

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
        person.owner ? 'yes' : 'no',
        stateOf(person),
        String(person.passkeys),
        person.teams.join(', '),
        person.lastLoginAt ? local(person.lastLoginAt) : 'never',
      ])
      print(table(['PERSON', 'OWNER', 'STATE', 'PASSKEYS', 'TEAMS', 'LAST LOGIN'], rows))
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
      print(`${person.identity}${person.owner ? ', owner' : ''}, ${stateOf(person)}`)
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
usage: keyman person invite PERSON [--owner] [--for 24h] [--json]

  --owner           as a further owner of the organisation, who may do everything
  --for 24h         how long the link is good

example:
  keyman person invite alice@example.com
Give the link to that person alone; inviting the same person again ends it. Undo: keyman invitation remove ID`,
  options: { owner: { type: 'boolean' }, for: { type: 'string' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [identity] = take(positionals, ['PERSON'])
    const body = {
      identity: parsePersonIdentity(identity, 'PERSON'),
      owner: values.owner === true,
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
usage: keyman person disable PERSON [--keep-sessions] [--wait 5 | --no-wait] [--yes] [--json]

  --keep-sessions    let open sessions on hosts go on; they are ended otherwise
${WAIT_HELP}

The last owner can't be disabled. Undo: keyman person enable PERSON
Exit code 9: not every connected host has confirmed in time.`,
  options: {
    'keep-sessions': { type: 'boolean' },
    ...WAIT_OPTIONS,
    yes: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const [text] = take(positionals, ['PERSON'])
    const identity = parsePersonIdentity(text, 'PERSON')
    if (!(await confirmRemoval(identity, values.yes))) return EXIT.failed
    const wait = secondsToWait(values)
    const { query, deadline } = waiting(wait)
    const hostSessions = hostSessionsOf(values)
    const person = await callAsPerson(api.persons.disable, {
      params: { identity },
      query: { ...query, ...(hostSessions === undefined ? {} : { hostSessions }) },
      deadline,
    })
    if (values.json) printJson(person)
    else remark(`${person.identity} is ${person.state}.`)
    return sayInForce(person, wait, values.json)
  },
})

const enable = command({
  help: `keyman person enable: let a disabled person sign in again
usage: keyman person enable PERSON [--json]

Of an owner who was reset it is the yes to the new passkey, by another than has reset that person.`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['PERSON'])
    const person = await callAsPerson(api.persons.enable, { params: { identity: parsePersonIdentity(text, 'PERSON') } })
    if (values.json) printJson(person)
    else remark(`${person.identity} is ${person.state}.`)
    return EXIT.done
  },
})

const change = command({
  help: `keyman person change: make a person an owner, or no owner any more
usage: keyman person change PERSON --owner yes|no [--json]

Who is none any more keeps passkeys and grants, and signs in again: sessions end,
and links that nobody has used yet.
The last owner stays one. Lesser roles: keyman role list, keyman grant add WHO --role ROLE`,
  options: { owner: { type: 'string' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['PERSON'])
    const { owner } = values
    if (owner !== 'yes' && owner !== 'no') throw usage('--owner is yes or no')
    const params = { identity: parsePersonIdentity(text, 'PERSON') }
    const person = await callAsPerson(api.persons.change, { params, body: { owner: owner === 'yes' } })
    if (values.json) printJson(person)
    else remark(`${person.identity} is ${person.owner ? 'an' : 'no'} owner.`)
    return EXIT.done
  },
})

const reset = command({
  help: `keyman person reset: for who has lost the passkeys: end everything, and a link for a new passkey
usage: keyman person reset PERSON [--remove-passkeys] [--for 24h] [--wait 5 | --no-wait] [--yes] [--json]

  --remove-passkeys  the passkeys of today too: they may be in somebody else's hand
  --for 24h          how long the link is good
${WAIT_HELP}

Identity, teams and grants stay. Whoever opens the link gets all of it: give it to that person alone.
An owner's new passkey waits for the yes of another owner, where there is one:
keyman person enable PERSON. Undo: keyman person disable PERSON`,
  options: {
    'remove-passkeys': { type: 'boolean' },
    ...WAIT_OPTIONS,
    for: { type: 'string' },
    yes: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const [text] = take(positionals, ['PERSON'])
    const identity = parsePersonIdentity(text, 'PERSON')
    const removePasskeys = values['remove-passkeys'] === true
    const consequence = `It ends every session and certificate of ${identity}${removePasskeys ? ', and removes all passkeys' : ''}.`
    if (!(await confirmRemoval(identity, values.yes, consequence))) return EXIT.failed
    const wait = secondsToWait(values)
    const body = { removePasskeys, lifetime: parseDuration(values.for ?? '24h', '--for') }
    const answer = await callByFlags(
      api.persons.reset,
      { params: { identity }, body, ...waiting(wait) },
      { lifetime: '--for' },
    )
    if (values.json) printJson(answer)
    else {
      print(answer.link)
      remark(
        `It gives a new passkey of ${answer.identity}${answer.owner ? ', an owner' : ''}: once, until ${local(answer.endsAt)}.`,
      )
      remark(`Everything else of ${answer.identity} has ended.`)
      if (answer.waits) remark(`Then another owner than you has to say yes: keyman person enable ${answer.identity}`)
    }
    return sayInForce(answer, wait, values.json)
  },
})

const stateOf = ({ state, resetBy }: { readonly state: string; readonly resetBy?: string | undefined }): string =>
  resetBy === undefined ? state : `waits for the yes of another than ${shown(resetBy)}`

export const commands: Record<string, Command> = { list, show, invite, disable, enable, change, reset }
