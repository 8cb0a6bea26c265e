import { type Connection, clockDifference } from '../server/call.ts'
import type { Agent } from './handle-frame.ts'

/** Certificates start a minute back. */
const TOLERATED_MS = 60_000
/** A fleet that comes back all at once asks for the stream, not for the time too. */
const ASK_AGAIN_MS = 3_600_000

/** Says how far this host's clock is off and what comes of it; `undefined` where it agrees. Throws where no time comes. */
export async function clockProblem(connection: Connection, now: () => Date): Promise<string | undefined> {
  const difference = await clockDifference(connection, now)
  if (Math.abs(difference) <= TOLERATED_MS) return undefined
  const seconds = Math.round(Math.abs(difference) / 1000)
  return difference > 0
    ? `this host's clock is ${seconds} s behind the server's: sshd refuses new certificates that long, and lets in with ended ones that long; set it right (NTP)`
    : `this host's clock is ${seconds} s ahead of the server's: certificates and grants end that much too early here; set it right (NTP)`
}

/** Warns in the log, once an hour at most. A server that is not reached is no news of the clock. */
export async function warnOfClock(agent: Agent, connection: Connection, now: () => Date): Promise<void> {
  const { asked, log } = agent
  if (asked.clock !== undefined && performance.now() - asked.clock < ASK_AGAIN_MS) return
  try {
    const problem = await clockProblem(connection, now)
    asked.clock = performance.now()
    if (problem !== undefined) log.warn(problem)
  } catch {
    // What is wrong with the connection is said by the stream.
  }
}
