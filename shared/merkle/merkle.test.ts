import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { treeHead } from '#test/support/tree-head.ts'
import { fromHex, toHex, utf8 } from '../bytes.ts'
import {
  consistencyProof,
  EMPTY_ROOT,
  HASH_SIZE,
  inclusionProof,
  leafHash,
  nodeHash,
  type TileReader,
  TreeEdge,
  verifyConsistency,
  verifyInclusion,
} from './index.ts'

// The leaves and heads of the reference implementation of RFC 6962 (certificate-transparency, merkle_tree_test).
const LEAVES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const HEADS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

/** A log in memory: tiles as they would lie in the database. */
function memoryLog() {
  const tiles = new Map<string, Uint8Array>()
  const edge = TreeEdge.empty()
  const readTile: TileReader = async (level, index, width) => {
    const hashes = tiles.get(`${level}/${index}`) ?? new Uint8Array(0)
    if (hashes.length < width * HASH_SIZE) throw new RangeError('no such tile')
    return hashes
  }
  return {
    edge,
    tiles,
    readTile,
    append: (leaves: Iterable<Uint8Array>) => {
      for (const { level, index, hashes } of edge.append(leaves)) tiles.set(`${level}/${index}`, hashes)
    },
  }
}
const leaf = (n: number) => leafHash(utf8(`record ${n}`))
const leaves = (count: number, from = 0) => Array.from({ length: count }, (_, n) => leaf(from + n))

describe('the tree of RFC 9162', () => {
  it('has the heads of the reference implementation', () => {
    for (const [size, head] of HEADS.entries()) {
      const some = LEAVES.slice(0, size).map(hex => leafHash(fromHex(hex)))
      expect(toHex(treeHead(some))).toBe(head)
      const { edge, append } = memoryLog()
      append(some)
      expect(toHex(edge.root())).toBe(head)
    }
    expect(toHex(EMPTY_ROOT)).toBe(HEADS[0])
  })

  it('keeps leaves and nodes apart', () => {
    const [a, b] = [leaf(1), leaf(2)]
    expect(nodeHash(a, b)).not.toEqual(leafHash(new Uint8Array([...a, ...b])))
  })

  it('grows in any portions to the same head and tiles, across tiles of 256 and of 65,536', async () => {
    const whole = memoryLog()
    whole.append(leaves(66_000))
    const parts = memoryLog()
    for (let n = 0, step = 1; n < 66_000; n += step, step = Math.min(step * 3, 66_000 - n) || 1)
      parts.append(leaves(Math.min(step, 66_000 - n), n))
    expect(parts.edge.size).toBe(66_000n)
    expect(parts.edge.root()).toEqual(whole.edge.root())
    const listed = ({ tiles }: typeof whole) => [...tiles].map(([name, hashes]) => `${name} ${toHex(hashes)}`).sort()
    expect(listed(parts).join() === listed(whole).join()).toBe(true)
    const loaded = await TreeEdge.load(66_000n, whole.readTile)
    expect(loaded.root()).toEqual(whole.edge.root())
    loaded.append([leaf(66_000)])
    whole.append([leaf(66_000)])
    expect(loaded.root()).toEqual(whole.edge.root())
  })

  it('has a head for any size that is the one of the definition', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_200 }), size => {
        const { edge, append } = memoryLog()
        append(leaves(size))
        return toHex(edge.root()) === toHex(treeHead(leaves(size)))
      }),
      { numRuns: 25, seed: 9162 },
    )
  })
})

describe('proofs', () => {
  const log = memoryLog()
  const all = leaves(700)
  log.append(all)
  const head = (size: number) => ({ size: BigInt(size), root: treeHead(all.slice(0, size)) })

  it('of inclusion hold for every leaf of every small tree, and for no other leaf, index or size', async () => {
    for (let size = 1; size <= 20; size++)
      for (let index = 0; index < size; index++) {
        const proof = await inclusionProof(BigInt(index), BigInt(size), log.readTile)
        const { root } = head(size)
        expect(verifyInclusion(leaf(index), BigInt(index), BigInt(size), proof, root)).toBe(true)
        expect(verifyInclusion(leaf(index + 1), BigInt(index), BigInt(size), proof, root)).toBe(false)
        expect(verifyInclusion(leaf(index), BigInt(index) + 1n, BigInt(size), proof, root)).toBe(false)
        expect(verifyInclusion(leaf(index), BigInt(index), BigInt(size), proof, head(size + 1).root)).toBe(false)
        expect(verifyInclusion(leaf(index), BigInt(index), BigInt(size), [...proof, leaf(0)], root)).toBe(false)
      }
  })

  it('of consistency hold between all small trees, and between no two of which one was changed', async () => {
    for (let to = 0; to <= 20; to++)
      for (let from = 0; from <= to; from++) {
        const proof = await consistencyProof(BigInt(from), BigInt(to), log.readTile)
        expect(verifyConsistency(head(from), head(to), proof)).toBe(true)
        if (from === 0) continue
        expect(verifyConsistency({ size: BigInt(from), root: leaf(999) }, head(to), proof)).toBe(false)
        expect(verifyConsistency(head(from), { size: BigInt(to), root: leaf(999) }, proof)).toBe(false)
        expect(verifyConsistency(head(from), head(to), [...proof, leaf(0)])).toBe(false)
        if (from !== to) expect(verifyConsistency(head(to), head(from), proof)).toBe(false)
      }
  })

  it('hold at any sizes, from whole and unfinished tiles', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(699), fc.nat(700), fc.nat(700), async (n, a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)]
        const consistency = await consistencyProof(BigInt(from), BigInt(to), log.readTile)
        expect(verifyConsistency(head(from), head(to), consistency)).toBe(true)
        if (n >= to) return
        const inclusion = await inclusionProof(BigInt(n), BigInt(to), log.readTile)
        expect(verifyInclusion(leaf(n), BigInt(n), BigInt(to), inclusion, head(to).root)).toBe(true)
      }),
      { numRuns: 60, seed: 2144 },
    )
  })

  it('are refused for a leaf or a tree that is not there', async () => {
    await expect(inclusionProof(5n, 5n, log.readTile)).rejects.toThrow('no leaf 5')
    await expect(consistencyProof(6n, 5n, log.readTile)).rejects.toThrow('not the beginning')
  })
})
