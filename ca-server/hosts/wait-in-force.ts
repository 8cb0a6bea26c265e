import { hostFact } from './facts.ts'
import { isHeard } from './in-force.ts'
import type { HostInForce, HostsDeps } from './port.ts'
import { type HostRow, isConnected, isFailing, STALE_MS, selectLiving, someoneLacks } from './records.ts'

/** Other servers' hosts answer to those: the rows are looked at this often, and no oftener when a fleet answers at once. */
const LOOK_AGAIN_MS = 200
const LOOK_SOONEST_MS = 20

/**
 * Waits until every joined host that is connected has the KRL in force, or has said that it failed. `nextAnswer` resolves
 * when a host of this server has said something. In force is what a server of ours heard the host say, whatever its row says.
 */
export async function waitInForce(
  deps: Pick<HostsDeps, 'store' | 'ledger' | 'inForceKey' | 'now'>,
  krlVersion: bigint,
  seconds: number,
  nextAnswer: () => Promise<void>,
): Promise<HostInForce[]> {
  // The monotonic clock: a clock that is set back must not make a revocation wait for an hour.
  const end = performance.now() + seconds * 1000
  for (;;) {
    const answered = nextAnswer()
    const since = new Date(deps.now().getTime() - STALE_MS)
    const left = end - performance.now()
    if (left <= 0 || !(await someoneLacks(deps.store, krlVersion, since))) break
    await pause(Math.min(left, LOOK_SOONEST_MS))
    await Promise.race([answered, pause(Math.min(left, LOOK_AGAIN_MS))])
  }
  const now = deps.now()
  const living = await deps.ledger.vouched(
    () => selectLiving(deps.store),
    row => [hostFact(row)],
  )
  return living.filter(row => row.joined).map(row => inForceOf(deps.inForceKey, row, krlVersion, now))
}

function inForceOf(key: Uint8Array, row: HostRow, krlVersion: bigint, now: Date): HostInForce {
  // What failed before this KRL was sent says nothing of it.
  const failed = row.krlVersion >= krlVersion && row.failedRevision !== undefined && row.failedRevision >= row.revision
  const said = { id: row.id, revision: row.inForce, krlVersion: row.inForceKrl }
  const isInForce = !isFailing(row) && row.inForceKrl >= krlVersion && isHeard(key, said, row.inForceSeal)
  const state = isInForce ? 'in-force' : !isConnected(row, now) ? 'away' : failed ? 'failed' : 'waiting'
  const message = row.message === undefined ? {} : { message: row.message }
  return { name: row.name, state, revision: row.inForce, ...message }
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))
