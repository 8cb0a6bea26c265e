import type { Fact, Ledger, StatedRows } from '#server/ledger/index.ts'
import type { Store } from '#server/store/index.ts'
import { idsOf } from '#shared/audit/index.ts'

const EVERY_MS = 30_000

type CompareDeps = {
  readonly store: Store
  readonly ledger: Pick<Ledger, 'follow' | 'facts'>
  readonly tables: readonly StatedRows[]
  /** Hears of each difference, once for as long as it lasts. */
  readonly alarm: (message: string) => void
  readonly onError: (error: unknown) => void
}

/**
 * Holds the rows that let somebody in against what the log says, all of them, twice a minute. A row that was added or changed counts for
 * nothing anyway; that it is there is told here even if nobody comes with it, and that one was taken away is told nowhere else.
 */
export function compareRows(deps: CompareDeps): { run(): Promise<void>; start(): void; stop(): void } {
  let told = new Set<string>()
  let timer: NodeJS.Timeout | undefined

  async function run(): Promise<void> {
    const seen = await differences(deps)
    // Both change while they are read: what differs twice in a row, with the log followed in between, differs.
    const again = seen.size === 0 ? seen : await differences(deps)
    const lasting = new Set([...seen].filter(message => again.has(message)))
    for (const message of lasting) if (!told.has(message)) deps.alarm(message)
    told = lasting
  }
  return {
    run,
    start() {
      timer ??= setInterval(() => void run().catch(deps.onError), EVERY_MS)
      timer.unref()
    },
    stop() {
      clearInterval(timer)
      timer = undefined
    },
  }
}

async function differences({ store, ledger, tables }: CompareDeps): Promise<Set<string>> {
  const found = new Set<string>()
  for (const { kind, read } of tables) {
    const rows: readonly Fact[] = await read(store)
    await ledger.follow()
    for (const fact of rows)
      if (!ledger.facts.holds(fact)) found.add(`${fact.id} in the database is not what the audit log says`)
    const ids = new Set(rows.map(({ id }) => id))
    for (const id of ledger.facts.ids(idsOf(kind)))
      if (!ids.has(id)) found.add(`${id} is not in the database any more, but nothing in the audit log removed it`)
  }
  return found
}
