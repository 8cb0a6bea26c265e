import { existsSync, statSync } from 'node:fs'
import { fromBase64 } from '#shared/bytes.ts'
import { decodeKrl, encodeKrl } from '#shared/ssh/index.ts'
import { writeFile } from './files.ts'

/**
 * What a server says is revoked of its hosts, put where ssh reads it. Throws where it is no list that ssh could read: ssh would
 * refuse every host, so the list that is there stays.
 */
export function writeRevokedHosts(file: string, base64: string): void {
  const bytes = fromBase64(base64)
  decodeKrl(bytes)
  writeFile(file, bytes, 0o644)
}

/** Before a line names the file: where it is missing ssh refuses every host, where it is empty some versions do, so without a word of the server it has a header only. */
export function ensureRevokedHosts(file: string): void {
  if (existsSync(file) && statSync(file).size > 0) return
  writeFile(
    file,
    encodeKrl({ version: 0n, generatedAt: 0n, comment: '', certificates: [], keys: [], fingerprints: [] }),
    0o644,
  )
}
