import type { SelectableHost } from '#server/access/index.ts'
import { equalBytes } from '#shared/bytes.ts'
import type { HostName } from '#shared/names.ts'
import { contentsFor } from './desired-state.ts'
import { isHeard } from './in-force.ts'
import type { HostInForce, HostsDeps } from './port.ts'
import { type HostRow, isConnected, isFailing, STALE_MS, selectLiving, someoneLacks } from './records.ts'
import type { InTurn } from './streams/slices.ts'
import { vouchedHosts } from './vouched.ts'

/** Other servers' hosts answer to those: the rows are looked at this often, and no oftener when a fleet answers at once. */
const LOOK_AGAIN_MS = 200
const LOOK_SOONEST_MS = 20

export type Waiting = Pick<
  HostsDeps,
  'store' | 'ledger' | 'inForceKey' | 'now' | 'principalsFor' | 'currentKrl' | 'trustBundles'
> & {
  readonly inTurn: InTurn
  /** The revision that a host came with or was sent last by this server. */
  readonly told: ReadonlyMap<HostName, number>
  /** Resolves when a host of this server has said something. */
  readonly nextAnswer: () => Promise<void>
}

/**
 * Waits until every joined host that is connected has the KRL in force, or has said that it failed. In force is what a server of
 * ours heard the host say, whatever its row says.
 */
export async function waitForKrl(deps: Waiting, krlVersion: bigint, seconds: number): Promise<HostInForce[]> {
  const since = () => new Date(deps.now().getTime() - STALE_MS)
  await untilNobodyLacks(deps, seconds, () => someoneLacks(deps.store, krlVersion, since()))
  return (await joined(deps)).map(row =>
    inForceOf(deps, row, {
      isInForce: row.inForceKrl >= krlVersion,
      // What failed before this KRL was sent says nothing of it.
      wasTried: row.krlVersion >= krlVersion,
    }),
  )
}

/** The same for all that hosts are to have by now: of those hosts that `concerns` names. */
export async function waitForAll(
  deps: Waiting,
  seconds: number,
  concerns: (host: SelectableHost) => boolean,
): Promise<HostInForce[]> {
  const states = async (rows: readonly HostRow[]) => {
    const contentOf = await contentsFor(deps, deps.inTurn)
    const found: HostInForce[] = []
    for (const row of rows) {
      if (!row.joined || !concerns(row)) continue
      const { hash } = await contentOf(row)
      const is = (said: Uint8Array | undefined) => said !== undefined && equalBytes(said, hash)
      // The same may have been in force before: what was taken away and given again meanwhile has the digest of then.
      const isInForce = is(row.inForceHash) && row.inForce >= (deps.told.get(row.name) ?? 0)
      found.push(inForceOf(deps, row, { isInForce, wasTried: is(row.contentHash) }))
    }
    return found
  }
  await untilNobodyLacks(deps, seconds, async () =>
    (await states(await selectLiving(deps.store))).some(({ state }) => state === 'waiting'),
  )
  return states(await joined(deps))
}

async function untilNobodyLacks(
  { nextAnswer }: Waiting,
  seconds: number,
  someoneLacks: () => Promise<boolean>,
): Promise<void> {
  // The monotonic clock: a clock that is set back must not make a revocation wait for an hour.
  const end = performance.now() + seconds * 1000
  for (;;) {
    const answered = nextAnswer()
    const left = end - performance.now()
    if (left <= 0 || !(await someoneLacks())) return
    await pause(Math.min(left, LOOK_SOONEST_MS))
    await Promise.race([answered, pause(Math.min(left, LOOK_AGAIN_MS))])
  }
}

const joined = async (deps: Waiting): Promise<HostRow[]> => (await vouchedHosts(deps)).filter(row => row.joined)

function inForceOf(
  { inForceKey, now }: Waiting,
  row: HostRow,
  { isInForce, wasTried }: { readonly isInForce: boolean; readonly wasTried: boolean },
): HostInForce {
  const failed = wasTried && row.failedRevision !== undefined && row.failedRevision >= row.revision
  const said = { id: row.id, revision: row.inForce, krlVersion: row.inForceKrl, hash: row.inForceHash }
  const state =
    isInForce && !isFailing(row) && isHeard(inForceKey, said, row.inForceSeal)
      ? 'in-force'
      : !isConnected(row, now())
        ? 'away'
        : failed
          ? 'failed'
          : 'waiting'
  const message = row.message === undefined ? {} : { message: row.message }
  // What is ended here ends none of these.
  const letsIn = row.findings.filter(({ about }) => about === 'lets-in')
  const findings = letsIn.length === 0 ? {} : { findings: letsIn }
  return { name: row.name, state, revision: row.inForce, seesLogins: row.seesLogins, ...message, ...findings }
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))
