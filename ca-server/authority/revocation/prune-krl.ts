import type { Ledger } from '#server/ledger/index.ts'
import type { Fence, Store } from '#server/store/index.ts'
import { krlVersions, readEndOrders, readRevoked, revokedSessionKeys } from '#shared/audit/index.ts'
import { raiseKrl } from './raise-krl.ts'
import { deleteEnded, selectClock } from './records.ts'

/** Seconds. What was taken out too early is good again, and nobody can tell: so long after its end it is no host's clock's matter. */
export const KEPT_AFTER_END = 30n * 86_400n
/** Seconds between the clocks of server and database, or of most hosts; beyond, one of them is wrong, and nobody knows which. */
export const MAX_CLOCKS_APART = 60n
/** Intervals of one record. */
const AT_ONCE = 500
/** Others raise the KRL's version meanwhile by a revocation, or by pruning under a lease that they had before. */
const ATTEMPTS = 3

export type PruneDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'appendIn' | 'facts' | 'newestAt' | 'follow'>
  readonly now: () => Date
  readonly newRequestId: () => string
  /** In seconds, how far the clock of each host that has said so is ahead of the server's. */
  readonly hostClocks?: (() => readonly number[]) | undefined
  readonly alarm: (message: string) => void
  /** Of the server whose turn it is. */
  readonly fence: Fence
}

/**
 * Takes off the KRL what ended thirty days ago, since it can't be taken for good anywhere any more. This can't be undone, so no one clock
 * decides it: the database's has to agree with the server's, those of most hosts must not disagree (one host's never counts), and the log has to hold a record that is as much newer than the
 * end. When something ends the log says, not its row. Gives how many intervals and keys were taken off.
 */
export async function pruneKrl({
  store,
  ledger,
  now,
  newRequestId,
  hostClocks,
  alarm,
  fence,
}: PruneDeps): Promise<number> {
  const server = BigInt(Math.floor(now().getTime() / 1000))
  const database = await selectClock(store)
  const apart = server > database ? server - database : database - server
  if (apart > MAX_CLOCKS_APART) {
    alarm(`the clocks of server and database are ${apart} seconds apart: nothing is taken off the KRL until they agree`)
    return 0
  }
  const hosts = hostClocks?.() ?? []
  const wrong = hosts.filter(ahead => Math.abs(ahead) > Number(MAX_CLOCKS_APART)).length
  if (wrong > 1 && wrong * 2 > hosts.length) {
    alarm(
      `the clocks of ${wrong} of ${hosts.length} hosts are more than ${MAX_CLOCKS_APART} seconds from the server's: nothing is taken off the KRL until they agree`,
    )
    return 0
  }
  await ledger.follow()
  const newest = ledger.newestAt()
  const written = newest ? BigInt(Math.floor(newest.getTime() / 1000)) : 0n
  const before = (written < database ? written : database) - KEPT_AFTER_END
  let taken = 0
  for (let attempt = 1; attempt <= ATTEMPTS; ) {
    await ledger.follow()
    const { newest: held } = krlVersions(ledger.facts.ids)
    const [intervals, keys] = [readRevoked(ledger.facts.ids), revokedSessionKeys(ledger.facts.ids)]
    // Whoever was away so long is not in any session of then.
    const orders = readEndOrders(ledger.facts.ids)
    const some = [...intervals, ...keys, ...orders]
      .filter(({ until }) => until !== undefined && until <= before)
      .slice(0, AT_ONCE)
    if (some.length === 0) break
    const isAlone = await store
      .transaction({ name: 'prune the KRL', deadlineMs: 30_000 }, async t => {
        const { version, facts } = await raiseKrl({ ledger }, t, now())
        // Another server was faster, with this or with a revocation: what it did is read first.
        if (version !== (held?.version ?? 0n) + 1n) throw new Overtaken()
        await deleteEnded(
          t,
          some.flatMap(each => ('from' in each ? [each] : [])),
        )
        await fence(t)
        await ledger.appendIn(t, [
          {
            requestId: newRequestId(),
            kind: 'krl-pruned',
            actor: { kind: 'server' },
            details: { krlVersion: version.toString(), intervals: some.length },
            // What was said of them need not be remembered: that somebody says it again would revoke, not let in.
            facts: [...some.map(({ id }) => ({ id, is: null, until: now() })), ...facts],
          },
        ])
        return true
      })
      .catch((error: unknown) => {
        if (error instanceof Overtaken) return false
        throw error
      })
    if (isAlone) taken += some.length
    else attempt++
  }
  return taken
}

class Overtaken extends Error {}
