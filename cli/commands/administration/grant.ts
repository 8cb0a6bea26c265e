import type { z } from 'zod'
import type { hostSelector } from '#shared/api/fields.ts'
import { api, isBuiltInRole, ROLES, type schemas } from '#shared/api/index.ts'
import { formatDuration, parseDuration } from '#shared/durations.ts'
import { KeymanError } from '#shared/errors.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { grantText, hostsText, namesText, optionsText, scopeText } from '#shared/grant-text.ts'
import { selects } from '#shared/host-selector.ts'
import { parsePlace, printable } from '#shared/names.ts'
import { callByFlags } from '../../calls/call-by-flags.ts'
import { hostArgument } from '../../calls/host-argument.ts'
import { sayInForce, secondsToWait, WAIT_HELP, WAIT_OPTIONS, waiting } from '../../calls/in-force.ts'
import { parseLabels } from '../../calls/labels.ts'
import { parseTimeToCome } from '../../calls/parse-time.ts'
import { remarkOnPersons } from '../../calls/remark-on-persons.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { type Command, command, type Options, take, usage, type Values } from '../../terminal/command.ts'
import { print, printJson, remark, shown, table } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'

const list = command({
  help: `keyman grant list: who may log in where, as whom, for how long; and who has which role
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
        ...given(grant),
        grant.endsAt ? local(grant.endsAt) : '-',
        grant.kind === 'login' ? optionsText(grant.options) : '',
      ])
      print(table(['GRANT', 'WHO', 'GIVES', 'ON', 'MAX', 'ENDS', 'OPTIONS'], rows, { wraps: true }))
    }
    return EXIT.done
  },
})

/** What it gives, on what, and for how long at most. */
function given(grant: z.infer<typeof schemas.grant>): string[] {
  if (grant.kind === 'role') return [`role ${grant.role}`, scopeText(grant.in), '-']
  const max = formatDuration(grant.maxLifetime)
  if (grant.kind === 'names') return [`names ${grant.names.join(' ')}`, scopeText(grant.in), max]
  return [`login ${grant.login}`, hostsText(grant.hosts), max]
}

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
      if (grant.kind === 'login') {
        print(`  gives     ${grant.who} the login ${grant.login}`)
        print(`  on        ${hostsText(grant.hosts)}`)
        print(`  for       ${formatDuration(grant.maxLifetime)} at most, a certificate`)
        print(`  as        ${optionsText(grant.options) || 'an ordinary shell'}`)
      } else if (grant.kind === 'names') print(`  gives     ${grant.who} ${namesText(grant)}`)
      else {
        print(`  gives     ${grant.who} the role ${grant.role}`)
        print(`  on        ${scopeText(grant.in)}`)
        print(`  may       ${await mayText(grant.role)}`)
      }
      print(`  ends      ${grant.endsAt ? local(grant.endsAt) : 'never'}`)
      print(`  made by   ${shown(grant.createdBy)}, ${local(grant.createdAt)}`)
    }
    return EXIT.done
  },
})

/** Whoever may read grants somewhere may read roles; what is built in stands here, too. */
async function mayText(role: string): Promise<string> {
  if (isBuiltInRole(role)) return ROLES[role].join(', ')
  const { roles } = await callAsPerson(api.roles.list)
  return roles.find(({ name }) => name === role)?.actions.join(', ') || 'nothing: there is no such role at the moment'
}

/** What says something of a login, and nothing of a role. */
const LOGIN_FLAGS = {
  label: { type: 'string', multiple: true },
  host: { type: 'string' },
  max: { type: 'string' },
  'no-pty': { type: 'boolean' },
  'no-port-forwarding': { type: 'boolean' },
  'agent-forwarding': { type: 'boolean' },
  'x11-forwarding': { type: 'boolean' },
  source: { type: 'string', multiple: true },
  command: { type: 'string' },
} as const satisfies Options
const GRANT_FLAGS = {
  ...LOGIN_FLAGS,
  in: { type: 'string' },
  role: { type: 'string' },
  ends: { type: 'string' },
  json: { type: 'boolean' },
} as const satisfies Options
type GrantFlags = Values<typeof GRANT_FLAGS>
type LoginHosts = z.infer<typeof hostSelector>

const add = command({
  help: `keyman grant add: let a person, team or workload log in on hosts, or give them a role
usage: keyman grant add WHO LOGIN (--label k=v … | --in PLACE [--label k=v …] | --host NAME) [flags]
       keyman grant add WHO --role ROLE [--in PLACE] [--ends TIME] [--json]

  WHO                  alice@example.com, team:sre or workload:payments/prod/backup
  LOGIN                the Unix user on those hosts
  --label env=prod     hosts that have all these labels; repeatable
  --in payments/prod   hosts in that project or environment; of a role, where it holds
  --host NAME          one host; its short name will do
  --role operator      what they may do beside what is their own: keyman role list
  --max 8h             the longest that one certificate may last
  --ends TIME          when the grant itself ends: RFC 3339, the next 18:00, or a duration such as 30d
  --no-pty --no-port-forwarding --agent-forwarding --x11-forwarding
  --source ADDRESS     addresses or CIDR ranges the login may come from; repeatable
  --command TEXT       the one command that runs
  --json

examples:
  keyman grant add team:sre deploy --label env=prod --max 4h
  keyman grant add bob@example.com --role auditor
Prints the new grant's ID. Check: keyman why HOST --person PERSON. Undo: keyman grant remove ID`,
  options: GRANT_FLAGS,
  async run(values, positionals) {
    const body = values.role === undefined ? await loginBody(values, positionals) : roleBody(values, positionals)
    const grant = await callByFlags(api.grants.add, { body }, FLAGS)
    if (values.json) printJson(grant)
    else {
      print(grant.id)
      const ends = grant.endsAt === undefined ? {} : { endsAt: local(grant.endsAt) }
      remark(`Granted: ${grantText({ ...grant, ...ends })}.`)
    }
    await remarkOnPersons([grant.who])
    if (grant.kind === 'login' && !('host' in grant.hosts)) await remarkUnlessChosen(grant.hosts)
    return EXIT.done
  },
})

