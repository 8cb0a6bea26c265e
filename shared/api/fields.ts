import { z } from 'zod'
import { formatDuration } from '../durations.ts'
import {
  isHostName,
  isKeyId,
  isLabelKey,
  isLabelValue,
  isLogin,
  isPersonIdentity,
  isTeamName,
  isUserPrincipal,
} from '../names.ts'
import { named } from './words.ts'

/** Fields that several resources share. Every string has a bound; what does not fit is refused, never cleaned up. */
export const personIdentity = z
  .string()
  .refine(isPersonIdentity, { error: 'must be an identity such as alice@example.com (lower case)' })
export const userPrincipal = z
  .string()
  .refine(isUserPrincipal, { error: 'must be a principal such as alice@example.com or team:sre' })
export const teamName = z
  .string()
  .refine(isTeamName, { error: 'must be a team name: lower-case letters, digits and . _ -' })
export const login = z
  .string()
  .refine(isLogin, { error: 'must be a Unix user name, lower case, at most 32 characters' })
export const hostName = z.string().refine(isHostName, { error: 'must be an exact DNS name in lower case, no wildcard' })
export const keyId = z
  .string()
  .refine(isKeyId, { error: 'must be a key ID: lower-case letters, digits and @ : . _ + / -' })
/** `SHA256:` and 43 characters of base64, as `ssh-keygen -l` prints it. */
export const fingerprint = z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/, 'must be a fingerprint such as SHA256:…')
/** RFC 3339 UTC in answers. An offset may carry the last hours of 9999 into a year that RFC 3339 has not, and no database takes as we write it. */
export const time = z.iso
  .datetime({ offset: true, abort: true })
  .max(40)
  .refine(text => Date.parse(text) < Date.UTC(10_000, 0, 1), 'must be before the year 10000')
/** Whole seconds, at most so many; refusals name the limit as people write it. */
export const secondsUpTo = (most: number) =>
  z
    .int()
    .min(1, 'must be at least 1s')
    .max(most, `must be at most ${formatDuration(most)}`)
export const seconds = secondsUpTo(400 * 86_400)
/** A whole number in an address: decimal digits, no sign, blank, exponent or leading zero, and within what its column holds. */
export const decimal = (least: number, most: number) =>
  z
    .string()
    .regex(/^(0|[1-9][0-9]{0,15})$/, { error: 'must be a whole number in decimal digits', abort: true })
    .transform(Number)
    .pipe(z.int().min(least, `must be at least ${least}`).max(most, `must be at most ${most}`))
export const INT4_MAX = 2 ** 31 - 1
/** The same where it may be beyond 2^53: of a column that holds int8. */
export const int8 = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,18})$/, { error: 'must be a whole number in decimal digits', abort: true })
  .refine(text => BigInt(text) < 1n << 63n, 'must be below 2^63')
export const uint64 = z
  .string()
  // `abort`: what is no number never reaches BigInt, which would throw.
  .regex(/^(0|[1-9][0-9]{0,19})$/, { error: 'must be a whole number in decimal digits', abort: true })
  .refine(text => BigInt(text) < 1n << 64n, 'must be below 2^64')
/** One line as in a `.pub` file. */
export const publicKeyLine = z.string().min(16).max(20_000)
export const base64 = z
  .string()
  .max(40_000)
  .regex(/^[A-Za-z0-9+/]*={0,2}$/, 'must be base64')
/** 256 random bits in base64url. */
export const secret = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'must be the whole secret, 43 characters')
export const id = z.string().regex(/^[a-z]{1,12}_[A-Za-z0-9_-]{10,64}$/, 'must be an ID as KeyMan gave it')
/** Text that a person typed and that others will read: printable, one line. What does not fit is refused once, whatever it lacks. */
const printableLine = (most: number) => {
  const refusal = { error: `must be one line of printable text, 1 to ${most} characters`, abort: true }
  return (
    z
      .string()
      .min(1, refusal)
      .max(most, refusal)
      .regex(/^[\p{L}\p{N}\p{P}\p{S} ]+$/u, refusal)
      // Letters that are not seen, such as U+3164, and the empty pattern of Braille.
      .refine(text => !/[\p{Default_Ignorable_Code_Point}\u2800]/u.test(text), refusal)
  )
}
export const label = printableLine(80)
/**
 * What a machine calls itself. Not like an address: beside it stands, on the page, where the request came from. ASCII alone, as
 * host names are, since other scripts have digits and dots that look like ours.
 */
export const deviceName = label
  .regex(/^[\x20-\x7e]+$/, { error: 'must be ASCII', abort: true })
  .refine(text => !/\d+\.\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f]*:/i.test(text), {
    error: 'must not look like an address',
  })
export const reason = printableLine(200)
export const labels = z
  .record(
    z.string().refine(isLabelKey, { error: 'must be a label key' }),
    z.string().refine(isLabelValue, { error: 'must be a label value' }),
  )
  .refine(value => Object.keys(value).length <= 32, { error: 'at most 32 labels' })
/** A team is named with its prefix, `team:sre`. */
export const who = z.union(
  [personIdentity, z.string().regex(/^team:[a-z0-9][a-z0-9._-]{0,62}$/, 'must be a person or team:NAME')],
  { error: 'must be a person such as alice@example.com, or team:NAME (lower case)' },
)
/** Which hosts: one by name, or all whose labels hold every one of these. An empty set of labels is refused: it would mean every host by an oversight. */
export const hostSelector = z.union([
  z.strictObject({ host: named('On the host', hostName) }),
  z.strictObject({
    labels: named(
      'On every host with the labels',
      labels.refine(value => Object.keys(value).length > 0, { error: 'at least one label' }),
    ),
  }),
])
export const armoredSignature = z.string().max(20_000).startsWith('-----BEGIN SSH SIGNATURE-----')
/** What WebAuthn's JSON forms look like is checked by the library in `identity`; here only that it is an object of bounded size. */
export const webauthnJson = z.record(z.string().max(64), z.unknown())
