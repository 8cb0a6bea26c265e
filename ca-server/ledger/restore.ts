import { incarnationNumber, type Queryable, type Store } from '#server/store/index.ts'
import { equalBytes, fromHex, toHex } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { parseCheckpoint, TreeEdge, verifyCheckpoint } from '#shared/merkle/index.ts'
import { newerBy } from './log/history.ts'
import type { LogMemory } from './log/memory.ts'
import type { LogKeys } from './log/sequencer.ts'
import { type NewerLog, readNewerLog } from './newer-log.ts'
import { headSize, tileReader } from './tree-store.ts'

export const beginIncarnation = (t: Queryable, id: string, at: Date): Promise<number> =>
  t.execute('insert into incarnation (number, id, taken_at) values ($1::int, $2, $3::timestamptz)', [
    incarnationNumber(id),
    id,
    at.toISOString(),
  ])

/** What somebody remembers of the log that the database does not hold any more. */
export type Lost = {
  /** What the database holds. */
  readonly held: bigint
  /** How long the log was, and its root, hex. */
  readonly size: bigint
  readonly root: string
  /** The newest history that anybody remembers. */
  readonly number: number
  /** Who remembers it. */
  readonly by: string
  /** What an export of the log says of it. */
  readonly newer?: NewerLog | undefined
  /**
   * Whether the export reaches as far as somebody else remembers: of itself it says nothing of what came after it. This server remembers each record before
   * anything is signed that rests on it.
   */
  readonly isComplete: boolean
}

type Head = { readonly number: number; readonly size: bigint; readonly root: Uint8Array; readonly by: string }

/**
 * Holds the log, which was followed to its end, against what this server remembers and against a checkpoint that an operator gives; undefined
 * where it holds all of that. Throws `unavailable` where there is nothing to hold it against, `invalid-input` for a
 * checkpoint that is not this log's.
 */
export async function whatIsLost(
  { store, memory, logKeys }: { store: Store; memory: LogMemory; logKeys: Pick<LogKeys, 'name' | 'believed'> },
  checkpoint: string | undefined,
  exported?: AsyncIterable<string>,
): Promise<Lost | undefined> {
  const own = incarnationNumber(store.incarnation)
  const heads: Head[] = []
  const kept = memory.head()
  if (kept) {
    const { size, root, incarnation } = kept
    heads.push({ number: incarnationNumber(incarnation), size, root: fromHex(root), by: 'this server' })
  }
  if (checkpoint !== undefined) {
    const { origin } = parseCheckpoint(checkpoint)
    const olderBy = newerBy(logKeys.name, origin)
    const name = olderBy === undefined ? logKeys.name : origin
    const head = verifyCheckpoint(checkpoint, { origin: name, logKeys: logKeys.believed() })
    heads.push({ ...head, number: own - (olderBy ?? 0), by: 'the checkpoint that was given' })
  }
  const held = await headSize(store)
  let newer: NewerLog | undefined
  if (exported) {
    newer = await readNewerLog({ store, logKeys }, exported, [...heads], own)
    heads.push({ ...newer, by: 'the export of the log' })
  }
  if (heads.length === 0)
    throw new KeymanError('unavailable', 'nothing says what this database has lost: this server remembers no log', {
      hint: 'give it the newest checkpoint that anybody has: --checkpoint FILE (keyman audit checkpoint > FILE on a laptop made one)',
    })
  const readTile = tileReader(store)
  const lost: Head[] = []
  for (const head of heads) {
    if (head.number < own) continue
    const isHeld =
      head.number === own &&
      head.size <= held &&
      equalBytes((await TreeEdge.load(head.size, readTile)).root(), head.root)
    if (!isHeld) lost.push(head)
  }
  const [newest] = lost.toSorted((a, b) => b.number - a.number || (a.size < b.size ? 1 : -1))
  if (!newest) return undefined
  const { size, root, number, by } = newest
  const isNewest = (head: Head) => head.number === number && head.size === size && equalBytes(head.root, root)
  // The export is one of these where it was given.
  const isComplete = newer !== undefined && isNewest({ ...newer, by }) && heads.filter(isNewest).length > 1
  return { held, size, root: toHex(root), number, by, newer, isComplete }
}
