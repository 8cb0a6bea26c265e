import { z } from 'zod'
import { formatDuration } from '../durations.ts'
import { LOGIN_KEY_TYPES } from '../login-key-types.ts'
import {
  isHostName,
  isKeyId,
  isLabelKey,
  isLabelValue,
  isLogin,
  isOneSegment,
  isPersonIdentity,
  isPlace,
  isRoleName,
  isTeamName,
  isUserPrincipal,
  isWorkloadName,
  isWorkloadPrincipal,
  NAMES,
} from '../names.ts'
import { named } from './words.ts'

/**
 * Fields that several resources share. Every string has a bound; what does not fit is refused, never cleaned up. Bounds are patterns
 * and lengths wherever a pattern can say them, so that the OpenAPI document, which is made from these, says what the server takes.
 */
const limits = ({ most, pattern }: { most: number; pattern: RegExp }) => ({ maxLength: most, pattern: pattern.source })
export const personIdentity = z
  .string()
  .refine(isPersonIdentity, { error: 'must be an identity such as alice@example.com (lower case)' })
  .meta(limits(NAMES.personIdentity))
export const userPrincipal = z
  .string()
  .refine(isUserPrincipal, { error: 'must be a principal such as alice@example.com or team:sre' })
  .meta(limits(NAMES.userPrincipal))
export const teamName = z
  .string()
  .refine(isTeamName, { error: 'must be a team name: lower-case letters, digits and . _ -' })
  .meta(limits(NAMES.teamName))
export const login = z
  .string()
  .refine(isLogin, { error: 'must be a Unix user name, lower case, at most 32 characters' })
  .meta(limits(NAMES.login))
export const hostName = z
  .string()
  .refine(isHostName, { error: 'must be an exact DNS name in lower case, no wildcard' })
  .meta(limits(NAMES.hostName))
/** A list in which nothing may stand twice, as the document says of it: what it names would be done twice. */
export const eachOnce = <Schema extends z.ZodType<readonly string[]>>(list: Schema, error: string): Schema =>
  list.refine(items => new Set(items).size === items.length, { error }).meta({ uniqueItems: true })
/** `payments`, `payments/prod`. */
export const place = z
  .string()
  .refine(isPlace, { error: 'must be a project or an environment such as payments or payments/prod' })
  .meta(limits(NAMES.place))
/** `payments`, `prod`: the name of a project, or of an environment within one. */
export const segment = z
  .string()
  .refine(isOneSegment, { error: 'must be one name: lower-case letters, digits and -' })
  .meta(limits(NAMES.segment))
/** A role's, built-in or an organisation's own: `deployer`. */
export const roleName = z
  .string()
  .refine(isRoleName, { error: 'must be the name of a role: lower-case letters, digits and -' })
  .meta(limits(NAMES.role))
/** `payments/prod/backup`. */
export const workloadName = z
  .string()
  .refine(isWorkloadName, { error: 'must be a workload such as payments/prod/backup' })
  .meta(limits(NAMES.workloadName))
export const keyId = z
  .string()
  .refine(isKeyId, { error: 'must be a key ID: lower-case letters, digits and @ : . _ + / -' })
  .meta(limits(NAMES.keyId))
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
/** Seconds that an invitation or the link of a reset may be good. */
export const LONGEST_LINK = 30 * 86_400
/** A whole number in an address: decimal digits, no sign, blank, exponent or leading zero, and within what its column holds. */
export const decimal = (least: number, most: number) =>
  z
    .string()
    .regex(/^(0|[1-9][0-9]{0,15})$/, { error: 'must be a whole number in decimal digits', abort: true })
    .transform(Number)
    .pipe(z.int().min(least, `must be at least ${least}`).max(most, `must be at most ${most}`))
    // In an address a number is its digits: the document names the number.
    .meta({ type: 'integer', minimum: least, maximum: most, pattern: undefined })
export const INT4_MAX = 2 ** 31 - 1
/** Whole numbers from 0 to `most` in decimal digits, exactly: shorter ones, then by the first digit that is smaller. */
function digitsUpTo(most: bigint): RegExp {
  const digits = String(most)
  const smaller = [...digits].flatMap((digit, i) => {
    const least = i === 0 ? 1 : 0
    const rest = digits.length - 1 - i
    return Number(digit) > least ? [`${digits.slice(0, i)}[${least}-${Number(digit) - 1}][0-9]{${rest}}`] : []
  })
  return new RegExp(`^(0|[1-9][0-9]{0,${digits.length - 2}}|${smaller.join('|')}|${digits})$`)
}
/** The same where it may be beyond 2^53: of a column that holds int8. */
export const int8 = z
  .string()
  .regex(digitsUpTo((1n << 63n) - 1n), 'must be a whole number in decimal digits, below 2^63')
export const uint64 = z
  .string()
  .regex(digitsUpTo((1n << 64n) - 1n), 'must be a whole number in decimal digits, below 2^64')
