import { createHash } from 'node:crypto'
import { toBase64Url } from '#shared/bytes.ts'
import { formatDuration } from '#shared/durations.ts'
import { grantText, hostsText } from '#shared/grant-text.ts'
import type { Deny, Grant } from './port.ts'

/** Pure: grants, and a denial, in words. */

/** `grant grant_x: deploy on env=demo for at most 8h`. */
export const describe = (grant: Grant): string =>
  grant.kind === 'login'
    ? `grant ${grant.id}: ${grant.login} on ${hostsText(grant.hosts)} for at most ${formatDuration(grant.maxLifetime)}`
    : `grant ${grant.id}: ${grantText(grant)}`

export const deny = (reason: string, message = reason): Deny => ({ allow: false, reasons: [reason], message })

/** Characters: what is longer hides what else stands on the page. */
const MAX_LISTED = 3000

/** Each of them, since one that took the place of another is another matter; where they are too many, a digest of all. */
export function told(all: readonly string[]): string {
  const text = all.join('; ')
  if (text.length <= MAX_LISTED) return text
  return `${all.length}, too many to be shown, digest ${toBase64Url(createHash('sha256').update(text).digest()).slice(0, 22)}`
}
