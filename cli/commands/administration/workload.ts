import { dirname, resolve } from 'node:path'
import type { z } from 'zod'
import { api, type schemas } from '#shared/api/index.ts'
import { formatDuration, parseDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { parseWorkloadName, type WorkloadName, workloadPrincipal } from '#shared/names.ts'
import { callByFlags } from '../../calls/call-by-flags.ts'
import { sayInForce, secondsToWait, WAIT_HELP, WAIT_OPTIONS, waiting } from '../../calls/in-force.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { checkWritable, writeFile } from '../../context/files.ts'
import { type Command, command, take, usage } from '../../terminal/command.ts'
import { confirmRemoval } from '../../terminal/confirm-removal.ts'
import { print, printJson, remark, shown, table } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'
import { join } from '../workload-join.ts'

const list = command({
  help: `keyman workload list: the machine identities of projects, and until when the session of each lasts
usage: keyman workload list [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    take(positionals, [])
    const answer = await callAsPerson(api.workloads.list)
    if (values.json) printJson(answer)
    else {
      const rows = answer.workloads.map(workload => [
        workload.name,
        workload.state,
        workload.renewedAt ? local(workload.renewedAt) : workload.joinedAt ? local(workload.joinedAt) : 'never',
        workload.from ?? '-',
        workload.idleEndsAt ? local(workload.idleEndsAt) : '-',
        workload.endsAt ? local(workload.endsAt) : '-',
        workload.ended ? shown(workload.ended) : '',
      ])
      const headings = ['WORKLOAD', 'STATE', 'RENEWED', 'FROM', 'ENDS UNLESS RENEWED', 'ENDS', '']
      print(table(headings, rows, { wraps: true }))
    }
    return EXIT.done
  },
})

const show = command({
  help: `keyman workload show: one workload
usage: keyman workload show NAME [--json]`,
  options: { json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['NAME'])
    const workload = await callAsPerson(api.workloads.show, { params: { name: workloadArgument(text) } })
    if (values.json) printJson(workload)
    else {
      print(`${workload.name}, ${workload.state}`)
      print(`  grants     name it ${workloadPrincipal(workload.name)}`)
      print(`  sessions   ${lastsText(workload)}`)
      print(`  made by    ${shown(workload.createdBy)}, ${local(workload.createdAt)}`)
      if (workload.joinedAt) print(`  joined     ${local(workload.joinedAt)}`)
      if (workload.renewedAt) print(`  renewed    ${local(workload.renewedAt)}`)
      if (workload.from) print(`  from       ${shown(workload.from)}`)
      if (workload.idleEndsAt) print(`  ends       ${local(workload.idleEndsAt)} unless it is renewed`)
      if (workload.endsAt)
        print(`  ${workload.idleEndsAt ? '         ' : 'ends     '}  ${local(workload.endsAt)} in any case`)
      if (workload.ended) print(`  ended      ${shown(workload.ended)}`)
    }
    return EXIT.done
  },
})

const lastsText = ({ idle, lifetime }: Pick<z.infer<typeof schemas.workload>, 'idle' | 'lifetime'>): string =>
  `${formatDuration(lifetime)} at most, ${formatDuration(idle)} without a renewal`

const add = command({
  help: `keyman workload add: name a machine identity of a project, and get the token that it joins with
usage: keyman workload add PLACE/NAME [flags]

  PLACE/NAME           its project or environment and its name: payments/prod/backup
  --idle 7d            its session ends when it is not renewed for so long
  --lifetime 90d       its session ends then in any case; a new token begins the next
  --for 1h             how long the token is good
  --token-file FILE    write the token there (0600) instead of to stdout
  --json

example:
  keyman workload add payments/prod/backup | ssh backup@cron1 keyman workload join --token-file -
It may do nothing before it is granted something: keyman grant add workload:payments/prod/backup LOGIN …
The token works once. Undo: keyman workload remove NAME. More: docs/workloads.md`,
  options: {
    idle: { type: 'string' },
    lifetime: { type: 'string' },
    for: { type: 'string' },
    'token-file': { type: 'string' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    const [text] = take(positionals, ['NAME'])
    const body = { name: workloadArgument(text), ...lasts(values), tokenLifetime: tokenLifetime(values.for) }
    checkTokenFile(values['token-file'])
    const answer = await callByFlags(api.workloads.add, { body }, FLAGS)
    giveToken(answer, values)
    remark(`It gets in nowhere yet: keyman grant add ${workloadPrincipal(answer.workload.name)} LOGIN --host HOST`)
    return EXIT.done
  },
})

const FLAGS = { name: 'NAME', idle: '--idle', lifetime: '--lifetime', tokenLifetime: '--for' }

/** With its prefix too, as grants name it. */
const workloadArgument = (text: string): WorkloadName => parseWorkloadName(text.replace(/^workload:/, ''), 'NAME')

const lasts = ({ idle, lifetime }: { readonly idle?: string; readonly lifetime?: string }) => ({
  ...(idle === undefined ? {} : { idle: parseDuration(idle, '--idle') }),
  ...(lifetime === undefined ? {} : { lifetime: parseDuration(lifetime, '--lifetime') }),
})

const tokenLifetime = (text = '1h'): number => parseDuration(text, '--for')

/** The token is given once: that it cannot be written there is said before. */
function checkTokenFile(file: string | undefined): void {
  if (file !== undefined) checkWritable(dirname(resolve(file)))
}

type Token = {
  readonly workload: { readonly name: WorkloadName }
  readonly token: string
  readonly endsAt: string
  readonly command: string
}
type Given = { readonly 'token-file'?: string; readonly json?: boolean }

function giveToken(answer: Token, { 'token-file': file, json }: Given): void {
  if (json) printJson(answer)
  else if (file !== undefined) writeFile(file, `${answer.token}\n`, 0o600)
  else print(answer.token)
  remark(
    `Token of ${answer.workload.name}, good once until ${local(answer.endsAt)}. Where it runs, as the Unix user that it is to be, with the token on stdin:`,
  )
  remark(`  ${shown(answer.command)}`)
}

const change = command({
  help: `keyman workload change: how long the sessions of a workload last
usage: keyman workload change NAME [--idle 7d] [--lifetime 90d] [--json]

  --idle 7d            a session ends when it is not renewed for so long
  --lifetime 90d       a session ends then in any case

It counts for the session that there is, too: its certificates follow at the next renewal.`,
  options: { idle: { type: 'string' }, lifetime: { type: 'string' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['NAME'])
    const body = lasts(values)
    if (Object.keys(body).length === 0) throw usage('nothing is to be changed: --idle, --lifetime')
    const workload = await callByFlags(api.workloads.change, { params: { name: workloadArgument(text) }, body }, FLAGS)
    if (values.json) printJson(workload)
    else remark(`Changed ${workload.name}: a session lasts ${lastsText(workload)}.`)
    return EXIT.done
  },
})

const token = command({
  help: `keyman workload token: a new token, for the next session of a workload or for another machine
usage: keyman workload token NAME [--for 1h] [--token-file FILE] [--json]

  --for 1h             how long the token is good
  --token-file FILE    write the token there (0600) instead of to stdout

Whoever comes with it becomes the workload, and the session that there is ends then.
example:
  keyman workload token payments/prod/backup | ssh backup@cron2 keyman workload join --token-file -`,
  options: { for: { type: 'string' }, 'token-file': { type: 'string' }, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['NAME'])
    const params = { name: workloadArgument(text) }
    checkTokenFile(values['token-file'])
    const body = { tokenLifetime: tokenLifetime(values.for) }
    giveToken(await callByFlags(api.workloads.token, { params, body }, FLAGS), values)
    return EXIT.done
  },
})

const end = command({
  help: `keyman workload end: end the session of a workload now, with its tokens and certificates
usage: keyman workload end NAME [--reason TEXT] [--wait 5 | --no-wait] [--json]

  --reason TEXT  kept in the audit log
${WAIT_HELP}

The workload stays, and so do its grants; a new token begins the next session: keyman workload token NAME
Exit code 9: not every connected host has confirmed in time.`,
  options: { reason: { type: 'string' }, ...WAIT_OPTIONS, json: { type: 'boolean' } },
  run(values, positionals) {
    const [text] = take(positionals, ['NAME'])
    return endWorkload(text, values)
  },
})

type EndFlags = {
  readonly reason?: string
  readonly wait?: string
  readonly 'no-wait'?: boolean
  readonly json?: boolean
}

/** `keyman revoke workload:NAME` is the same. */
export async function endWorkload(text: string, values: EndFlags): Promise<number> {
  const wait = secondsToWait(values)
  const name = workloadArgument(text)
  const { query, deadline } = waiting(wait)
  const because = values.reason === undefined ? {} : { reason: values.reason }
  const answer = await callAsPerson(api.workloads.end, { params: { name }, query: { ...query, ...because }, deadline })
  if (values.json) printJson(answer)
  else remark(`Ended the session of ${name} and revoked ${certificates(answer.revoked)}.`)
  return sayInForce(answer, wait, values.json)
}

const certificates = (n: number): string => `${n} certificate${n === 1 ? '' : 's'}`

const remove = command({
  help: `keyman workload remove: take a workload away that no grant names any more
usage: keyman workload remove NAME [--yes] [--wait 5 | --no-wait] [--json]

${WAIT_HELP}

Its session ends, its certificates are revoked. Where grants still name it, nothing is removed.
Exit code 9: not every connected host has confirmed in time.`,
  options: { yes: { type: 'boolean' }, ...WAIT_OPTIONS, json: { type: 'boolean' } },
  async run(values, positionals) {
    const [text] = take(positionals, ['NAME'])
    const name = workloadArgument(text)
    const wait = secondsToWait(values)
    if (!(await confirmRemoval(name, values.yes, `Its session ends, and its certificates are revoked.`)))
      return EXIT.failed
    const answer = await callAsPerson(api.workloads.remove, { params: { name }, ...waiting(wait) })
    if (values.json) printJson(answer)
    else remark(`Removed ${name} and revoked ${certificates(answer.revoked)}.`)
    return sayInForce(answer, wait, values.json)
  },
})

export const commands: Record<string, Command> = { list, show, add, change, token, end, remove, join }
