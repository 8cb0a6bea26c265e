import type { Queryable } from '#server/store/index.ts'
import { utf8 } from '#shared/bytes.ts'
import { leafHash, type TreeEdge } from '#shared/merkle/index.ts'
import { tampered } from '../errors.ts'
import { selectLog } from '../records.ts'
import { lockHead } from '../tree-store.ts'

const PAGE = 1_000n

/**
 * Locks the head, and gives the tree of all that stands before what the transaction is about to write, and the records that it read for it. Read from `followed` on, most of it
 * before the lock, which whoever issues waits for. Throws `internal` where the database does not show as many records as it says there are.
 */
export async function lockPast(
  t: Queryable,
  followed: TreeEdge,
): Promise<{ readonly edge: TreeEdge; readonly read: readonly string[] }> {
  const { edge, read } = await readPast(t, followed)
  const size = await lockHead(t)
  while (edge.size < size && (await readOn(t, { edge, read }, size)));
  if (edge.size !== size)
    throw tampered(`the database says that the audit log has ${size} records, and shows ${edge.size}`)
  return { edge, read }
}

/** The same of what is there at the moment, without the lock. */
export async function readPast(t: Queryable, followed: TreeEdge): Promise<{ edge: TreeEdge; read: string[] }> {
  const edge = followed.copy()
  const read: string[] = []
  while (await readOn(t, { edge, read }, edge.size + PAGE));
  return { edge, read }
}

/** Whether there were as many as one page has. */
async function readOn(t: Queryable, { edge, read }: { edge: TreeEdge; read: string[] }, to: bigint): Promise<boolean> {
  const from = edge.size
  const end = to - from < PAGE ? to : from + PAGE
  const rows = await selectLog(t, from, end)
  edge.append(rows.map(({ record }) => leafHash(utf8(record))))
  for (const { record } of rows) read.push(record)
  return edge.size === from + PAGE
}
