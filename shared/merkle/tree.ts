/**
 * The Merkle tree of RFC 9162, section 2.1, and the C2SP tlog-tiles that store it. Pure.
 * https://www.rfc-editor.org/rfc/rfc9162#section-2.1 · https://c2sp.org/tlog-tiles
 */
import { hash } from 'node:crypto'

export const HASH_SIZE = 32
/** Hashes in a full tile: eight levels of the tree. */
export const TILE_WIDTH = 256
const TILE_HEIGHT = 8n

const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(hash('sha256', bytes, 'buffer'))

/** SHA-256 of nothing: the head of a tree without leaves. */
export const EMPTY_ROOT: Uint8Array = sha256(new Uint8Array(0))

/** SHA-256(0x00 || leaf). The first byte keeps leaves and nodes apart, else a node could be passed off as a leaf. */
export function leafHash(leaf: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(leaf.length + 1)
  bytes.set(leaf, 1)
  return sha256(bytes)
}

/** SHA-256(0x01 || left || right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + 2 * HASH_SIZE)
  bytes[0] = 1
  bytes.set(left, 1)
  bytes.set(right, 1 + HASH_SIZE)
  return sha256(bytes)
}

/** The hash at `at` in a run of hashes. */
export const hashAt = (hashes: Uint8Array, at: number): Uint8Array => {
  const one = hashes.subarray(at * HASH_SIZE, (at + 1) * HASH_SIZE)
  if (one.length !== HASH_SIZE) throw new RangeError(`a tile has no hash at ${at}`)
  return one
}

/** The head of a perfect subtree over `count` hashes (a power of two) from `from` on. */
export function perfectHash(hashes: Uint8Array, from: number, count: number): Uint8Array {
  if (count === 1) return hashAt(hashes, from)
  return nodeHash(perfectHash(hashes, from, count / 2), perfectHash(hashes, from + count / 2, count / 2))
}

/** The heads of neighbouring perfect subtrees, largest first, to one head (RFC 9162, 2.1.1: split at the largest power of two). */
export function foldRight(heads: readonly Uint8Array[]): Uint8Array {
  const [last, ...others] = heads.toReversed()
  return last === undefined ? EMPTY_ROOT : others.reduce((right, left) => nodeHash(left, right), last)
}

/** A tile: `hashes` are 1 to 256 hashes of 32 bytes, from entry `index * 256` of its level on. Level 0 holds leaf hashes. */
export type Tile = { level: number; index: bigint; hashes: Uint8Array }
/** Gives at least `width` hashes of a tile. Throws where there are fewer. */
export type TileReader = (level: number, index: bigint, width: number) => Promise<Uint8Array>

/** `heads`: of the perfect subtrees that the hashes make, largest first, so that the tree's own head costs some twenty hashes. */
type EdgeTile = { hashes: Uint8Array<ArrayBuffer>; width: number; heads: Uint8Array[] }
const emptyTile = (): EdgeTile => ({ hashes: new Uint8Array(TILE_WIDTH * HASH_SIZE), width: 0, heads: [] })

function perfectHeads(hashes: Uint8Array, width: number): Uint8Array[] {
  const heads: Uint8Array[] = []
  let from = 0
  for (let count = TILE_WIDTH / 2; count >= 1; count /= 2)
    if (width & count) {
      heads.push(perfectHash(hashes, from, count))
      from += count
    }
  return heads
}

/**
 * The right edge of a growing tree: of each level the last, unfinished tile. All that is needed to append and to know the head.
 */
export class TreeEdge {
  #size: bigint
  readonly #levels: EdgeTile[]

  private constructor(size: bigint, levels: EdgeTile[]) {
    this.#size = size
    this.#levels = levels
  }

  static empty(): TreeEdge {
    return new TreeEdge(0n, [])
  }

  /** Reads one tile a level. */
  static async load(size: bigint, readTile: TileReader): Promise<TreeEdge> {
    const levels: EdgeTile[] = []
    for (let entries = size; entries > 0n; entries >>= TILE_HEIGHT) {
      const width = Number(entries & 255n)
      const hashes = new Uint8Array(TILE_WIDTH * HASH_SIZE)
      if (width > 0)
        hashes.set((await readTile(levels.length, entries >> TILE_HEIGHT, width)).subarray(0, width * HASH_SIZE))
      levels.push({ hashes, width, heads: perfectHeads(hashes, width) })
    }
    return new TreeEdge(size, levels)
  }

  get size(): bigint {
    return this.#size
  }

  copy(): TreeEdge {
    return new TreeEdge(
      this.#size,
      this.#levels.map(({ hashes, width, heads }) => ({ hashes: hashes.slice(), width, heads: [...heads] })),
    )
  }

  /** Appends in place; gives the tiles that were finished or have grown, each once, in its newest state. */
  append(leafHashes: Iterable<Uint8Array>): Tile[] {
    const finished: Tile[] = []
    const grown = new Set<number>()
    for (const leaf of leafHashes) {
      this.#push(0, leaf, this.#size, finished, grown)
      this.#size++
    }
    for (const level of grown) {
      const tile = this.#levels[level]
      if (tile && tile.width > 0)
        finished.push({
          level,
          index: this.#size >> (TILE_HEIGHT * BigInt(level + 1)),
          hashes: tile.hashes.slice(0, tile.width * HASH_SIZE),
        })
    }
    return finished
  }

  /** `entry` is the position of `hash` among its level's. */
  #push(level: number, hash: Uint8Array, entry: bigint, finished: Tile[], grown: Set<number>): void {
    const tile = this.#levels[level] ?? emptyTile()
    this.#levels[level] = tile
    tile.hashes.set(hash, tile.width * HASH_SIZE)
    tile.width++
    grown.add(level)
    let head = hash
    for (let count = tile.width; count % 2 === 0; count /= 2) head = nodeHash(tile.heads.pop() ?? EMPTY_ROOT, head)
    tile.heads.push(head)
    if (tile.width < TILE_WIDTH) return
    finished.push({ level, index: entry >> TILE_HEIGHT, hashes: tile.hashes })
    this.#levels[level] = emptyTile()
    this.#push(level + 1, head, entry >> TILE_HEIGHT, finished, grown)
  }

  /** The tree head, from the unfinished tiles alone: a level's unfinished tile holds what the levels above it do not. */
  root(): Uint8Array {
    return foldRight(this.#levels.toReversed().flatMap(({ heads }) => heads))
  }
}
