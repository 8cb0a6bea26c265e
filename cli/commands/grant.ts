import { api } from '#shared/api/index.ts'
import { formatDuration, parseDuration } from '#shared/durations.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { grantText, hostsText, optionsText } from '#shared/grant-text.ts'
import { printable } from '#shared/names.ts'
import { callByFlags } from '../calls/call-by-flags.ts'
import { hostArgument } from '../calls/host-argument.ts'
import { sayInForce, secondsToWait, WAIT_HELP, WAIT_OPTIONS, waiting } from '../calls/in-force.ts'
import { parseLabels } from '../calls/labels.ts'
import { parseTimeToCome } from '../calls/parse-time.ts'
import { remarkOnPersons } from '../calls/remark-on-persons.ts'
import { callAsPerson } from '../calls/session-call.ts'
import { type Command, command, take, usage } from '../terminal/command.ts'
import { print, printJson, remark, shown, table } from '../terminal/terminal.ts'
import { local } from '../terminal/times.ts'

const list = command({
  help: `keyman grant list: who may log in where, as whom, for how long
usage: keyman grant list [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const answer = await callAsPerson(api.grants.list)
    if (values.json) printJson(answer)
    else {
      const rows = answer.grants.map(grant => [
        grant.id,
        grant.who,
        grant.login,
        hostsText(grant.hosts),
        formatDuration(grant.maxLifetime),
        grant.endsAt ? local(grant.endsAt) : '-',
        optionsText(grant.options),
      ])
      print(table(['GRANT', 'WHO', 'LOGIN', 'HOSTS', 'MAX', 'ENDS', 'OPTIONS'], rows, { wraps: true }))
    }
    return EXIT.done
  },
})

const show = command({
  help: `keyman grant show: one grant, with all that it gives
usage: keyman grant show ID [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [id] = take(positionals, ['ID'])
    const grant = (await callAsPerson(api.grants.list)).grants.find(grant => grant.id === id)
    if (!grant)
      throw new KeymanError('not-found', `there is no grant ${printable(id)}`, { hint: 'see keyman grant list' })
    if (values.json) printJson(grant)
    else {
      print(`${grant.id}`)
      print(`  gives     ${grant.who} the login ${grant.login}`)
      print(`  on        ${hostsText(grant.hosts)}`)
      print(`  for       ${formatDuration(grant.maxLifetime)} at most, a certificate`)
      print(`  ends      ${grant.endsAt ? local(grant.endsAt) : 'never'}`)
      print(`  as        ${optionsText(grant.options) || 'an ordinary shell'}`)
      print(`  made by   ${shown(grant.createdBy)}, ${local(grant.createdAt)}`)
    }
    return EXIT.done
  },
})

const add = command({
  help: `keyman grant add: let a person or team log in on hosts
usage: keyman grant add WHO LOGIN (--label k=v … | --host NAME) [flags]

  WHO                  alice@example.com, or team:sre
  LOGIN                the Unix user on those hosts
  --label env=prod     hosts that have all these labels; repeatable
  --host NAME          one host; its short name will do
  --max 8h             the longest that one certificate may last
  --ends TIME          when the grant itself ends: RFC 3339, the next 18:00, or a duration such as 30d
  --no-pty --no-port-forwarding --agent-forwarding --x11-forwarding
  --source ADDRESS     addresses or CIDR ranges the login may come from; repeatable
  --command TEXT       the one command that runs
  --json

example:
  keyman grant add team:sre deploy --label env=prod --max 4h
Prints the new grant's ID. Check: keyman why HOST --person WHO. Undo: keyman grant remove ID`,
  options: {
    label: { type: 'string', multiple: true },
    host: { type: 'string' },
    max: { type: 'string' },
    ends: { type: 'string' },
    'no-pty': { type: 'boolean' },
    'no-port-forwarding': { type: 'boolean' },
    'agent-forwarding': { type: 'boolean' },
    'x11-forwarding': { type: 'boolean' },
    source: { type: 'string', multiple: true },
    command: { type: 'string' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const [who, login] = take(positionals, ['WHO', 'LOGIN'])
    if ((values.host === undefined) === (values.label === undefined))
      throw usage('either --label or --host says which hosts')
    const body = {
      who,
      login,
      hosts:
        values.host === undefined
          ? { labels: parseLabels(values.label) }
          : { host: await hostArgument(values.host, '--host') },
      maxLifetime: parseDuration(values.max ?? '8h', '--max'),
      ...(values.ends === undefined ? {} : { endsAt: parseTimeToCome(values.ends, '--ends', new Date()) }),
      options: {
        pty: !values['no-pty'],
        portForwarding: !values['no-port-forwarding'],
        agentForwarding: values['agent-forwarding'] === true,
        x11Forwarding: values['x11-forwarding'] === true,
        ...(values.source === undefined ? {} : { sourceAddress: values.source }),
        ...(values.command === undefined ? {} : { forceCommand: values.command }),
      },
    }
    const grant = await callByFlags(api.grants.add, { body }, FLAGS)
    if (values.json) printJson(grant)
    else {
      print(grant.id)
      const ends = grant.endsAt === undefined ? {} : { endsAt: local(grant.endsAt) }
      remark(`Granted: ${grantText({ ...grant, ...ends })}.`)
    }
    await remarkOnPersons([grant.who])
    if ('labels' in grant.hosts) await remarkUnlessChosen(grant.hosts.labels)
    return EXIT.done
  },
})

const remove = command({
  help: `keyman grant remove: take a grant away; hosts hear of it at once
usage: keyman grant remove ID [--wait 5 | --no-wait] [--json]

${WAIT_HELP}

Exit code 9: not every connected host has confirmed in time.`,
  options: { ...WAIT_OPTIONS, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [id] = take(positionals, ['ID'])
    const wait = secondsToWait(values)
    const answer = await callAsPerson(api.grants.remove, { params: { id }, ...waiting(wait) })
    if (values.json) printJson(answer)
    else remark(`Removed ${id}.`)
    return sayInForce(answer, wait, values.json)
  },
})

/** A label may be mistyped; or its hosts come later. */
async function remarkUnlessChosen(labels: Readonly<Record<string, string>>): Promise<void> {
  // What was granted stands; a look that fails is no matter of it.
  const hosts = await callAsPerson(api.hosts.list).then(
    answer => answer.hosts,
    () => undefined,
  )
  const isChosen = hosts?.some(host => Object.entries(labels).every(([key, value]) => host.labels[key] === value))
  if (isChosen === false) remark(`No host has ${hostsText({ labels })} yet: keyman host list`)
}

const FLAGS = {
  who: 'WHO',
  login: 'LOGIN',
  'hosts.host': '--host',
  hosts: '--label',
  maxLifetime: '--max',
  endsAt: '--ends',
  'options.sourceAddress': '--source',
  'options.forceCommand': '--command',
}

export const commands: Record<string, Command> = { list, show, add, remove }