/** One line as in a `.pub` file: type, base64, comment. */
export const publicKeyLine = z
  .string()
  .min(16)
  .max(20_000)
  .meta({ pattern: '^[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [^\\r\\n]*)?\\n?$' })
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
  .regex(/^(?!.*[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+)(?!.*:[0-9a-fA-F]*:)/, { error: 'must not look like an address' })
export const reason = printableLine(200)
const labelKey = z.string().refine(isLabelKey, { error: 'must be a label key' }).meta(limits(NAMES.labelKey))
const labelValue = z.string().refine(isLabelValue, { error: 'must be a label value' }).meta(limits(NAMES.labelValue))
export const labels = z
  .record(labelKey, labelValue)
  .refine(value => Object.keys(value).length <= 32, { error: 'at most 32 labels' })
  .meta({ maxProperties: 32 })
/** As RFC 7396 says it: what is not named stays as it is, and `null` takes a label off. */
export const labelChanges = z
  .record(labelKey, labelValue.nullable())
  .refine(value => Object.keys(value).length > 0, { error: 'at least one label' })
  .refine(value => Object.keys(value).length <= 32, { error: 'at most 32 labels' })
  .meta({ minProperties: 1, maxProperties: 32 })
const someLabels = labels
  .refine(value => Object.keys(value).length > 0, { error: 'at least one label' })
  .meta({ minProperties: 1, maxProperties: 32 })
/** `workload:payments/prod/backup`. */
const workloadPrincipal = z
  .string()
  .refine(isWorkloadPrincipal, { error: 'must be workload: and its name' })
  .meta({ maxLength: 88, pattern: `^workload:${NAMES.workloadName.pattern.source.slice(1)}` })
/** Of whom it can be asked what they may do: a person, or a workload by its principal. */
export const subject = z.union([personIdentity, workloadPrincipal], {
  error: 'must be a person such as alice@example.com, or workload:PLACE/NAME (lower case)',
})
/** A team is named with its prefix, `team:sre`; so is a workload, `workload:payments/prod/backup`. */
export const who = z.union(
  [
    personIdentity,
    z.string().regex(/^team:[a-z0-9][a-z0-9._-]{0,62}$/, 'must be a person or team:NAME'),
    workloadPrincipal,
  ],
  { error: 'must be a person such as alice@example.com, team:NAME or workload:PLACE/NAME (lower case)' },
)
/**
 * Which hosts: one by name, all in a project or environment, or all whose labels hold every one of these; or both. An empty set of
 * labels is refused: it would mean every host by an oversight.
 */
export const hostSelector = z.union([
  z.strictObject({ host: named('On the host', hostName) }),
  z.strictObject({ labels: named('On every host with the labels', someLabels) }),
  z.strictObject({
    in: named('On every host in', place),
    labels: named('That has the labels', someLabels.optional(), { absent: 'any' }),
  }),
])
/**
 * What a host says in its own words. Without what PostgreSQL keeps in no text: what many hosts have said is written down in one
 * statement, which one of them must not spoil for the others.
 */
export const hostText = (most: number) =>
  z
    .string()
    .max(most)
    .refine(text => text.isWellFormed() && !text.includes('\0'), 'must have no NUL and no half of a character')
/** Types of keys that a login makes. */
export const keyTypes = z.array(z.enum(LOGIN_KEY_TYPES)).max(8)
/** How many of these a host tells at once; what is more is counted in the last one. */
/**
 * The longest list of what is revoked that hosts and laptops read: one that is longer reaches nobody any more. A key takes 36 bytes of it, so the
 * server sees to it that it stays shorter (`ca-server/authority/revocation/krl-room.ts`).
 */
export const MAX_KRL_BYTES = 12_000_000
export const krlBase64 = z
  .string()
  .max((MAX_KRL_BYTES / 3) * 4)
  .regex(/^[A-Za-z0-9+/]+={0,2}$/, 'must be base64')

export const MAX_FINDINGS = 64
export const MAX_FINDINGS_BYTES = 12 * 1024
/**
 * What a host finds in its own configuration beside what KeyMan wrote, for people to read: nothing is decided by it. It
 * narrows who gets in, lets others in, or is worth knowing. With a `login` it is of that one alone.
 */
export const finding = z.strictObject({
  about: z.enum(['narrows', 'lets-in', 'remark']),
  login: hostText(64).optional(),
  message: hostText(500),
  /** Of plain keys that let in. */
  fingerprints: z.array(fingerprint).max(16).optional(),
  /** Where not all keys of a login are taken: those that are. */
  keyTypes: keyTypes.optional(),
})
export type Finding = z.infer<typeof finding>
export const armoredSignature = z.string().max(20_000).startsWith('-----BEGIN SSH SIGNATURE-----')
/** What WebAuthn's JSON forms look like is checked by the library in `identity`; here only that it is an object of bounded size. */
export const webauthnJson = z.record(z.string().max(64), z.unknown()).meta({
  description: "As WebAuthn Level 3, section 5.1, writes it: PublicKeyCredential.toJSON(), or the options' JSON",
})