/** What `--role` is given with. */
function roleBody(values: GrantFlags, positionals: readonly string[]) {
  const [who] = take(positionals, ['WHO'])
  const ofLogins = Object.keys(LOGIN_FLAGS).find(flag => Object.hasOwn(values, flag))
  if (ofLogins !== undefined)
    throw usage(`--${ofLogins} is of logins: a role is given with WHO, --role, --in and --ends alone`)
  return {
    kind: 'role',
    who,
    role: values.role,
    ...(values.in === undefined ? {} : { in: parsePlace(values.in, '--in') }),
    ...endOf(values),
  }
}

async function loginBody(values: GrantFlags, positionals: readonly string[]) {
  const [who, login] = take(positionals, ['WHO', 'LOGIN'])
  return {
    kind: 'login',
    who,
    login,
    hosts: await hostsBy(values),
    maxLifetime: parseDuration(values.max ?? '8h', '--max'),
    ...endOf(values),
    options: {
      pty: !values['no-pty'],
      portForwarding: !values['no-port-forwarding'],
      agentForwarding: values['agent-forwarding'] === true,
      x11Forwarding: values['x11-forwarding'] === true,
      ...(values.source === undefined ? {} : { sourceAddress: values.source }),
      ...(values.command === undefined ? {} : { forceCommand: values.command }),
    },
  }
}

async function hostsBy({ host, label, in: where }: GrantFlags): Promise<LoginHosts> {
  if ((host === undefined) === (label === undefined && where === undefined))
    throw usage('either --label, or --in, or --host says which hosts')
  if (host !== undefined) return { host: await hostArgument(host, '--host') }
  if (where === undefined) return { labels: parseLabels(label) }
  return { in: parsePlace(where, '--in'), ...(label === undefined ? {} : { labels: parseLabels(label) }) }
}

const endOf = ({ ends }: GrantFlags) =>
  ends === undefined ? {} : { endsAt: parseTimeToCome(ends, '--ends', new Date()) }

