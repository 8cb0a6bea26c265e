import { z } from 'zod'
import type { Queryable } from '#server/store/index.ts'
import { toHex } from '#shared/bytes.ts'
import { HASH_SIZE, TILE_WIDTH, type Tile, type TileReader } from '#shared/merkle/index.ts'

const sizeRow = z.object({ size: z.bigint() }).transform(({ size }) => size)
const tileRow = z.object({ index: z.bigint(), hashes: z.instanceof(Uint8Array) })
const noteRow = z.object({ size: z.bigint(), note: z.string() })

const oneSize = async (on: Queryable, sql: string): Promise<bigint> => {
  const [size] = await on.query(sql, [], sizeRow)
  if (size === undefined) throw new TypeError('a table of one row is empty')
  return size
}

/** How many records are committed. */
export const headSize = (on: Queryable): Promise<bigint> => oneSize(on, 'select size from ledger_head')
/** The same in a transaction, of which nobody commits a record before it has ended. */
export const lockHead = (t: Queryable): Promise<bigint> => oneSize(t, 'select size from ledger_head for update')
const headRow = z.object({ size: z.bigint(), incarnation: z.string().nullable() })
/** The same, and of which history. */
export async function historyHead(on: Queryable): Promise<z.infer<typeof headRow>> {
  const [row] = await on.query(
    'select size, (select id from incarnation order by number desc limit 1) as incarnation from ledger_head',
    [],
    headRow,
  )
  if (!row) throw new TypeError('a table of one row is empty')
  return row
}
/** How many of them are in the tree. */
export const treeSize = (on: Queryable): Promise<bigint> => oneSize(on, 'select size from ledger_tree')

/** Full tiles never change; some megabytes of them make proofs cheap. */
const MAX_CACHED_TILES = 512

export function tileReader(on: Queryable): TileReader {
  const cache = new Map<string, Uint8Array>()
  return async (level, index, width) => {
    const name = `${level}/${index}`
    const cached = cache.get(name)
    if (cached) return cached
    const [tile] = await on.query(
      'select index, hashes from ledger_tile where level = $1 and index = $2',
      [level, index],
      tileRow,
    )
    if (!tile || tile.hashes.length < width * HASH_SIZE)
      throw new RangeError(`the tile ${name} is missing or too short`)
    if (tile.hashes.length === TILE_WIDTH * HASH_SIZE) {
      if (cache.size >= MAX_CACHED_TILES) cache.clear()
      cache.set(name, tile.hashes)
    }
    return tile.hashes
  }
}

/** The stored leaf hashes of these records; those that are not in the tree yet are left out. */
export async function leafHashesAt(on: Queryable, indices: readonly bigint[]): Promise<Map<bigint, Uint8Array>> {
  const width = BigInt(TILE_WIDTH)
  const wanted = new Set(indices.map(index => index / width))
  const tiles = await on.query(
    'select index, hashes from ledger_tile where level = 0 and index = any($1::int8[])',
    [`{${[...wanted].join(',')}}`],
    tileRow,
  )
  const byIndex = new Map(tiles.map(tile => [tile.index, tile.hashes]))
  const found = new Map<bigint, Uint8Array>()
  for (const index of indices) {
    const at = Number(index % width) * HASH_SIZE
    const hash = byIndex.get(index / width)?.slice(at, at + HASH_SIZE)
    if (hash?.length === HASH_SIZE) found.set(index, hash)
  }
  return found
}

/**
 * Puts the tiles of a tree that has grown from one size to another. Compare-and-set on the size, in one statement with the
 * tiles: of two sequencers one wins and the other gets `false`. A stored tile is replaced by a longer one only.
 */
export async function advanceTree(on: Queryable, from: bigint, to: bigint, tiles: readonly Tile[]): Promise<boolean> {
  const rows = tiles.map(({ level, index, hashes }) => ({ l: level, i: index.toString(), h: toHex(hashes) }))
  const moved = await on.execute(
    `with moved as (
       update ledger_tree set size = $2 where size = $1 returning size
     ), put as (
       insert into ledger_tile (level, index, hashes)
       select l, i, decode(h, 'hex') from jsonb_to_recordset($3::jsonb) as t(l int, i bigint, h text), moved
       on conflict (level, index) do update set hashes = excluded.hashes
       where length(ledger_tile.hashes) < length(excluded.hashes)
     )
     select size from moved`,
    [from, to, JSON.stringify(rows)],
  )
  return moved > 0
}

export async function newestNote(on: Queryable): Promise<{ size: bigint; note: string } | undefined> {
  const [row] = await on.query('select size, note from ledger_checkpoint order by size desc limit 1', [], noteRow)
  return row
}

/** The first signed for a size stays. */
export async function putNote(on: Queryable, size: bigint, note: string, at: Date): Promise<void> {
  await on.execute('insert into ledger_checkpoint (size, note, at) values ($1, $2, $3) on conflict (size) do nothing', [
    size,
    note,
    at.toISOString(),
  ])
}
