import type { z } from 'zod'
import { api, type schemas } from '#shared/api/index.ts'
import { formatDuration } from '#shared/durations.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { NEWEST_OPTIONS, newestQuery, remarkOnMore } from '../../calls/newest.ts'
import { callAsPerson } from '../../calls/session-call.ts'
import { command, take } from '../../terminal/command.ts'
import { print, printJson, shown, table } from '../../terminal/terminal.ts'
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
    ...NEWEST_OPTIONS,
    open: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  async run(values, positionals) {
    take(positionals, [])
    const newest = await newestQuery(values)
    const answer = await callAsPerson(api.hosts.logins, {
      query: { ...newest, open: values.open === true ? 'true' : undefined },
    })
    remarkOnMore(answer.logins.length, newest.limit)
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
