import type { z } from 'zod'
import { api, type schemas } from '#shared/api/index.ts'
import { formatDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { parseSubjectPrincipal } from '#shared/names.ts'
import { hostArgument } from '../../calls/host-argument.ts'
import { parseTimeBefore } from '../../calls/parse-time.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { command, take, usage } from '../../terminal/command.ts'
import { print, printJson, remark, shown, table } from '../../terminal/terminal.ts'
import { local } from '../../terminal/times.ts'

type Login = z.infer<typeof schemas.hostLogin>

export const hostLogins = command({
  help: `keyman login list: who logged in on hosts, newest last
usage: keyman login list [--host H] [--person P] [--since TIME] [--until TIME] [--open] [flags]

  --host H      on that host; its short name will do
  --person P    by a certificate of that person, or of workload:NAME
  --since TIME  from then on: RFC 3339, 2030-01-31, the last 18:00, or how long ago, such as 7d
  --until TIME  up to then
  --open        those alone who are logged in now
  --limit 100   how many of the newest; at most 1000
  --json

example:
  keyman login list --host db1 --since 7d
As the agents of the hosts tell it, for a year; the audit log has all: keyman audit list --kind host-login`,
  options: {
    host: { type: 'string' },
    person: { type: 'string' },
    since: { type: 'string' },
    until: { type: 'string' },
    open: { type: 'boolean' },
    limit: { type: 'string' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    take(positionals, [])
    const limit = Number(values.limit ?? 100)
    if (!Number.isInteger(limit) || limit < 1 || limit > 1000) throw usage('--limit is a number from 1 to 1000')
    const time = (name: 'since' | 'until') => {
      const text = values[name]
      return text === undefined ? undefined : parseTimeBefore(text, `--${name}`, new Date())
    }
    const answer = await callAsPerson(api.hosts.logins, {
      query: {
        limit,
        since: time('since'),
        until: time('until'),
        open: values.open === true ? 'true' : undefined,
        person: values.person === undefined ? undefined : parseSubjectPrincipal(values.person, '--person'),
        host: values.host === undefined ? undefined : await hostArgument(values.host, '--host'),
      },
    })
    if (answer.logins.length === limit)
      remark(`These are the newest ${limit}; there may be more of them: --limit, at most 1000, or an earlier --until`)
    if (values.json) printJson(answer)
    else {
      const rows = answer.logins
        .toReversed()
        .map(login => [local(login.openedAt), login.host, login.login, whoOf(login), login.address, lasted(login)])
      print(table(['TIME', 'HOST', 'AS', 'WHO', 'FROM', 'LASTED'], rows))
    }
    return EXIT.done
  },
})

/** By a certificate of ours a name; by anything else what sshd said of it. */
function whoOf({ who, method, authority, key, recorded }: Login): string {
  if (recorded === false) return `${who ?? 'somebody'} (NOT IN THE LOG)`
  if (who !== undefined) return who
  if (method === 'certificate') return shown(`a certificate of ${authority ?? 'another authority'}`)
  return method === 'publickey' ? `a plain key ${key ?? ''}` : method
}

function lasted({ openedAt, closedAt, ended }: Login): string {
  if (closedAt === undefined) return 'still open'
  const seconds = Math.max(1, Math.round((Date.parse(closedAt) - Date.parse(openedAt)) / 1000))
  return `${formatDuration(seconds)}${ended ? ', ended by KeyMan' : ''}`
}
