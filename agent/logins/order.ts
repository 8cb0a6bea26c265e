import type { hostStream } from '#shared/api/index.ts'
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
