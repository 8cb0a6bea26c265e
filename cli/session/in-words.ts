import { endOf, isWorkload, nextAfter, principalOf, type Session, type WorkloadSession } from '../context/context.ts'
import { shown } from '../terminal/terminal.ts'
import { until } from '../terminal/times.ts'

/** Pure: of a session, what a person or a job's log is told. */

/** Until when; a workload's session has two ends. */
export function sessionLines(session: Session, now: Date): string[] {
  const end = (time: string) => until(new Date(time), now, session.zone)
  if (endOf(session) === session.endsAt) return [`  session      ends ${end(session.endsAt)}`]
  return [
    `  session      ends ${end(session.endsAt)}, in any case`,
    `               ends ${end(endOf(session))}, unless it is renewed before, which ssh and keyman do`,
  ]
}

/** Of one that is over. */
export function overLines(session: Session, now: Date): string[] {
  const ended = `ended (${until(new Date(endOf(session)), now, session.zone)}).`
  const byServer = session.endedByServer !== undefined
  if (!isWorkload(session))
    return [
      byServer
        ? 'The server has ended your session: it was revoked, or logged out elsewhere.'
        : `Your session ${ended}`,
      'Next: keyman login',
    ]
  const whose = `session of ${shown(principalOf(session))}`
  return [
    byServer
      ? `The server has ended the ${whose}: somebody ended it, or one of its keys was used elsewhere.`
      : `The ${whose} ${ended}`,
    `Next: ${nextAfter(session)}`,
  ]
}

/** Said at each renewal in the last days of a workload's session. */
export const soonOver = (session: WorkloadSession, now: Date): string =>
  `keyman: warning: the session of ${shown(principalOf(session))} ends ${until(new Date(session.endsAt), now, session.zone)}, however often it is renewed; before that, ${nextAfter(session)}`
