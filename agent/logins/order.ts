import type { hostStream } from '#shared/api/index.ts'
import { equalBytes, fromBase64 } from '#shared/bytes.ts'
import { fingerprint, type Krl } from '#shared/ssh/index.ts'
import type { Opened } from './record.ts'

/** Pure: whose sessions an order ends. A key ID is `WHO/HOW/SESSION` (`keyIdOf` of the server). */
export function endedBy(order: hostStream.EndOrder, { by }: Opened): boolean {
  if (by.method !== 'certificate') return 'key' in order && 'key' in by && by.key === order.key
  if ('key' in order) return by.key === order.key
  if ('serial' in order) return by.serial === order.serial && by.authority === order.authority
  if (by.keyId === undefined) return false
  if ('keyId' in order) return by.keyId === order.keyId
  if ('session' in order) return by.keyId.endsWith(`/${order.session}`)
  const [rest] = by.keyId.startsWith(`${order.of}/`) ? [by.keyId.slice(order.of.length + 1)] : []
  return rest?.split('/').length === 2
}

/**
 * Pure: whether what somebody came in by is on the list of what is revoked, which sshd reads at each login: then they did before it was there,
 * however late the log says so. Whoever came in since has something else.
 */
export function isOnList({ certificates, fingerprints }: Krl, { by }: Opened): boolean {
  if (!('key' in by)) return false
  const key = fromBase64(`${by.key.slice('SHA256:'.length)}=`)
  if (fingerprints.some(each => equalBytes(each, key))) return true
  if (by.method !== 'certificate') return false
  const serial = BigInt(by.serial)
  return certificates.some(
    ({ authority, serials }) =>
      authority !== undefined &&
      fingerprint(authority) === by.authority &&
      serials.some(({ from, to }) => from <= serial && serial <= to),
  )
}
