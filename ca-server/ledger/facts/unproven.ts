import { equalBytes, utf8 } from '#shared/bytes.ts'
import {
  HASH_SIZE,
  inclusionProof,
  leafHash,
  TILE_WIDTH,
  type TileReader,
  type TreeEdge,
  verifyInclusion,
} from '#shared/merkle/index.ts'

type Read = { readonly index: bigint; readonly record: string }

/**
 * Which of these, as the database gives them to whoever reads the log, are not those that this server has read: by the root of its own tree.
 * A proof for one leaf of a tile is made from all the others of it, so one for each tile proves them all. What came after is not looked at.
 */
export async function unproven(rows: readonly Read[], edge: TreeEdge, readTile: TileReader): Promise<bigint[]> {
  const { size } = edge
  const root = edge.root()
  // What was proven and what is compared are the same bytes.
  const tiles = new Map<string, ReturnType<TileReader>>()
  const readOnce: TileReader = (level, index, width) => {
    const name = `${level}/${index}`
    const tile = tiles.get(name) ?? readTile(level, index, width)
    tiles.set(name, tile)
    return tile
  }
  const width = BigInt(TILE_WIDTH)
  const wrong: bigint[] = []
  for (const [tile, of] of Map.groupBy(
    rows.filter(({ index }) => index < size),
    ({ index }) => index / width,
  )) {
    const first = tile * width
    const leaves = await provenLeaves(first, { size, root }, readOnce).catch(() => undefined)
    for (const { index, record } of of) {
      const at = Number(index - first) * HASH_SIZE
      const leaf = leaves?.slice(at, at + HASH_SIZE)
      if (!leaf || !equalBytes(leaf, leafHash(utf8(record)))) wrong.push(index)
    }
  }
  return wrong
}

/** The leaves of the tile that begins here; undefined where they are not those of this tree. */
async function provenLeaves(
  first: bigint,
  { size, root }: { readonly size: bigint; readonly root: Uint8Array },
  readTile: TileReader,
): Promise<Uint8Array | undefined> {
  const width = size - first < BigInt(TILE_WIDTH) ? Number(size - first) : TILE_WIDTH
  const leaves = await readTile(0, first / BigInt(TILE_WIDTH), width)
  const proof = await inclusionProof(first, size, readTile)
  return verifyInclusion(leaves.slice(0, HASH_SIZE), first, size, proof, root) ? leaves : undefined
}
