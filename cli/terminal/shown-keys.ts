import { createHash, createPublicKey } from 'node:crypto'
import { toHex } from '#shared/bytes.ts'
import { fingerprint, type SshPublicKey } from '#shared/ssh/index.ts'

/** How many groups of four the pages print in bold (`COMPARED` in `web/parts.tsx`): 80 bits, which nobody makes a key for. */
const COMPARED = 5

/** Pure: the beginning of a fingerprint, in groups as the page shows it, for somebody to compare by eye. */
export function shortFingerprint(whole: string): string {
  const [, prefix = '', rest = ''] = /^(SHA256:)?(.*)$/.exec(whole) ?? []
  return `${prefix}${(rest.match(/.{1,4}/g) ?? []).slice(0, COMPARED).join(' ')} …`
}

export const shortSshKey = (key: SshPublicKey): string => shortFingerprint(fingerprint(key))
/** By its SubjectPublicKeyInfo, DER. */
export const shortClientKey = (spki: Uint8Array): string =>
  shortFingerprint(toHex(createHash('sha256').update(spki).digest()))
/** By its private key, PEM. */
export const shortClientKeyOf = (pem: string): string =>
  shortClientKey(createPublicKey(pem).export({ format: 'der', type: 'spki' }))
