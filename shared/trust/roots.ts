import { createHash } from 'node:crypto'
import { compareBytes, toBase64 } from '../bytes.ts'
import { fingerprint, parsePublicKey, SshWriter } from '../ssh/index.ts'
import type { TrustRoots } from './document.ts'

/**
 * What people compare and machines pin. One key that signs alone: its fingerprint as `ssh-keygen -l` prints it. Else
 * SHA-256 over the SSH encoding of the threshold (uint32) and of each key's blob (string), blobs in the order of their
 * bytes, in the same form; so the order in which keys are named does not matter.
 */
export function rootFingerprint(roots: TrustRoots): string {
  const keys = roots.keys.map(line => parsePublicKey(line, 'roots'))
  const [only] = keys
  if (only && keys.length === 1 && roots.threshold === 1) return fingerprint(only)
  const writer = new SshWriter()
  writer.uint32(roots.threshold)
  for (const blob of keys.map(key => key.blob).sort(compareBytes)) writer.string(blob)
  return `SHA256:${toBase64(createHash('sha256').update(writer.bytes()).digest()).replace(/=+$/, '')}`
}
