import { formatDuration } from '#shared/durations.ts'
import { grantText, hostsText } from '#shared/grant-text.ts'
import type { Deny, Grant } from './port.ts'

/** Pure: a grant, and a denial, in words. */

/** `grant grant_x: deploy on env=demo for at most 8h`. */
export const describe = (grant: Grant): string =>
  grant.kind === 'login'
    ? `grant ${grant.id}: ${grant.login} on ${hostsText(grant.hosts)} for at most ${formatDuration(grant.maxLifetime)}`
    : `grant ${grant.id}: ${grantText(grant)}`

export const deny = (reason: string, message = reason): Deny => ({ allow: false, reasons: [reason], message })
