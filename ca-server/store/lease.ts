import { z } from 'zod'
import { KeymanError } from '#shared/errors.ts'
import type { Queryable, Store } from './port.ts'

/** For a server that ended without a word. */
export const LEASE_MS = 10_000
/** An end further ahead than that was written by none of us, and binds nobody. */
const NO_LEASE_MS = 60_000

/** Throws `LeaseLost` where another server may have begun the work meanwhile; until the transaction's end none can. */
export type Fence = (t: Queryable) => Promise<void>

export class LeaseLost extends KeymanError {
  constructor(name: string, fence: bigint) {
    super('conflict', `another server does the ${name} by now: nothing was written under fence ${fence}`)
  }
}

/** Work that one server does for all of them: see `openLease`. */
export type Lease = {
  /** Takes it where nobody has it, keeps it where this server has. Gives the fence, where this server has it now. */
  take(): Promise<bigint | undefined>
  /** For the writes of what is begun now: `undefined` where another server has it, as far as this one knows, or a write was refused under it. */
  fence(): Fence | undefined
  /** So that another server need not wait for its end. */
  release(): Promise<void>
}

const fenceRow = z.object({ fence: z.bigint() })

/**
 * What this server believes of it is worth nothing: it may have slept for an hour. So each write of such work asks the database, in
 * its own transaction, by the fence. Whoever owns the database can give it to nobody or to all, and thereby stop such work or have it done twice: what is done
 * under it has to be safe then, too.
 */
export function openLease(store: Store, name: string, holder: string): Lease {
  let held: bigint | undefined
  return {
    async take() {
      const [row] = await store.query(
        `insert into lease as l (name, holder, fence, ends_at)
         values ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond')
         on conflict (name) do update set
           holder = excluded.holder, ends_at = excluded.ends_at,
           fence = l.fence + case when l.holder = excluded.holder then 0 else 1 end
         where l.holder = excluded.holder or l.ends_at <= clock_timestamp()
           or l.ends_at > clock_timestamp() + $4 * interval '1 millisecond'
         returning fence`,
        [name, holder, LEASE_MS, NO_LEASE_MS],
        fenceRow,
      )
      held = row?.fence
      return held
    },
    fence() {
      const fence = held
      if (fence === undefined) return undefined
      return async t => {
        const rows = await t.execute(
          `select from lease where name = $1 and holder = $2 and fence = $3 and ends_at > clock_timestamp() for share`,
          [name, holder, fence],
        )
        if (rows > 0) return
        if (held === fence) held = undefined
        throw new LeaseLost(name, fence)
      }
    },
    async release() {
      const fence = held
      held = undefined
      if (fence === undefined) return
      await store.execute(
        'update lease set ends_at = clock_timestamp() where name = $1 and holder = $2 and fence = $3',
        [name, holder, fence],
      )
    },
  }
}
