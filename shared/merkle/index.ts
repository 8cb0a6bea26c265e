/**
 * The transparency log's mathematics: Merkle tree and proofs of RFC 9162, tiles and signed checkpoints of C2SP, and the
 * audit of a whole log. No I/O: tiles and signatures come from the caller.
 */
export { type Audit, type AuditedRecord, auditRecords, type TrustedHead } from './audit.ts'
export {
  type Checkpoint,
  encodeCheckpoint,
  encodeNote,
  type NoteSignature,
  type NoteSigner,
  noteKeyId,
  parseCheckpoint,
  signedNote,
  verifyCheckpoint,
} from './checkpoint.ts'
export { consistencyProof, type Head, inclusionProof, verifyConsistency, verifyInclusion } from './proofs.ts'
export {
  EMPTY_ROOT,
  HASH_SIZE,
  leafHash,
  nodeHash,
  TILE_WIDTH,
  type Tile,
  type TileReader,
  TreeEdge,
} from './tree.ts'
