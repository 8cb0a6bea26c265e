/** Inclusion and consistency proofs of RFC 9162, sections 2.1.3 and 2.1.4: made from tiles, and verified. Pure. */
import { equalBytes } from '../bytes.ts'
import { foldRight, HASH_SIZE, nodeHash, perfectHash, TILE_WIDTH, type TileReader } from './tree.ts'

/** The leaves from `start` up to, not including, `end`; `start` is a multiple of the largest power of two below the length. */
type Range = { start: bigint; end: bigint }

/** The largest power of two smaller than `n` (n > 1). */
function splitPoint(n: bigint): bigint {
  let k = 1n
  while (k * 2n < n) k *= 2n
  return k
}

/**
 * The audit path of the leaf `index` in the tree of `size` leaves, from the leaf upwards (RFC 9162, 2.1.3.1).
 * Throws a RangeError where there is no such leaf.
 */
export async function inclusionProof(index: bigint, size: bigint, readTile: TileReader): Promise<Uint8Array[]> {
  if (index < 0n || index >= size) throw new RangeError(`a tree of ${size} has no leaf ${index}`)
  const path: Range[] = []
  for (let start = 0n, end = size; end - start > 1n; ) {
    const middle = start + splitPoint(end - start)
    if (index < middle) {
      path.push({ start: middle, end })
      end = middle
    } else {
      path.push({ start, end: middle })
      start = middle
    }
  }
  return headsOf(path.toReversed(), readTile)
}

/**
 * The proof that the tree of `from` leaves is the beginning of the tree of `to` (RFC 9162, 2.1.4.1). Empty for `from` 0 or
 * equal sizes. Throws a RangeError where `from` is more than `to`.
 */
export async function consistencyProof(from: bigint, to: bigint, readTile: TileReader): Promise<Uint8Array[]> {
  if (from < 0n || from > to) throw new RangeError(`a tree of ${from} is not the beginning of one of ${to}`)
  if (from === 0n || from === to) return []
  const path: Range[] = []
  let start = 0n
  let end = to
  // SUBPROOF(m, D_n, b): `from` is m, [start, end) is D_n; b is true while the old tree's head is this very subtree.
  let whole = true
  while (end !== from) {
    const middle = start + splitPoint(end - start)
    if (from <= middle) {
      path.push({ start: middle, end })
      end = middle
    } else {
      path.push({ start, end: middle })
      start = middle
      whole = false
    }
  }
  if (!whole) path.push({ start, end })
  return headsOf(path.toReversed(), readTile)
}

const headsOf = (ranges: readonly Range[], readTile: TileReader): Promise<Uint8Array[]> =>
  Promise.all(ranges.map(range => rangeHead(range, readTile)))

/** The head over a range: of its perfect subtrees, largest first. */
async function rangeHead({ start, end }: Range, readTile: TileReader): Promise<Uint8Array> {
  const heads: Promise<Uint8Array>[] = []
  for (let at = start; at < end; ) {
    let height = 0
    while (at + 2n ** BigInt(height + 1) <= end && at % 2n ** BigInt(height + 1) === 0n) height++
    heads.push(perfectSubtree(height, at >> BigInt(height), readTile))
    at += 2n ** BigInt(height)
  }
  return foldRight(await Promise.all(heads))
}

/** The head of the perfect subtree of 2^height leaves, the `index`-th of its height: from one tile. */
async function perfectSubtree(height: number, index: bigint, readTile: TileReader): Promise<Uint8Array> {
  const level = Math.floor(height / 8)
  const count = 2 ** (height % 8)
  const first = index * BigInt(count)
  const offset = Number(first % BigInt(TILE_WIDTH))
  const hashes = await readTile(level, first / BigInt(TILE_WIDTH), offset + count)
  return perfectHash(hashes, offset, count)
}

const areHashes = (proof: readonly Uint8Array[]): boolean => proof.every(hash => hash.length === HASH_SIZE)

/** RFC 9162, 2.1.3.2. `leaf` is the leaf's hash. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: bigint,
  size: bigint,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (index < 0n || index >= size || !areHashes(proof)) return false
  let fn = index
  let sn = size - 1n
  let r = leaf
  for (const p of proof) {
    if (sn === 0n) return false
    if ((fn & 1n) === 1n || fn === sn) {
      r = nodeHash(p, r)
      while ((fn & 1n) === 0n && fn !== 0n) {
        fn >>= 1n
        sn >>= 1n
      }
    } else r = nodeHash(r, p)
    fn >>= 1n
    sn >>= 1n
  }
  return sn === 0n && equalBytes(r, root)
}

export type Head = { size: bigint; root: Uint8Array }

/** RFC 9162, 2.1.4.2. Every tree begins with the empty one; two of one size must be the same. */
export function verifyConsistency(older: Head, newer: Head, proof: readonly Uint8Array[]): boolean {
  if (older.size < 0n || older.size > newer.size || !areHashes(proof)) return false
  if (older.size === newer.size) return proof.length === 0 && equalBytes(older.root, newer.root)
  if (older.size === 0n) return proof.length === 0
  // A tree of 2^k leaves is itself the first node of the path.
  const path = (older.size & (older.size - 1n)) === 0n ? [older.root, ...proof] : proof
  const [first, ...others] = path
  if (first === undefined || proof.length === 0) return false
  let fn = older.size - 1n
  let sn = newer.size - 1n
  while ((fn & 1n) === 1n) {
    fn >>= 1n
    sn >>= 1n
  }
  let fr = first
  let sr = first
  for (const c of others) {
    if (sn === 0n) return false
    if ((fn & 1n) === 1n || fn === sn) {
      fr = nodeHash(c, fr)
      sr = nodeHash(c, sr)
      while ((fn & 1n) === 0n && fn !== 0n) {
        fn >>= 1n
        sn >>= 1n
      }
    } else sr = nodeHash(sr, c)
    fn >>= 1n
    sn >>= 1n
  }
  return sn === 0n && equalBytes(fr, older.root) && equalBytes(sr, newer.root)
}
