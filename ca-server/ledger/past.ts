import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { leafHash, type TreeEdge } from '#shared/merkle/index.ts'
import { tampered } from './errors.ts'
import { lockHead } from './tree-store.ts'

const row = z.object({ index: z.bigint(), record: z.string() })
const PAGE = 1_000n

/**
 * Locks the head, and gives the tree of all that stands before what the transaction is about to write. Read from `followed` on, most of it
 * before the lock, which whoever issues waits for. Throws `internal` where the database does not show as many records as it says there are.
 */
export async function lockPast(t: Queryable, followed: TreeEdge): Promise<TreeEdge> {
  const edge = followed.copy()
  while (await readOn(t, edge, edge.size + PAGE));
  const size = await lockHead(t)
  while (edge.size < size && (await readOn(t, edge, size)));
  if (edge.size !== size)
    throw tampered(`the database says that the audit log has ${size} records, and shows ${edge.size}`)
  return edge
}

/** Whether there were as many as one page has. */
async function readOn(t: Queryable, edge: TreeEdge, to: bigint): Promise<boolean> {
  const from = edge.size
  const end = to - from < PAGE ? to : from + PAGE
  const rows = await t.query(
    'select index, record from ledger_record where index >= $1 and index < $2 order by index',
    [from, end],
    row,
  )
  edge.append(rows.map(({ record }) => leafHash(utf8(record))))
  return edge.size === from + PAGE
}
