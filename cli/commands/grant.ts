import { administration, api } from '#shared/api/index.ts'
import { formatDuration, parseDuration } from '#shared/durations.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { type Command, command, take, usage } from '../command.ts'
import { labelsText, parseLabels } from '../labels.ts'
import { callAsPerson } from '../session-call.ts'
import { print, printJson, remark, table } from '../terminal.ts'
import { local } from '../times.ts'

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
        'host' in grant.hosts ? grant.hosts.host : labelsText(grant.hosts.labels),
        formatDuration(grant.maxLifetime),
        grant.endsAt ? local(grant.endsAt) : '-',
      ])
      print(table(['GRANT', 'WHO', 'LOGIN', 'HOSTS', 'MAX', 'ENDS'], rows))
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
  --host NAME          one host
  --max 8h             the longest that one certificate may last
  --ends TIME          when the grant itself ends: RFC 3339, or a duration such as 30d
  --no-pty --no-port-forwarding --agent-forwarding --x11-forwarding
  --source ADDRESS     addresses or CIDR ranges the login may come from; repeatable
  --command TEXT       the one command that runs
  --json

example:
  keyman grant add team:sre deploy --label env=prod --max 4h
Check: keyman why HOST --person WHO. Undo: keyman grant remove ID`,
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
    const checked = administration.newGrant.safeParse({
      who,
      login,
      hosts: values.host === undefined ? { labels: parseLabels(values.label) } : { host: values.host },
      maxLifetime: parseDuration(values.max ?? '8h', '--max'),
      ...(values.ends === undefined ? {} : { endsAt: endTime(values.ends) }),
      options: {
        pty: !values['no-pty'],
        portForwarding: !values['no-port-forwarding'],
        agentForwarding: values['agent-forwarding'] === true,
        x11Forwarding: values['x11-forwarding'] === true,
        ...(values.source === undefined ? {} : { sourceAddress: values.source }),
        ...(values.command === undefined ? {} : { forceCommand: values.command }),
      },
    })
    if (!checked.success) {
      const issue = checked.error.issues[0]
      throw new KeymanError('invalid-input', `${issue?.path.join('.') || 'grant'}: ${issue?.message ?? 'not valid'}`)
    }
    const grant = await callAsPerson(api.grants.add, { body: checked.data })
    if (values.json) printJson(grant)
    else remark(`Granted: ${grant.id}. ${grant.who} may log in as ${grant.login}.`)
    await remarkUnlessEnrolled(grant.who)
    return EXIT.done
  },
})

const remove = command({
  help: `keyman grant remove: take a grant away; hosts hear of it at once
usage: keyman grant remove ID [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [id] = take(positionals, ['ID'])
    await callAsPerson(api.grants.remove, { params: { id } })
    if (values.json) printJson({})
    else remark(`Removed ${id}.`)
    return EXIT.done
  },
})

/** A grant may come before its person does; but it may also be a name that was mistyped. */
async function remarkUnlessEnrolled(who: string): Promise<void> {
  if (who.startsWith('team:')) return
  // What was granted stands; a look that fails for another reason is no matter of it.
  const passkeys = await callAsPerson(api.persons.show, { params: { identity: who } }).then(
    person => person.passkeys,
    (error: unknown) => (error instanceof KeymanError && error.code === 'not-found' ? 0 : undefined),
  )
  if (passkeys === 0) remark(`Nobody called ${who} has a passkey here yet: keyman person invite ${who}`)
}

function endTime(text: string): string {
  if (/^[0-9]+[smhd]$/.test(text)) return new Date(Date.now() + parseDuration(text, '--ends') * 1000).toISOString()
  const time = new Date(text)
  if (Number.isNaN(time.getTime()))
    throw usage(`--ends: ${JSON.stringify(text)} is neither a time (RFC 3339) nor a duration`)
  return time.toISOString()
}

export const commands: Record<string, Command> = { list, add, remove }
