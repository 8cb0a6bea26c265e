import { currentContext, live, readSession } from '../context/context.ts'
import { folders } from '../context/folders.ts'
import { until } from '../terminal/times.ts'

/** For whoever meets a dead server: until when plain ssh works all the same. Undefined where it does not. */
export function certificateGoodUntil(): string | undefined {
  const places = folders()
  const context = currentContext(places)
  const { ssh } = live(context && readSession(places, context.organisation), new Date()) ?? {}
  if (!ssh || Date.parse(ssh.endsAt) <= Date.now()) return undefined
  return `ssh goes on working: your certificate ends ${until(new Date(ssh.endsAt), new Date())}`
}
