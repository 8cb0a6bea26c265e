import { EMPTY_ROOT, nodeHash } from '#shared/merkle/index.ts'

/** The tree head over all leaf hashes at once, by the definition of RFC 9162, section 2.1.1. */
export function treeHead(leafHashes: readonly Uint8Array[]): Uint8Array {
  const [only] = leafHashes
  if (only === undefined) return EMPTY_ROOT
  if (leafHashes.length === 1) return only
  let split = 1
  while (split * 2 < leafHashes.length) split *= 2
  return nodeHash(treeHead(leafHashes.slice(0, split)), treeHead(leafHashes.slice(split)))
}