const change = command({
  help: `keyman grant change: other limits or another end of a grant; whom it is to and where stays as it is
usage: keyman grant change ID [flags] [--wait 5 | --no-wait] [--json]

  --max 4h             the longest that one certificate may last
  --ends TIME          when the grant itself ends; --no-end: never
  --source ADDRESS     the only addresses that the login may come from; repeatable; --no-source: any
  --command TEXT       the one command that runs; --no-command: any
  --pty --port-forwarding --agent-forwarding --x11-forwarding
  --no-pty --no-port-forwarding --no-agent-forwarding --no-x11-forwarding
${WAIT_HELP}

The page shows what it gives now, and then.
Exit code 9: not every connected host has confirmed in time.`,
  options: {
    max: { type: 'string' },
    ends: { type: 'string' },
    'no-end': { type: 'boolean' },
    source: { type: 'string', multiple: true },
    'no-source': { type: 'boolean' },
    command: { type: 'string' },
    'no-command': { type: 'boolean' },
    pty: { type: 'boolean' },
    'no-pty': { type: 'boolean' },
    'port-forwarding': { type: 'boolean' },
    'no-port-forwarding': { type: 'boolean' },
    'agent-forwarding': { type: 'boolean' },
    'no-agent-forwarding': { type: 'boolean' },
    'x11-forwarding': { type: 'boolean' },
    'no-x11-forwarding': { type: 'boolean' },
    ...WAIT_OPTIONS,
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const [id] = take(positionals, ['ID'])
    const wait = secondsToWait(values)
    const options = defined({
      pty: either('pty', values.pty, values['no-pty']),
      portForwarding: either('port-forwarding', values['port-forwarding'], values['no-port-forwarding']),
      agentForwarding: either('agent-forwarding', values['agent-forwarding'], values['no-agent-forwarding']),
      x11Forwarding: either('x11-forwarding', values['x11-forwarding'], values['no-x11-forwarding']),
      sourceAddress: orNone('source', values.source, values['no-source']),
      forceCommand: orNone('command', values.command, values['no-command']),
    })
    const ends = orNone('ends', values.ends, values['no-end'])
    const body = defined({
      endsAt: typeof ends === 'string' ? parseTimeToCome(ends, '--ends', new Date()) : ends,
      maxLifetime: values.max === undefined ? undefined : parseDuration(values.max, '--max'),
      options: Object.keys(options).length === 0 ? undefined : options,
    })
    if (Object.keys(body).length === 0) throw usage('nothing is to be changed: --max, --ends, --source, --command …')
    const answer = await callByFlags(api.grants.change, { params: { id }, body, ...waiting(wait) }, FLAGS)
    if (values.json) printJson(answer)
    else {
      const { grant } = answer
      const ends = grant.endsAt === undefined ? {} : { endsAt: local(grant.endsAt) }
      remark(`Changed ${id}: ${grantText({ ...grant, ...ends })}.`)
    }
    return sayWhere(answer, wait, values.json)
  },
})

const defined = (fields: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

/** `--pty` or `--no-pty`; `undefined` where neither is there. */
function either(flag: string, yes: boolean | undefined, no: boolean | undefined): boolean | undefined {
  if (yes && no) throw usage(`either --${flag} or --no-${flag}`)
  return yes ? true : no ? false : undefined
}

/** What a flag gives; `null` where it is taken off. */
function orNone<T>(flag: string, value: T | undefined, none: boolean | undefined): T | null | undefined {
  if (value !== undefined && none) throw usage(`either --${flag} or ${flag === 'ends' ? '--no-end' : `--no-${flag}`}`)
  return none ? null : value
}

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
    return sayWhere(answer, wait, values.json)
  },
})

/** A grant that is for no host, as that of a role, has let nobody in. */
const sayWhere: typeof sayInForce = (answer, ...rest) =>
  answer.hosts.length === 0 ? EXIT.done : sayInForce(answer, ...rest)

/** A label may be mistyped; or its hosts come later. */
async function remarkUnlessChosen(chosen: Exclude<LoginHosts, { readonly host: string }>): Promise<void> {
  // What was granted stands; a look that fails is no matter of it.
  const hosts = await callAsPerson(api.hosts.list).then(
    answer => answer.hosts,
    () => undefined,
  )
  if (hosts && !hosts.some(host => selects({ hosts: chosen }, { ...host, place: host.in })))
    remark(`No host ${'in' in chosen ? 'is in' : 'has'} ${hostsText(chosen)} yet: keyman host list`)
}

const FLAGS = {
  who: 'WHO',
  login: 'LOGIN',
  role: '--role',
  in: '--in',
  'hosts.host': '--host',
  'hosts.in': '--in',
  hosts: '--label',
  maxLifetime: '--max',
  endsAt: '--ends',
  'options.sourceAddress': '--source',
  'options.forceCommand': '--command',
}

export const commands: Record<string, Command> = { list, show, add, change, remove }
