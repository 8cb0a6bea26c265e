import { dirname, resolve } from 'node:path'
import { api } from '#shared/api/index.ts'
import { parseDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { labelsText } from '#shared/grant-text.ts'
import { isLabelKey, parseHostName, parsePlace, printable } from '#shared/names.ts'
import { callByFlags } from '../../calls/call-by-flags.ts'
import { asTyped, hostArgument, inFull } from '../../calls/host-argument.ts'
import { sayInForce, secondsToWait, WAIT_HELP, WAIT_OPTIONS, waiting } from '../../calls/in-force.ts'
import { parseLabels } from '../../calls/labels.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { requireSession } from '../../context/context.ts'
import { checkWritable, writeFile } from '../../context/files.ts'
import { folders } from '../../context/folders.ts'
import { type Command, command, take, usage } from '../../terminal/command.ts'
import { confirmRemoval } from '../../terminal/confirm-removal.ts'
import { print, printJson, remark, shown, table } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'

const list = command({
  help: `keyman host list: all hosts, and whether what they should have is in force
usage: keyman host list [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const answer = await callAsPerson(api.hosts.list)
    if (values.json) printJson(answer)
    else {
      const rows = answer.hosts.map(host => [
        host.name,
        host.in ?? '-',
        labelsText(host.labels),
        host.state,
        host.inForce === host.revision ? `revision ${host.inForce}` : `revision ${host.inForce} of ${host.revision}`,
        host.lastSeenAt ? local(host.lastSeenAt) : 'never',
        host.message ?? foundText(host.findings ?? []),
      ])
      print(table(['HOST', 'IN', 'LABELS', 'STATE', 'IN FORCE', 'LAST SEEN', ''], rows))
    }
    return EXIT.done
  },
})

const show = command({
  help: `keyman host show: one host
usage: keyman host show NAME [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [name] = take(positionals, ['NAME'])
    const host = await callAsPerson(api.hosts.show, { params: { name: await hostArgument(name, 'NAME') } })
    if (values.json) printJson(host)
    else {
      print(`${host.name}, ${host.state}`)
      if (host.aliases) print(`  also       ${host.aliases.join(', ')}`)
      if (host.in) print(`  in         ${host.in}`)
      print(`  labels     ${labelsText(host.labels) || 'none'}`)
      print(`  address    ${host.address ?? host.name} port ${host.port ?? 22}`)
      print(`  in force   revision ${host.inForce} of ${host.revision}`)
      print(`  last seen  ${host.lastSeenAt ? local(host.lastSeenAt) : 'never'}`)
      if (host.agent) print(`  agent      ${shown(host.agent)}`)
      if (host.sshd) print(`  sshd       ${shown(host.sshd)}`)
      if (host.state !== 'invited' && !host.seesLogins)
        print('  logins     its agent does not see who logs in, and ends no session (docs/hosts.md)')
      if (host.message) print(`  ${host.state === 'invited' ? 'joins      ' : 'says       '}${shown(host.message)}`)
      for (const { about, message, fingerprints = [] } of host.findings ?? []) {
        print(`  ${ABOUT[about]}${shown(message)}`)
        for (const fingerprint of fingerprints) print(`             ${shown(fingerprint)}`)
      }
    }
    return EXIT.done
  },
})

/** What its own configuration says. */
const ABOUT = { narrows: 'keeps out  ', 'lets-in': 'lets in    ', remark: 'remark     ' } as const

function foundText(findings: readonly { readonly about: keyof typeof ABOUT }[]): string {
  const count = (about: keyof typeof ABOUT) => findings.filter(finding => finding.about === about).length
  const parts = [
    [count('narrows'), 'kept out'],
    [count('lets-in'), 'let in beside KeyMan'],
  ].flatMap(([many, what]) => (many === 0 ? [] : [`${what}: ${many}`]))
  return parts.length === 0 ? '' : `${parts.join(', ')} (host show)`
}

const add = command({
  help: `keyman host add: name a host and get what it joins with
usage: keyman host add NAME [--label k=v …] [--in PLACE] [--alias NAME …] [flags]

  --label env=demo     what grants choose hosts by; repeatable
  --in payments/prod   the project or environment that it is in
  --alias OTHER        a further name, a CNAME say, that its certificates carry; repeatable
  --port 22            where its sshd listens
  --address ADDRESS    where clients reach it, if the name does not resolve
  --for 1h             how long the join token is good
  --token-file FILE    write the token there (0600) instead of to stdout
  --json

example:
  keyman host add web1.prod.example.com --label env=prod | ssh root@web1 keyman-agent join --token-file -
The token works once. Undo: keyman host remove NAME`,
  options: {
    label: { type: 'string', multiple: true },
    alias: { type: 'string', multiple: true },
    in: { type: 'string' },
    port: { type: 'string' },
    address: { type: 'string' },
    for: { type: 'string' },
    'token-file': { type: 'string' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const [name] = take(positionals, ['NAME'])
    const body = {
      name: newName(name),
      labels: parseLabels(values.label),
      ...(values.in === undefined ? {} : { in: parsePlace(values.in, '--in') }),
      ...(values.alias === undefined ? {} : { aliases: values.alias.map(aliasOf('--alias')) }),
      port: portOf(values.port ?? '22'),
      tokenLifetime: parseDuration(values.for ?? '1h', '--for'),
      ...(values.address === undefined ? {} : { address: values.address }),
    }
    const tokenFile = values['token-file']
    // The token is given once: that it cannot be written there is said before.
    if (tokenFile !== undefined) checkWritable(dirname(resolve(tokenFile)))
    const answer = await callByFlags(api.hosts.add, { body }, FLAGS)
    if (values.json) printJson(answer)
    else if (tokenFile !== undefined) writeFile(tokenFile, `${answer.token}\n`, 0o600)
    else print(answer.token)
    remark(
      `Join token of ${answer.host.name}, good once until ${local(answer.endsAt)}. On that host, with the token on stdin:`,
    )
    remark(`  ${shown(answer.command)}`)
    return EXIT.done
  },
})

/** A new host's name is never guessed: it stands in its certificates. */
function newName(text: string) {
  const name = parseHostName(text, 'NAME')
  if (name.includes('.')) return name
  const { context } = requireSession(folders(), new Date())
  throw usage(`NAME: ${name} is not the whole name of a host`, inFull(name, context.hostSuffixes))
}

const FLAGS = {
  name: 'NAME',
  aliases: '--alias',
  labels: '--label',
  in: '--in',
  port: '--port',
  tokenLifetime: '--for',
  address: '--address',
}

const change = command({
  help: `keyman host change: labels, project, further names, address or port of a host, all with one touch
usage: keyman host change NAME [--label k=v …] [--no-label k …] [flags]

  --label env=prod     set a label; grants choose hosts by them; repeatable
  --no-label env       take a label off; repeatable
  --in payments/prod   put it into a project or environment; grants choose by that, too
  --no-in              take it out of its project
  --alias OTHER        a further name that its certificates carry; repeatable
  --no-alias OTHER     take a further name off; repeatable
  --address ADDRESS    where clients reach it
  --no-address         clients reach it by its name
  --port 22            where its sshd listens
${WAIT_HELP}
  --json

The page shows what is, what will be, and who gets in by it, or no more.
example:
  keyman host change web1.prod.example.com --label tier=web --no-label env
Exit code 9: not every connected host has confirmed in time. More: docs/hosts.md`,
  options: {
    label: { type: 'string', multiple: true },
    'no-label': { type: 'string', multiple: true },
    in: { type: 'string' },
    'no-in': { type: 'boolean' },
    alias: { type: 'string', multiple: true },
    'no-alias': { type: 'string', multiple: true },
    address: { type: 'string' },
    'no-address': { type: 'boolean' },
    port: { type: 'string' },
    ...WAIT_OPTIONS,
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const [text] = take(positionals, ['NAME'])
    const wait = secondsToWait(values)
    if (values.address !== undefined && values['no-address']) throw usage('either --address or --no-address')
    if (values.in !== undefined && values['no-in']) throw usage('either --in or --no-in')
    const where = values['no-in'] ? null : values.in && parsePlace(values.in, '--in')
    const address = values['no-address'] ? null : values.address
    const labels = changedLabels(values.label, values['no-label'])
    const body = {
      ...(Object.keys(labels).length === 0 ? {} : { labels }),
      ...(where === undefined ? {} : { in: where }),
      ...(values.alias === undefined ? {} : { addAliases: values.alias.map(aliasOf('--alias')) }),
      ...(values['no-alias'] === undefined ? {} : { removeAliases: values['no-alias'].map(aliasOf('--no-alias')) }),
      ...(address === undefined ? {} : { address }),
      ...(values.port === undefined ? {} : { port: portOf(values.port) }),
    }
    if (Object.keys(body).length === 0) throw usage('nothing is to be changed: --label, --alias, --address, --port …')
    const name = await hostArgument(text, 'NAME')
    const changed = await callByFlags(
      api.hosts.change,
      { params: { name }, body, ...waiting(wait) },
      { ...FLAGS, addAliases: '--alias', removeAliases: '--no-alias' },
    )
    if (values.json) printJson(changed)
    else {
      remark(
        `Changed ${changed.name}: in ${changed.in ?? 'no project'}, labels ${labelsText(changed.labels) || 'none'}.`,
      )
      if (body.addAliases ?? body.removeAliases ?? body.address ?? body.port ?? address === null)
        remark("People's machines learn of names, address and port at their next keyman login or keyman ssh renew.")
      const { namesGoodUntil } = changed
      if (namesGoodUntil !== undefined && Date.parse(namesGoodUntil) > Date.now())
        remark(`A laptop that does neither believes it by a name that was taken off until ${local(namesGoodUntil)}.`)
    }
    // Whoever gets in is another matter by labels and place alone.
    return 'labels' in body || 'in' in body ? sayInForce(changed, wait, values.json) : EXIT.done
  },
})

/** What takes a label off is `null`: RFC 7396. */
function changedLabels(set: readonly string[] | undefined, remove: readonly string[] = []) {
  const labels: Record<string, string | null> = { ...parseLabels(set) }
  for (const key of remove) {
    if (!isLabelKey(key)) throw usage(`--no-label: ${printable(key)} is not the key of a label`)
    if (Object.hasOwn(labels, key)) throw usage(`the label ${key} is given twice`)
    labels[key] = null
  }
  return labels
}

const aliasOf = (flag: string) => (alias: string) => parseHostName(asTyped(alias), flag)

function portOf(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw usage('--port is a number from 1 to 65535')
  return port
}

const remove = command({
  help: `keyman host remove: take a host out; its certificates are revoked
usage: keyman host remove NAME [--yes] [--json]

The machine itself stays as it is and lets in whom it let in, until you run there: keyman-agent leave
More: docs/hosts.md`,
  options: { yes: { type: 'boolean' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['NAME'])
    const name = await hostArgument(text, 'NAME')
    if (!(await confirmRemoval(name, values.yes, `${name} ${STAYS_OPEN}.`))) return EXIT.failed
    const { grants } = await callAsPerson(api.grants.list)
    const removed = await callAsPerson(api.hosts.remove, { params: { name } })
    if (values.json) printJson(removed)
    else remark(`Removed ${name}.`)
    remark(`It ${STAYS_OPEN}.`)
    if (Date.parse(removed.goodUntil) > Date.now())
      remark(
        `A laptop hears at its next login or renewal that the host is gone, and believes its certificate until ${local(removed.goodUntil)} where it does neither.`,
      )
    const left = grants.flatMap(grant =>
      grant.kind === 'login' && 'host' in grant.hosts && grant.hosts.host === name ? [grant] : [],
    )
    if (left.length > 0) remark('These grants are for that host alone, and would count for the next one of its name:')
    for (const { id, who, login } of left) remark(`  keyman grant remove ${id}    # ${who} as ${login}`)
    return EXIT.done
  },
})

const STAYS_OPEN =
  'still lets in whom it let in, and hears of no revocation any more, until you run there: keyman-agent leave'

export const commands: Record<string, Command> = { list, show, add, change, remove }
