import { existsSync, readFileSync, statSync } from 'node:fs'
import { fromBase64 } from '#shared/bytes.ts'
import { KeymanError } from '#shared/errors.ts'
import { REVOKED_HOSTS_NAMESPACE } from '#shared/namespaces.ts'
import { decodeKrl, ed25519Key, encodeKrl, type Krl, parseSshsig, verifySshsigByAny } from '#shared/ssh/index.ts'
import { writeFile } from '../context/files.ts'

/** The log keys of the pinned bundle, and what a list of the pinned history has as its comment. */
export type TrustedList = { readonly logKeys: readonly Uint8Array[]; readonly history: string }

/**
 * What a server says is revoked of its hosts, put where ssh reads it. Throws where no log key has signed it, or it is no
 * list that ssh could read: ssh would refuse every host. An older list, or one of another history, would make good again
 * what is revoked: what is there stays.
 */
export function writeRevokedHosts(
  file: string,
  said: { readonly base64: string; readonly signature: string },
  trusted: TrustedList,
): void {
  const bytes = fromBase64(said.base64)
  const signed = {
    namespace: REVOKED_HOSTS_NAMESPACE,
    message: bytes,
    publicKeys: trusted.logKeys.map(ed25519Key),
  }
  if (!verifySshsigByAny(parseSshsig(said.signature), signed))
    throw new KeymanError('denied', 'the list of revoked hosts is not signed by a log key that is pinned here', {
      hint: 'tell your administrator',
    })
  const list = decodeKrl(bytes)
  const held = readList(file)
  if (list.comment !== trusted.history) return
  if (held?.comment === list.comment && list.version < held.version) return
  writeFile(file, bytes, 0o644)
}

/** Whatever can't be read is no list to hold a new one against. */
function readList(file: string): Krl | undefined {
  try {
    return decodeKrl(readFileSync(file))
  } catch {
    return undefined
  }
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
