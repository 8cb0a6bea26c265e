import type { z } from 'zod'
import type { schemas } from '#shared/api/index.ts'
import { EXIT } from '#shared/exit-codes.ts'
import { usage } from '../terminal/command.ts'
import { print, remark, shown, table } from '../terminal/terminal.ts'
import { local } from '../terminal/times.ts'
import { CONNECTIONS_GO_ON } from './connections-go-on.ts'

type InForce = Pick<z.infer<typeof schemas.inForce>, 'hosts' | 'goodUntil'>

/** The flags of all that ends or narrows access. */
export const WAIT_OPTIONS = { wait: { type: 'string' }, 'no-wait': { type: 'boolean' } } as const
export const WAIT_HELP = `  --wait 5           how many seconds to wait for hosts to confirm
  --no-wait          for scripts: don't, and say nothing of hosts`

/** The flags that say what becomes of sessions on hosts. */
export const HOST_SESSION_OPTIONS = {
  'kill-sessions': { type: 'boolean' },
  'keep-sessions': { type: 'boolean' },
} as const

/** Undefined where neither is said. */
export function hostSessionsOf(values: {
  'kill-sessions'?: boolean
  'keep-sessions'?: boolean
}): 'end' | 'keep' | undefined {
  const [kill, keep] = [values['kill-sessions'] === true, values['keep-sessions'] === true]
  if (kill && keep) throw usage('either --kill-sessions or --keep-sessions')
  return kill ? 'end' : keep ? 'keep' : undefined
}

/** Seconds; undefined where nobody waits. */
export function secondsToWait(values: { wait?: string; 'no-wait'?: boolean }): number | undefined {
  if (values['no-wait'] === true && values.wait !== undefined) throw usage('either --wait or --no-wait')
  if (values['no-wait'] === true) return undefined
  const wait = values.wait === undefined ? 5 : Number(values.wait)
  if (!Number.isInteger(wait) || wait < 0 || wait > 30) throw usage('--wait is a number of seconds from 0 to 30')
  return wait
}
/** How a call that waits so long is made. */
export const waiting = (wait: number | undefined) => ({
  query: { wait: wait ?? 0 },
  deadline: ((wait ?? 0) + 10) * 1000,
})

/** Says where it is in force and where not, and until when what is out is good there. Gives the exit code. `next`: what else is to be said first. */
export function sayInForce(
  { hosts, goodUntil }: InForce,
  wait: number | undefined,
  isJson = false,
  next: readonly string[] = [],
): number {
  const ended = hosts.flatMap(({ sessionsEnded }) => sessionsEnded ?? [])
  if (!isJson) for (const line of [...(ended.length === 0 ? [CONNECTIONS_GO_ON] : []), ...next]) remark(line)
  if (wait === undefined) return EXIT.done
  const lacking = hosts.filter(host => host.state !== 'in-force')
  if (!isJson && hosts.length > 0)
    print(
      table(
        ['HOST', 'STATE', ''],
        hosts.map(host => [host.name, host.state, host.message ?? endedText(host)]),
      ),
    )
  if (!isJson)
    for (const { name, findings = [] } of hosts)
      for (const { message } of findings) remark(`On ${name} ${shown(message)}.`)
  if (!isJson && lacking.length > 0) remark(untilWhen(lacking.length, goodUntil))
  if (!isJson && ended.length > 0) {
    const sum = ended.reduce((a, b) => a + b, 0)
    remark(
      `${sum === 0 ? 'No session was open.' : sum === 1 ? '1 open session was ended.' : `${sum} open sessions were ended.`}`,
    )
    const blind = hosts.filter(({ seesLogins, state }) => !seesLogins && state === 'in-force')
    if (blind.length > 0)
      remark(
        `Open sessions go on where the agent does not see who is logged in: ${blind.map(({ name }) => name).join(', ')}.`,
      )
  }
  // Who is away can not be waited for, and hears of it first of all when it comes back.
  return lacking.every(host => host.state === 'away') ? EXIT.done : EXIT.found
}

const endedText = ({ sessionsEnded = 0 }: InForce['hosts'][number]): string =>
  sessionsEnded === 0 ? '' : sessionsEnded === 1 ? '1 session ended' : `${sessionsEnded} sessions ended`

function untilWhen(lacking: number, goodUntil: string | undefined): string {
  const there =
    lacking === 1 ? 'that host, where it is not in force' : `those ${lacking} hosts, where it is not in force`
  if (goodUntil === undefined) return `On ${there}, what is out is good until it is: no end of it is known.`
  return Date.parse(goodUntil) <= Date.now()
    ? `On ${there}, nothing that is out is good any more.`
    : `On ${there}, what is out is good until ${local(goodUntil)} at most.`
}
