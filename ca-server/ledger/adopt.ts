import type { Queryable, Store } from '#server/store/index.ts'
import type { Fact } from '#shared/audit/index.ts'
import { equalBytes, toHex, utf8 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { leafHash, TreeEdge, verifyCheckpoint } from '#shared/merkle/index.ts'
import { type Entry, encodeRecord } from './entry.ts'
import { tampered } from './errors.ts'
import { sealOf } from './log/seal.ts'
import type { LogKeys } from './log/sequencer.ts'
import { selectLog } from './records.ts'
import { headSize, newestNote } from './tree-store.ts'
import { writeRows } from './write.ts'

/** The log of an earlier release, whose records have no seal: how long it is, its tree's head, and what it says. */
export type UnsealedLog = { readonly size: bigint; readonly root: Uint8Array; readonly records: readonly string[] }

const PAGE = 2_000n

/**
 * Reads it whole and holds it against its newest signed head. Throws `conflict` where it is sealed already, `internal` where it was
 * tampered with.
 */
export async function readUnsealedLog(
  store: Store,
  { logKeys, origin }: { readonly logKeys: LogKeys; readonly origin: string },
): Promise<UnsealedLog> {
  const size = await headSize(store)
  const newest = await newestNote(store)
  const head = newest && verifyCheckpoint(newest.note, { origin, logKeys: logKeys.believed(), name: logKeys.name })
  // A server signs each second, and when it is stopped: what has no head is not what one left there.
  if (size > 0n && !head)
    throw tampered('no signed head of this audit log is in the database, so nothing says whether these are its records')
  const edge = TreeEdge.empty()
  const records: string[] = []
  while (edge.size < size) {
    const rows = await selectLog(store, edge.size, edge.size + PAGE)
    if (rows.length === 0) break
    for (const { index, record, seal } of rows) {
      if (index !== edge.size) throw tampered(`record ${edge.size} of the audit log is missing`)
      // No release that sealed nothing wrote what is so into its records.
      if (seal || record.includes('"facts":{'))
        throw new KeymanError('conflict', 'the records of this database are sealed already', {
          hint: 'where they have no seal, somebody took them away: keep the database as it is, and restore a backup (docs/audit.md)',
        })
      edge.append([leafHash(utf8(record))])
      records.push(record)
      if (head && edge.size === head.size && !equalBytes(edge.root(), head.root))
        throw tampered(`the first ${edge.size} records of the audit log are not those of its newest checkpoint`)
    }
  }
  if (edge.size < size || (head && head.size > edge.size))
    throw tampered(`record ${edge.size} of the audit log is missing`)
  return { size, root: edge.root(), records }
}

/** Facts of one record, which fit into it however long their IDs are. */
const AT_ONCE = 150

/**
 * Takes it over: one sealed record says which log this was, and, in as many parts as it takes, what its tables said. `ending` runs in the
 * same transaction. Throws `conflict` where the log has grown meanwhile: a server of the earlier release still runs.
 */
export async function adoptLog(
  store: Store,
  log: UnsealedLog,
  what: {
    readonly sealKey: Uint8Array
    readonly facts: readonly Fact[]
    readonly now: Date
    readonly requestId: string
    readonly ending: (t: Queryable) => Promise<unknown>
  },
): Promise<void> {
  const { sealKey, facts, now, requestId, ending } = what
  const at = now.toISOString()
  await store.transaction({ name: 'adopt the log', deadlineMs: 120_000 }, async t => {
    await ending(t)
    await t.execute('update ledger_head set size = size', [])
    if ((await headSize(t)) !== log.size)
      throw new KeymanError('conflict', 'the audit log grew meanwhile: a server still runs on this database', {
        hint: 'stop all servers, then try again',
      })
    const parts = Math.max(1, Math.ceil(facts.length / AT_ONCE))
    const rows = Array.from({ length: parts }, (_, part) => {
      const entry: Entry = {
        requestId,
        kind: 'log-adopted',
        actor: { kind: 'operator' },
        details: { records: log.size.toString(), root: toHex(log.root), part, parts },
        facts: facts.slice(part * AT_ONCE, (part + 1) * AT_ONCE),
      }
      const record = encodeRecord(entry, at, { after: log.size, place: part })
      const sealed = { requestId, kind: entry.kind, part, actor: 'operator', at, record, proof: undefined }
      return { ...sealed, seal: sealOf(sealKey, sealed), certificate: undefined, epochs: [] }
    })
    await writeRows(t, rows)
  })
}
