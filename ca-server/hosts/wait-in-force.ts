import type { HostInForce, HostsDeps } from './port.ts'
import { type HostRow, isConnected, selectLiving } from './records.ts'

/** Other servers' hosts answer to those: their rows are looked at again after this time. */
const LOOK_AGAIN_MS = 200

/**
 * Waits until every joined host that is connected has the KRL in force. `nextAnswer` resolves when a host of this server
 * has said something.
 */
export async function waitInForce(
  deps: Pick<HostsDeps, 'store' | 'now'>,
  krlVersion: bigint,
  seconds: number,
  nextAnswer: () => Promise<void>,
): Promise<HostInForce[]> {
  // The monotonic clock: a clock that is set back must not make a revocation wait for an hour.
  const end = performance.now() + seconds * 1000
  for (;;) {
    const answered = nextAnswer()
    const now = deps.now()
    const hosts = (await selectLiving(deps.store)).filter(row => row.joined).map(row => inForceOf(row, krlVersion, now))
    const left = end - performance.now()
    if (left <= 0 || !hosts.some(host => host.state === 'waiting')) return hosts
    await Promise.race([answered, pause(Math.min(left, LOOK_AGAIN_MS))])
  }
}

function inForceOf(row: HostRow, krlVersion: bigint, now: Date): HostInForce {
  const failed = row.failedRevision !== undefined && row.failedRevision >= row.revision
  const state =
    row.inForceKrl >= krlVersion ? 'in-force' : !isConnected(row, now) ? 'away' : failed ? 'failed' : 'waiting'
  const message = row.message === undefined ? {} : { message: row.message }
  return { name: row.name, state, revision: row.inForce, ...message }
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))
