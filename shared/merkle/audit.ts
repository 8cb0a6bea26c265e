/**
 * The checker of a log, from outside: recomputes the tree from the records' own text and names the first that was
 * changed, removed or moved. Pure; nothing is believed but the heads that the caller has verified or remembered.
 */
import { equalBytes, toHex, utf8 } from '../bytes.ts'
import type { Head } from './proofs.ts'
import { leafHash, TreeEdge } from './tree.ts'

export type AuditedRecord = {
  index: bigint
  /** The record's exact text; its UTF-8 bytes are the leaf. */ record: string
  /** The hash that the log's tree holds at this index. */ leafHash: Uint8Array
}
/** A tree head that is to be trusted, and how a person calls it: 'the newest checkpoint', 'the checkpoint of your last login'. */
export type TrustedHead = Head & { name: string }

export type Audit =
  | { ok: true; size: bigint; root: Uint8Array }
  | {
      ok: false
      /**
       * `changed`, `removed`, `moved`: the record at `first`. `tree`: records and stored hashes agree with each other but not
       * with a trusted head: something from `first` up to, not including, `end` was changed together with its hash.
       */
      fault: 'changed' | 'removed' | 'moved' | 'tree'
      first: bigint
      end: bigint
      message: string
    }

/** `records` in order from index 0; `heads` in any order, at least the newest checkpoint's. */
export async function auditRecords(
  records: AsyncIterable<AuditedRecord> | Iterable<AuditedRecord>,
  heads: readonly TrustedHead[],
): Promise<Audit> {
  const waiting = heads.toSorted((a, b) => (a.size < b.size ? -1 : a.size > b.size ? 1 : 0))
  const edge = TreeEdge.empty()
  let good = 0n // Up to here a trusted head agrees.
  const first: { index: bigint; own: string; stored: string }[] = []
  const own = new Map<string, bigint>()
  const stored = new Map<string, bigint>()
  let expected = 0n
  const agreesWithHeads = (): Audit | undefined => {
    for (; waiting[0]?.size === edge.size; waiting.shift()) {
      if (!equalBytes(edge.root(), waiting[0].root)) return treeFault(good, waiting[0])
      good = edge.size
    }
    return undefined
  }

  const empty = agreesWithHeads()
  if (empty) return empty
  for await (const { index, record, leafHash: storedHash } of records) {
    if (index !== expected && first.length === 0)
      return index > expected
        ? fault('removed', expected, `record ${expected} is missing; the next one is ${index}`)
        : fault('moved', index, `record ${index} comes again after record ${expected - 1n}`)
    expected = index + 1n
    const ownHash = leafHash(utf8(record))
    if (first.length === 0 && equalBytes(ownHash, storedHash)) {
      edge.append([ownHash])
      const disagrees = agreesWithHeads()
      if (disagrees) return disagrees
      continue
    }
    // Something is wrong from here on: read on to tell a changed record from a moved or removed one.
    if (first.length === 0) first.push({ index, own: toHex(ownHash), stored: toHex(storedHash) })
    own.set(toHex(ownHash), index)
    stored.set(toHex(storedHash), index)
  }
  const [wrong] = first
  if (wrong) return nameFault(wrong, own.get(wrong.stored), stored.get(wrong.own))
  const [missing] = waiting
  if (missing)
    return fault('removed', expected, `record ${expected} is missing: ${missing.name} covers ${missing.size} records`)
  return { ok: true, size: edge.size, root: edge.root() }
}

function nameFault({ index }: { index: bigint }, standsNowAt: bigint | undefined, cameFrom: bigint | undefined): Audit {
  if (standsNowAt !== undefined)
    return fault('moved', index, `record ${index} is not at its place: it stands at ${standsNowAt}`)
  if (cameFrom !== undefined)
    return fault('removed', index, `record ${index} was removed: at its place stands what was record ${cameFrom}`)
  return fault('changed', index, `record ${index} was changed: its hash is not the one in the tree`)
}

const fault = (kind: 'changed' | 'removed' | 'moved', first: bigint, message: string): Audit => ({
  ok: false,
  fault: kind,
  first,
  end: first + 1n,
  message,
})

function treeFault(good: bigint, head: TrustedHead): Audit {
  const where =
    head.size === 0n
      ? 'the empty tree'
      : good + 1n === head.size
        ? `record ${good}`
        : `a record from ${good} to ${head.size - 1n}`
  return {
    ok: false,
    fault: 'tree',
    first: good,
    end: head.size,
    message: `${where} was changed together with its hash: the tree of ${head.size} records is not that of ${head.name}`,
  }
}
